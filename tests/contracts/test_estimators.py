"""What every estimator, objective and measure promises, run over all final classes found."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

from examples import final_classes
from steppe.core import tree
from steppe.core.estimator import AbstractEstimator, Stats
from steppe.core.loss import Composed
from steppe.core.measure import AbstractMeasure, AbstractWarm
from steppe.core.objective import AbstractObjective
from steppe.core.optimizer import split_meta
from steppe.estimators.adapted import Adapted
from steppe.estimators.bptt import BPTT
from steppe.estimators.es import ES, PES
from steppe.estimators.imitation import Imitation
from steppe.estimators.mix import Mix
from steppe.estimators.self_paced import SelfPaced
from steppe.estimators.whole import Whole
from steppe.flatness.entropy.local_entropy import LocalEntropy
from steppe.flatness.entropy.variational import Smoothed
from steppe.flatness.gradient import CrossGradNorm, GradNorm, Halved, Sharpness
from steppe.flatness.hessian import (
    GaussNewtonTrace,
    HessianFrobenius,
    HessianTrace,
    KrylovTrace,
    LogDet,
    TopEigenvalue,
)
from steppe.flatness.units import Adaptive, Relative, SquaredNorm
from steppe.objectives.minimax import Merit, Reward
from steppe.objectives.regularized import Regularized
from steppe.objectives.supervised import Demonstrated, Supervised
from steppe.objectives.swarm import Located
from steppe.objectives.trajectory import Trajectory
from steppe.optimizers.classic.from_optax import adam
from steppe.optimizers.classic.games import GDA
from steppe.optimizers.learned.learned_adam import LearnedAdam
from steppe.optimizers.learned.rnnprop import RNNProp
from steppe.solvers.family import WithMinimum
from steppe.solvers.training import LogError
from steppe.tasks.games.matrix import MatrixGame
from steppe.tasks.inverse.recovery import SparseRecovery
from steppe.tasks.synthetic.quadratic import Quadratic
from steppe.tasks.wrappers.population import Population

ESTIMATORS = {
    "BPTT": lambda: BPTT(2, 2, 6),
    "Adapted": lambda: Adapted(BPTT(2, 2, 6), 0.1),
    "ES": lambda: ES(2, 2, 6),
    "PES": lambda: PES(2, 2, 6),
    "Imitation": lambda: Imitation(adam(0.1), 2, 2, 6),
    "Mix": lambda: Mix({"main": BPTT(2, 2, 6), "imitation": Imitation(adam(0.1), 2, 2)}),
    "SelfPaced": lambda: SelfPaced(BPTT(2, 2, 6), calls=3),
    "Whole": lambda: Whole(2, 2),
}
# A small network meets the one, a rule of four numbers, which takes less to compile, the other.
OPTIMIZERS = {
    "Trajectory": lambda: RNNProp((2,), 2, key=jr.key(0)),
    "Regularized": lambda: LearnedAdam(0.1),
    "Supervised": lambda: LearnedAdam(0.1),
    "LogError": lambda: LearnedAdam(0.1),
    "Merit": lambda: GDA(0.1),
    "Reward": lambda: GDA(0.1, alternating=True),
    "Located": lambda: LearnedAdam(0.1),
    "Demonstrated": lambda: LearnedAdam(0.1),
}
TASKS = {  # that objective asks for a truth, or for a game
    "Merit": MatrixGame(2),
    "Reward": MatrixGame(2),
    "Supervised": SparseRecovery(2, 3, density=0.99, start="normal"),
    "LogError": WithMinimum(SparseRecovery(2, 3, density=0.99, start="normal")),
    "Located": Population(Quadratic(2), 2),
    "Demonstrated": SparseRecovery(2, 3, density=0.99, start="normal"),
}


class Power(AbstractWarm):
    """Curvature along a direction that every evaluation turns by one power iteration."""

    def guess(self, params, *, key):
        return jtu.tree_map(jnp.ones_like, params)

    def resume(self, loss, params, guess, *, key):
        v = tree.scale(1 / tree.norm(guess), guess)
        _, turned = jax.jvp(jax.grad(loss), (params,), (v,))
        return tree.dot(v, turned), jax.lax.stop_gradient(turned)

    def __call__(self, loss, params, *, key):
        return self.resume(loss, params, self.guess(params, key=key), key=key)[0]


OBJECTIVES = {
    "Trajectory": lambda: Trajectory("ramp", "ratio", "fresh"),
    "Regularized": lambda: Regularized(
        Trajectory(), Power(), 0.1, where="steps", every=2, normalise="initial"
    ),
    "Supervised": lambda: Supervised("uniform"),
    "LogError": lambda: LogError(),
    "Merit": lambda: Merit("uniform", "log"),
    "Reward": lambda: Reward(),
    "Located": lambda: Located(Trajectory(), 0.1, samples=5, places=4),
    "Demonstrated": lambda: Demonstrated(2, 0.1),
}
MEASURES = {
    "HessianTrace": lambda: HessianTrace(2),
    "HessianFrobenius": lambda: HessianFrobenius(2),
    "GaussNewtonTrace": lambda: GaussNewtonTrace(2),
    "TopEigenvalue": lambda: TopEigenvalue(),
    "LogDet": lambda: LogDet(2.0),
    "KrylovTrace": lambda: KrylovTrace(2),
    "LocalEntropy": lambda: LocalEntropy(2.0, samples=4),
    "Smoothed": lambda: Smoothed(2.0),
    "Sharpness": lambda: Sharpness(),
    "GradNorm": lambda: GradNorm(),
    "CrossGradNorm": lambda: CrossGradNorm(),
    "Relative": lambda: Relative(HessianTrace()),
    "Adaptive": lambda: Adaptive(HessianTrace()),
    "SquaredNorm": lambda: SquaredNorm(),
}


@pytest.mark.parametrize(
    ("base", "examples"),
    [(AbstractEstimator, ESTIMATORS), (AbstractObjective, OBJECTIVES), (AbstractMeasure, MEASURES)],
    ids=["estimators", "objectives", "measures"],
)
def test_every_final_class_has_an_example(base, examples):
    assert {cls.__name__ for cls in final_classes(base)} == set(examples)


def pair(estimator, objective):
    """An estimator and an objective; those that want a truth meet most estimators when slow."""
    quick = objective in ("Trajectory", "Regularized") or estimator in ("BPTT", "Whole")
    marks = () if quick else pytest.mark.slow
    return pytest.param((estimator, objective), marks=marks, id=f"{estimator}-{objective}")


@pytest.fixture(scope="module", params=[pair(e, o) for e in ESTIMATORS for o in OBJECTIVES])
def run(request):
    """Two calls of an estimator on an objective, compiled; and how often it was traced."""
    estimator, objective = ESTIMATORS[request.param[0]](), OBJECTIVES[request.param[1]]()
    task, opt = TASKS.get(request.param[1], Quadratic(3)), OPTIMIZERS[request.param[1]]()
    traces = []

    @eqx.filter_jit
    def call(state, key):
        traces.append(1)
        return estimator(task, opt, state, objective, key=key)

    start = estimator.init(task, opt, objective, key=jr.key(1))
    first = call(start, jr.key(2))
    second = call(first[1], jr.key(3))
    again = call(start, jr.key(2))
    return opt, start, first, second, again, len(traces)


def test_the_meta_gradient_has_the_structure_shapes_and_dtypes_of_theta(run):
    opt, _, (grads, _, _), *_ = run
    theta, _ = split_meta(opt)
    assert jtu.tree_structure(grads) == jtu.tree_structure(theta)
    for g, t in zip(jtu.tree_leaves(grads), jtu.tree_leaves(theta), strict=True):
        assert (g.shape, g.dtype) == (t.shape, t.dtype)


def test_the_state_keeps_its_types_so_that_one_trace_serves_all_calls(run):
    _, start, (_, state, _), _, _, traces = run
    kind = lambda x: (x.shape, x.dtype, getattr(x, "weak_type", False))
    shapes = lambda state: [kind(x) for x in jtu.tree_leaves(state)]
    assert shapes(start) == shapes(state)
    assert traces == 1


def test_equal_keys_give_equal_bits(run):
    _, _, first, _, again, _ = run
    for a, b in zip(jtu.tree_leaves(first[0]), jtu.tree_leaves(again[0]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_statistics_are_scalars_and_agree_with_the_gradient(run):
    _, _, (grads, _, stats), *_ = run
    assert isinstance(stats, Stats)
    assert all(leaf.shape == () for leaf in jtu.tree_leaves(stats))
    norm = np.sqrt(sum(np.sum(np.asarray(g) ** 2) for g in jtu.tree_leaves(grads)))
    assert float(stats.grad_norm) == pytest.approx(norm, rel=1e-12)
    assert int(stats.nonfinite) == 0


def test_episodes_go_on_where_they_stood(run):
    _, start, (_, state, _), (_, later, _), *_ = run
    if start == ():
        return  # every call begins fresh ones
    start, state, later = (s[0] if isinstance(s, tuple) else s for s in (start, state, later))
    assert np.all(np.asarray(state.episode.step) > np.asarray(start.episode.step))
    assert not np.array_equal(
        jtu.tree_leaves(state.episode.params)[0], jtu.tree_leaves(later.episode.params)[0]
    )


SURFACE = Composed(
    lambda p: jnp.append(p["w"].ravel() * p["b"], jnp.sum(p["w"] ** 2) / 2),
    lambda z: jnp.sum(jnp.exp(z)) + jnp.sum(z**2),
)


def measured(measure, params, key):
    """Value and gradient, and of a warm measure the guess before and after."""
    loss = Halved(SURFACE, SURFACE) if isinstance(measure, CrossGradNorm) else SURFACE
    if not isinstance(measure, AbstractWarm):
        return jax.value_and_grad(lambda p: measure(loss, p, key=key))(params), ((), ())
    guess = measure.guess(params, key=key)
    resume = lambda p: measure.resume(loss, p, guess, key=key)
    (value, after), grads = jax.value_and_grad(resume, has_aux=True)(params)
    return (value, grads), (guess, after)


def point(scale=1.0, dtype=jnp.float64):
    return {"b": jnp.asarray(0.8, dtype) * scale, "w": jnp.array([[0.3, -0.5]], dtype) * scale}


def types(x):
    return jtu.tree_map(lambda leaf: (leaf.shape, leaf.dtype), x)


@pytest.fixture(scope="module", params=MEASURES)
def measure(request):
    return MEASURES[request.param]()


def test_a_measure_is_a_finite_scalar_with_a_finite_gradient(measure):
    """And jit over two points side by side changes nothing."""
    points = jtu.tree_map(lambda *x: jnp.stack(x), point(), point(1.2))
    both, _ = eqx.filter_jit(jax.vmap(lambda p: measured(measure, p, jr.key(0))))(points)
    alone, _ = eqx.filter_jit(measured)(measure, point(1.2), jr.key(0))
    assert alone[0].shape == () and tree.finite((both, alone))
    assert any(np.any(np.asarray(leaf) != 0) for leaf in jtu.tree_leaves(alone[1]))
    for a, b in zip(jtu.tree_leaves(both), jtu.tree_leaves(alone), strict=True):
        np.testing.assert_allclose(a[1], b, rtol=1e-9, atol=1e-12)


def test_a_measure_keeps_dtypes_and_the_types_of_its_guess(measure):
    for dtype, expected in ((jnp.bfloat16, jnp.float32), (jnp.float32, jnp.float32)):
        params = jax.eval_shape(lambda d=dtype: point(dtype=d))
        (value, grads), (before, after) = jax.eval_shape(
            lambda p: measured(measure, p, jr.key(0)), params
        )
        assert value.shape == () and value.dtype in (dtype, expected)
        assert types(grads) == types(params)
        assert types(before) == types(after)
