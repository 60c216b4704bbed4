"""Problems with their minimisers: the gap to the minimum, to the last digits."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.core import tree
from steppe.core.loss import Composite, LeastSquares, Logistic
from steppe.core.regularizer import L1, Box, ElasticNet, GroupL2
from steppe.solvers.family import WithMinimum, excess, minimise
from steppe.tasks.inverse.logistic import SparseLogistic
from steppe.tasks.inverse.optimum import optimum
from steppe.tasks.inverse.recovery import SparseRecovery

ROWS, N = 6, 8


def composite(smooth: str, regularizer, dtype) -> Composite:
    rng = np.random.default_rng(7)
    A = rng.normal(size=(ROWS, N)) / 2
    if smooth == "squares":
        b = A @ (rng.normal(size=N) * (np.arange(N) < 2))
        f = LeastSquares(jnp.asarray(A, dtype), jnp.asarray(b, dtype))
        L = np.linalg.norm(A, 2) ** 2
    else:
        f = Logistic(jnp.asarray(A, dtype), jnp.asarray(np.arange(ROWS) % 2, dtype))
        L = np.linalg.norm(A, 2) ** 2 / (4 * ROWS)
    return Composite(f, regularizer, jnp.asarray(L, dtype))


FAMILIES = {
    "lasso": ("squares", L1(0.1)),
    "elastic-net": ("squares", ElasticNet(0.1, 0.2)),
    "group": ("squares", GroupL2(0.1, 2)),
    "box": ("squares", Box(-0.5, 0.3)),
    "logistic": ("logistic", L1(0.01)),
}
solved = jax.jit(minimise)
risen = jax.jit(excess)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_minimiser_is_that_of_the_duality_gap(name):
    loss = composite(*FAMILIES[name], jnp.float64)
    best = optimum(loss)
    assert best.gap <= 1e-10
    x = solved(loss, jnp.zeros(N))
    assert float(loss(x)) == pytest.approx(best.value, abs=1e-10)


@pytest.mark.parametrize("name", sorted(set(FAMILIES) - {"box"}))
def test_the_gap_is_right_where_the_losses_have_equal_digits(name):
    """In float32 a difference of two losses is off by some 1e-7 of them."""
    narrow, wide = (composite(*FAMILIES[name], dtype) for dtype in (jnp.float32, jnp.float64))
    best = solved(wide, jnp.zeros(N))
    rng = np.random.default_rng(3)
    for size in (0.3, 1e-2, 1e-4):
        x = jnp.asarray(best + size * rng.normal(size=N) * (np.abs(best) > 0), jnp.float32)
        rise = float(wide(x.astype(jnp.float64)) - wide(best))
        found = float(risen(narrow, x, best.astype(jnp.float32)))
        # Gauss and Legendre's three points: the logistic loss is no polynomial.
        assert found == pytest.approx(rise, rel=2e-3, abs=5e-8 * float(wide(best)))


def test_a_difference_of_losses_would_not_do():
    """The test above can fail."""
    loss = composite(*FAMILIES["lasso"], jnp.float32)
    best = solved(composite(*FAMILIES["lasso"], jnp.float64), jnp.zeros(N)).astype(jnp.float32)
    x = best * (1 + 2e-5)
    plain, ours = float(loss(x) - loss(best)), float(risen(loss, x, best))
    assert abs(plain - ours) > 0.2 * ours > 0


def test_metrics_and_target():
    task = SparseRecovery(rows=ROWS, n=N, density=0.9, seed=0)
    family = WithMinimum(task)
    instance = jax.jit(lambda key: family.sample(key))(jr.key(1))
    truth = family.composite(instance.instance).truth
    metrics = family.metrics(truth, instance, (), jr.key(0))
    assert metrics["recovery"] == pytest.approx(-300)
    assert metrics["gap"] > 0 and family.gap(instance.minimiser, instance) < 1e-14
    assert family.nmse(jnp.zeros(N), instance) == pytest.approx(0, abs=1e-12)
    assert tree.norm(family.target(instance) - instance.minimiser) == 0


def test_no_truth_no_recovery():
    family = WithMinimum(SparseLogistic(rows=4, n=3))
    metrics = jax.jit(lambda key: family.metrics(jnp.zeros(3), family.sample(key), (), key))
    assert set(metrics(jr.key(0))) == {"accuracy", "gap"}
