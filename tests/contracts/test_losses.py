"""Every wrapper over every kind of loss: what structure survives, and is it right?"""

import dataclasses

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

from steppe.core.loss import (
    Composed,
    Composite,
    LeastSquares,
    Plain,
    Saddle,
    Stacked,
    expect,
    in_units,
)
from steppe.core.regularizer import L1, AbstractRegularizer
from steppe.core.task import AbstractFormula, Problem
from steppe.flatness.gradient import GradNorm
from steppe.flatness.products import gauss_newton_product
from steppe.tasks.wrappers.combined import Log, Rescaled, Sum
from steppe.tasks.wrappers.flattened import Flattened
from steppe.tasks.wrappers.noisy import Noisy
from steppe.tasks.wrappers.population import Population
from steppe.tasks.wrappers.scaled import Scaled
from steppe.tasks.wrappers.shifted import Shifted
from steppe.tasks.wrappers.with_bowl import WithBowl

KEY = jr.key(0)
A = np.array([[1.0, 0.5, -0.2], [0.3, -1.0, 0.8]])
B = np.array([0.4, -0.7])
SQUARES = LeastSquares(jnp.asarray(A), jnp.asarray(B))
L = float(np.linalg.norm(A, 2) ** 2)
X = jnp.array([0.7, -0.4, 1.1])


class Length(AbstractRegularizer):
    """‖x‖₂, which is no sum over coordinates."""

    @property
    def separable(self):
        return False

    def __call__(self, params):
        return jnp.linalg.norm(params)

    def prox(self, z, step):
        return jnp.maximum(1 - step / jnp.linalg.norm(z), 0) * z


def payoff(p):
    return p["min"] @ jnp.asarray(A).T @ p["max"] + jnp.sum(p["min"] ** 2) - jnp.sum(p["max"] ** 2)


KINDS = {  # name: the loss, and a point
    "plain": (Plain(lambda x: jnp.sum(jnp.cosh(x))), X),
    "composed": (Composed(lambda x: jnp.tanh(A @ x) - B, lambda z: jnp.sum(jnp.cosh(z))), X),
    "composite": (Composite(SQUARES, L1(0.3), jnp.asarray(L)), X),
    "group": (Composite(SQUARES, Length(), jnp.asarray(L)), X),
    "squares": (SQUARES, X),
    "saddle": (Saddle(payoff), {"min": X, "max": jnp.array([0.5, -1.2])}),
    "stacked": (Stacked(Plain(lambda x: jnp.sum(jnp.cosh(x)))), jnp.stack([X, 2 * X])),
}


class Fixed(AbstractFormula):
    """One loss of `KINDS`, by name."""

    kind: str

    def sample(self, key):
        return ()

    def init(self, instance, key):
        return KINDS[self.kind][1]

    def loss(self, instance, batch, key):
        return KINDS[self.kind][0]

    def target(self, instance):
        return None

    def metrics(self, params, instance, batch, key):
        return {}


SAME = {kind: type(loss) for kind, (loss, _) in KINDS.items()}
NOTHING = dict.fromkeys(KINDS, Plain)
WRAPPERS = {  # name: the wrapper, and the structure that is left of every kind
    "scaled": (lambda t: Scaled(t, 1.0), SAME | {"group": Plain, "stacked": Plain}),
    "shifted": (lambda t: Shifted(t, objective=0.5), SAME),
    "rescaled": (lambda t: Rescaled(t, 2.0), NOTHING | {"composed": Composed}),
    "with-bowl": (lambda t: WithBowl(t, 2), NOTHING | {"composed": Composed}),
    "noisy": (lambda t: Noisy(t, 0.0, 0.0), NOTHING),
    "flattened": (lambda t: Flattened(t, GradNorm(), 0.5), NOTHING),
    "log": (Log, NOTHING),
    "sum": (lambda t: Sum((t, t)), NOTHING),
    "population": (lambda t: Population(t, 2), dict.fromkeys(KINDS, Stacked)),
}


def squared_slope(loss, x):
    return sum(jnp.sum(g**2) for g in jtu.tree_leaves(jax.grad(loss)(x)))


def expected(name, loss, instance):
    """The wrapped loss as a plain function, written down once more."""
    if name == "scaled":
        return lambda x: loss(jtu.tree_map(jnp.multiply, instance[1], x))
    return {
        "shifted": lambda x: loss(jtu.tree_map(lambda leaf: leaf + 0.5, x)),
        "rescaled": lambda x: loss(jtu.tree_map(lambda leaf: leaf / 2, x)),
        "with-bowl": lambda x: loss(x[0]) + jnp.mean((x[1] - instance[1]) ** 2),
        "noisy": loss,
        "flattened": lambda x: loss(x) + 0.5 * squared_slope(loss, x),
        "log": lambda x: jnp.log(loss(x) + 1e-6) - jnp.log(1e-6),
        "sum": lambda x: loss(x[0]) + loss(x[1]),
        "population": lambda x: sum(loss(alone(x, i)) for i in (0, 1)),
    }[name]


def alone(x, i):
    return jtu.tree_map(lambda leaf: leaf[i], x)


def wrapped(name, kind):
    task = WRAPPERS[name][0](Fixed(kind))
    instance = task.sample(KEY)
    return Problem(task, instance, task.batch(instance, KEY), KEY), task.init(instance, KEY)


def close(x, y, rtol=1e-9):
    jtu.tree_map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-10), x, y)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", WRAPPERS)
def test_structure_value_and_gradient(name, kind):
    problem, x = wrapped(name, kind)
    loss, plain = problem.loss(), expected(name, KINDS[kind][0], problem.instance)
    assert type(loss) is WRAPPERS[name][1][kind]
    if name == "log" and not float(KINDS[kind][0](x)) > 0:
        pytest.skip("this loss has no logarithm")
    close(loss(x), plain(x))
    close(jax.grad(loss)(x), jax.grad(plain)(x))


def test_the_truth_comes_along_in_other_units():
    loss = dataclasses.replace(KINDS["composite"][0], truth=X)
    c = jnp.array([2.0, 0.5, 4.0])
    close(in_units(loss, c).truth * c, X)
    assert in_units(KINDS["composite"][0], c).truth is None


@pytest.mark.parametrize("name", ["scaled", "rescaled"])
def test_gauss_newton_products_are_those_of_the_dense_matrix(name):
    problem, x = wrapped(name, "composed")
    loss = problem.loss()
    J = np.asarray(jax.jacobian(loss.inner)(x))
    G = J.T @ np.asarray(jax.hessian(loss.outer)(loss.inner(x))) @ J
    v = jnp.array([0.2, -1.0, 0.6])
    close(gauss_newton_product(loss, x, v), G @ v)
    c = problem.instance[1] if name == "scaled" else jnp.full(3, 0.5)
    close(
        gauss_newton_product(loss, x, v),
        c * gauss_newton_product(KINDS["composed"][0], c * x, c * v),
    )


@pytest.mark.parametrize("step", [0.7, jnp.array([0.1, 0.5, 2.0])])
def test_prox_meets_its_optimality_condition(step):
    """With p = prox(z, t): (z − p)/t is a subgradient of r(c ⊙ ·) at p, cᵢ · 0.3 · [−1, 1]."""
    problem, _ = wrapped("scaled", "composite")
    c, z = np.asarray(problem.instance[1]), np.array([1.5, -0.05, -2.0])
    for factor, regularizer in ((1.0, L1(0.3)), (c, problem.loss().regularizer)):
        p = np.asarray(regularizer.prox(jnp.asarray(z), step))
        slope, weight = (z - p) / np.asarray(step), 0.3 * np.broadcast_to(factor, 3)
        assert np.all(np.abs(slope) <= weight * (1 + 1e-12))
        np.testing.assert_allclose(slope[p != 0], (weight * np.sign(p))[p != 0], rtol=1e-10)
        assert np.any(p != 0)


def test_least_squares_in_other_units_has_the_scaled_matrix_and_a_bound_of_its_norm():
    problem, _ = wrapped("scaled", "composite")
    loss, c = problem.loss(), np.asarray(problem.instance[1])
    assert isinstance(loss.smooth, LeastSquares)
    close(loss.smooth.A, A * c)
    close(loss.smooth.adjoint(B), (A * c).T @ B)
    assert float(loss.smooth.lipschitz()) <= float(loss.lipschitz) * (1 + 1e-12)
    close(SQUARES.lipschitz(), L)


def test_players_of_a_scaled_game_have_their_own_gradients():
    problem, p = wrapped("scaled", "saddle")
    loss, c = problem.loss(), problem.instance[1]
    x, y = (np.asarray(c[k] * p[k]) for k in ("min", "max"))
    down, up = c["min"] * (A.T @ y + 2 * x), c["max"] * (A @ x - 2 * y)
    close(loss.grad_min(p), down)
    close(loss.grad_max(p), up)
    close(loss.merit(p), np.sqrt(np.sum(down**2) + np.sum(up**2)))


def test_particles_have_values_of_their_own():
    loss, x = KINDS["stacked"]
    close(loss.each(x), np.cosh(x).sum(1))


def test_a_missing_structure_gets_a_sentence():
    assert expect(KINDS["composite"][0], Composite, "LISTA") is KINDS["composite"][0]
    form = r"LISTA needs a loss of the form Composite\(smooth, regularizer, lipschitz\), got Saddle"
    with pytest.raises(TypeError, match=form):
        expect(KINDS["saddle"][0], Composite, "LISTA")
