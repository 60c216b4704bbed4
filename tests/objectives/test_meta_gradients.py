"""Every measure inside the meta-gradient: against central differences, and downhill (float64).

Where a measure takes its gradient from a surrogate (log-determinant, local entropy, sharpness),
the differences are those of the surrogate with what it holds constant held at the path that is
differentiated, computed here by dense matrices or from its definition.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest
from jaxtyping import Array, PyTree

from examples import final_classes
from steppe.core import tree
from steppe.core.coordinatewise import AbstractCoordinatewise
from steppe.core.episode import begin, unroll
from steppe.core.loss import Composed
from steppe.core.measure import AbstractMeasure, AbstractWarm
from steppe.core.objective import AbstractObjective, Score
from steppe.core.optimizer import join_meta, split_meta
from steppe.core.task import AbstractTask, draw
from steppe.core.window import Window
from steppe.estimators import replay
from steppe.estimators.bptt import BPTT
from steppe.flatness.entropy import free_energy
from steppe.flatness.entropy.local_entropy import LocalEntropy
from steppe.flatness.entropy.variational import Smoothed
from steppe.flatness.gradient import CrossGradNorm, GradNorm, Sharpness
from steppe.flatness.hessian import (
    GaussNewtonTrace,
    HessianFrobenius,
    HessianTrace,
    KrylovTrace,
    LogDet,
    TopEigenvalue,
)
from steppe.flatness.hutchinson import flat_signs
from steppe.flatness.units import Adaptive, Relative, SquaredNorm
from steppe.objectives.regularized import Regularized
from steppe.objectives.trajectory import Trajectory
from steppe.optimizers.classic.from_optax import momentum
from tests.reference.unroll import central_differences, flat

LENGTH = 3
GAMMA = 6.0
KEY = jr.key(3)
OPT = momentum(0.04, 0.5)  # θ: two numbers


class Curved(AbstractTask):
    """Σ exp(z)/4 + ½‖z‖² of z = Bx + ½x₀x + noise, in three unknowns."""

    def sample(self, key):
        return ()

    def init(self, instance, key):
        return {"b": jnp.asarray(0.4), "w": jnp.array([-0.3, 0.6])}

    def batch(self, instance, key, *, split="train"):
        return 0.1 * jr.normal(key, (3,))

    def loss(self, instance, batch, key):
        def inner(params):
            x = jnp.append(params["w"], params["b"])
            B = jnp.array([[1.0, 0.3, 0.0], [-0.2, 1.5, 0.4], [0.5, 0.0, 2.0]])
            return B @ x + 0.5 * x[0] * x + batch

        return Composed(inner, lambda z: jnp.sum(jnp.exp(z)) / 4 + jnp.sum(z**2) / 2)

    def target(self, instance):
        return None

    def metrics(self, params, instance, batch, key):
        return {}

    def full_batch(self, instance, *, split):
        return jnp.zeros(3)


class Nothing(AbstractObjective):
    """Always 0, so that all there is to descend is the measure."""

    def start(self, problem, episode, *, key):
        return ()

    def observe(self, step, memo):
        return ()

    def __call__(self, task, episode, obs, memo, *, key):
        return Score(jnp.zeros(()), memo, {})


class Frozen(AbstractWarm):
    """`surrogate(loss, at[j], params, key)` at the j-th point; its constants stem from `at`."""

    surrogate: object = eqx.field(static=True)
    at: PyTree[Array]

    def guess(self, params, *, key):
        return jnp.zeros((), jnp.int32)

    def resume(self, loss, params, guess, *, key):
        at = jtu.tree_map(lambda leaf: leaf[guess], self.at)
        return self.surrogate(loss, at, params, key), guess + 1

    def __call__(self, loss, params, *, key):
        raise NotImplementedError


def ravel(params):
    return tree.ravel(params, jnp.float64)[0]


def dense(loss, like):
    """x ↦ H(x) on flat vectors."""
    unravel = tree.ravel(like, jnp.float64)[1]
    return jax.hessian(lambda x: loss(unravel(x)))


LOG_DET = LogDet(GAMMA, probes=8)
ENTROPY = LocalEntropy(GAMMA, 1.0, steps=10, step_size=0.05, value="laplace")
SHARPNESS = Sharpness(0.3)


def frozen_log_det(loss, at, params, key):
    H, v = dense(loss, at), jnp.stack([flat_signs(k, at) for k in jr.split(key, LOG_DET.probes)])
    w = jnp.linalg.solve(H(ravel(at)) + GAMMA * jnp.eye(3), v.T) / 2
    return jnp.einsum("pi,ij,jp->", v, H(ravel(params)), w) / len(v)


def frozen_entropy(loss, at, params, key):
    mean = ENTROPY.gibbs_mean(loss, at, key=jr.split(key)[0])
    return GAMMA * (ravel(at) - ravel(mean)) @ ravel(params)


def frozen_sharpness(loss, at, params, key):
    g = jax.grad(loss)(at)
    ascent = tree.scale(SHARPNESS.rho / tree.norm(g), g)
    return loss(tree.add(params, ascent)) - loss(params)


MEASURES = {
    "trace": HessianTrace(8),
    "frobenius": HessianFrobenius(2),
    "gauss-newton": GaussNewtonTrace(2),
    "top eigenvalue": TopEigenvalue(warm=3),  # of three: converged
    "krylov": KrylovTrace(2),
    "smoothed": Smoothed(GAMMA),
    "gradient": GradNorm(),
    "relative": Relative(GradNorm()),
    "adaptive": Adaptive(GaussNewtonTrace(2)),
    "size": SquaredNorm(),
    "log-det": LOG_DET,
    "entropy": ENTROPY,
    "sharpness": SHARPNESS,
}
SURROGATES = {
    "log-det": frozen_log_det,
    "entropy": frozen_entropy,
    "sharpness": frozen_sharpness,
}


def objective(measure, base=Nothing(), strength=0.7, where="steps", **options):  # noqa: B008
    return Regularized(base, measure, strength, where=where, **options)


def window(opt, objective):
    """The first window of an episode, the same for all objectives."""
    episode = begin(Curved(), opt, KEY)
    memo = objective.start(draw(Curved(), (), KEY, split="train"), episode, key=KEY)
    return Window(episode, memo, jnp.asarray(100))


@functools.cache
def points():
    """Where the steps lead."""
    observe = lambda step: step.after.params
    episode = begin(Curved(), OPT, KEY)
    return eqx.filter_jit(lambda: unroll(Curved(), OPT, episode, LENGTH, observe)[1])()


@eqx.filter_jit
def score_and_gradient(opt, objective, second_order=True):
    """Of the first window. In second-order mode it is the derivative of the score."""
    estimator = BPTT(1, LENGTH, 100, second_order=second_order)
    start = window(opt, objective)
    score, _, grads = estimator.gradient(Curved(), opt, start, objective, key=jr.key(5))
    return score.value, grads


@eqx.filter_jit
def score(opt, objective):
    """The same without the gradient, which takes less time to compile."""
    return score_and_gradient(opt, objective)[0]


@functools.cache
def gradient(name):
    return score_and_gradient(OPT, objective(MEASURES[name]))[1]


def differences(objective):
    return central_differences(lambda opt: score_and_gradient(opt, objective)[0], OPT)


def test_every_measure_is_differentiated_here():
    without = {CrossGradNorm}  # of a `Halved` loss, which no objective hands to a measure
    assert final_classes(AbstractMeasure) - without == {type(m) for m in MEASURES.values()}


@pytest.mark.parametrize("name", MEASURES)
def test_meta_gradient_is_the_central_difference(name):
    if name in SURROGATES:
        frozen = objective(Frozen(SURROGATES[name], points()))
        expected = central_differences(lambda opt: score(opt, frozen), OPT)
    else:
        expected = differences(objective(MEASURES[name]))
    assert np.all(np.abs(expected) > 1e-3)
    np.testing.assert_allclose(flat(gradient(name)), expected, rtol=1e-6)


@pytest.mark.parametrize("normalise", ["initial", "log", "log1p"])
def test_meta_gradient_of_a_normalised_measure(normalise):
    regularized = objective(SquaredNorm(), normalise=normalise, where="end")
    found = score_and_gradient(OPT, regularized)[1]
    np.testing.assert_allclose(flat(found), differences(regularized), rtol=1e-6)


def test_strength_multiplies_the_gradient_of_the_measure():
    """g(s) − g(0) = s · (gradient of the measure alone)."""
    measure = MEASURES["size"]
    g = [flat(score_and_gradient(OPT, objective(measure, Trajectory(), s))[1]) for s in (2.1, 0.0)]
    assert np.linalg.norm(g[1]) > 0.1
    np.testing.assert_allclose(g[0] - g[1], 3 * flat(gradient("size")), rtol=1e-10)


class Heavy(AbstractCoordinatewise):
    """Heavy ball, coordinate by coordinate."""

    lr: Array
    decay: Array
    block: int = eqx.field(static=True, default=2)

    def start(self, rows, dtype):
        return jnp.zeros(rows, dtype)

    def advance(self, g, state, count):
        state = self.decay * state + g
        return -self.lr * state, state


HEAVY = Heavy(jnp.asarray(0.04), jnp.asarray(0.5))


class Descent(AbstractMeasure):
    """A measure whose gradient is known: 1 at every coordinate."""

    def __call__(self, loss, params, *, key):
        return jnp.sum(ravel(params))


@pytest.mark.parametrize("every", [1, 2])
def test_cotangents_of_the_updates_are_gradients_of_the_measure_still_to_come(every):
    """λ_t = s/k · (number of points from step t on) where the rule sees gradients alone.

    Exact and sampled gradients of coordinatewise rules are made from these.
    """
    s, length = 0.6, 5
    regularized = objective(Descent(), strength=s, every=every)
    start = window(HEAVY, regularized)
    record = lambda: replay.record(Curved(), HEAVY, start, regularized, length, jr.key(5))
    lam = eqx.filter_jit(record)().lam
    points = np.arange(every, length + 1, every)
    ahead = np.array([np.sum(points >= t) for t in range(1, length + 1)])
    expected = s / len(points) * ahead[:, None] * np.ones((1, 3))
    np.testing.assert_allclose(lam, expected, rtol=1e-12)


def test_replay_is_the_gradient_through_the_unroll():
    """Of the same rule, once coordinate by coordinate and once as one optax transformation."""
    regularized = objective(SquaredNorm(), Trajectory())
    fast, straight = (score_and_gradient(opt, regularized, False)[1] for opt in (HEAVY, OPT))
    straight = straight.hyper
    found, expected = (fast.lr, fast.decay), (straight["learning_rate"], straight["momentum"])
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_sampled_rows_are_unbiased():
    regularized = objective(Descent(), where="end")  # nothing random but the rows
    start = window(HEAVY, regularized)

    def gradient(key, rows=1):
        estimator = BPTT(1, LENGTH, 100, rows=rows)
        return estimator.gradient(Curved(), HEAVY, start, regularized, key=key)[2]

    draws = eqx.filter_jit(jax.vmap(gradient))(jr.split(KEY, 500))
    exact = eqx.filter_jit(gradient)(KEY, None)
    for sample, truth in ((draws.lr, exact.lr), (draws.decay, exact.decay)):
        error = sample.std(ddof=1) / np.sqrt(500)
        assert error > 0.01 * abs(truth)  # there is something to average
        assert abs(sample.mean() - truth) < 4 * error


@eqx.filter_jit
def along(opt):
    """The exact quantities without noise, averaged over the points of the path."""
    observe = lambda step: step.after.params
    _, points = unroll(Curved(), opt, begin(Curved(), opt, KEY), LENGTH, observe)
    loss = Curved().loss((), jnp.zeros(3), KEY)

    def at(params):
        x, unravel = tree.ravel(params, jnp.float64)
        f = lambda x: loss(unravel(x))
        H = jax.hessian(f)(x)
        values = jnp.linalg.eigvalsh(H)
        entropy = free_energy.quadratic(f(x), jax.grad(f)(x), H, gamma=GAMMA, temperature=1.0)
        return {
            "trace": jnp.sum(values),
            "top eigenvalue": values[-1],
            "log-det": jnp.sum(jnp.log1p(values / GAMMA)) / 2,
            "entropy": entropy,
        }

    return jtu.tree_map(jnp.mean, jax.vmap(at)(points))


@pytest.mark.parametrize("name", ["trace", "top eigenvalue", "log-det", "entropy"])
def test_one_meta_step_lowers_the_quantity_along_the_path(name):
    theta, rest = split_meta(OPT)
    g = gradient(name)
    here = along(OPT)[name]
    for size in (1e-2, 1e-3):
        step = tree.scale(size / tree.norm(g), g)
        down, up = (join_meta(tree.add(theta, tree.scale(a, step)), rest) for a in (-1, 1))
        assert along(down)[name] < here < along(up)[name]


def test_a_measure_of_halved_losses_is_refused():
    with pytest.raises(TypeError, match="CrossGradNorm needs a loss known by two"):
        score_and_gradient(OPT, objective(CrossGradNorm()))
