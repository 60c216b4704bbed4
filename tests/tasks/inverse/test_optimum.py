"""Minima against scikit-learn, and their proofs."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import ElasticNet as SkElasticNet
from sklearn.linear_model import Lasso as SkLasso
from sklearn.linear_model import LogisticRegression

from steppe.core.loss import Composite, LeastSquares, Logistic, Plain
from steppe.core.regularizer import L1, Box, ElasticNet, GroupL2
from steppe.tasks.inverse.optimum import optimum

ROWS, N = 12, 20


def data(seed):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((ROWS, N))
    return A / np.linalg.norm(A, axis=0), rng.standard_normal(ROWS)


def value(loss, x):
    return float(loss(jnp.asarray(x)))


def of(smooth, regularizer):
    return Composite(smooth, regularizer, smooth.lipschitz())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ridge", [0.0, 0.2])
def test_least_squares_are_those_of_coordinate_descent(seed, ridge):
    A, b = data(seed)
    weight = 0.1
    regularizer = ElasticNet(weight, ridge) if ridge else L1(weight)
    loss = of(LeastSquares(jnp.asarray(A), jnp.asarray(b)), regularizer)
    if ridge:
        how = {"alpha": (weight + ridge) / ROWS, "l1_ratio": weight / (weight + ridge)}
        peer = SkElasticNet(**how, fit_intercept=False, tol=1e-14, max_iter=10**6)
    else:
        peer = SkLasso(alpha=weight / ROWS, fit_intercept=False, tol=1e-14, max_iter=10**6)
    theirs = value(loss, peer.fit(A, b).coef_)
    found = optimum(loss)
    assert found.value == pytest.approx(value(loss, found.x), rel=1e-12)
    assert found.value == pytest.approx(theirs, rel=1e-10)
    assert 0 <= found.gap <= 1e-13 and theirs >= found.value - found.gap - 1e-13


@pytest.mark.parametrize("seed", range(3))
def test_logistic_regression_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((60, 6))
    y = (A @ rng.standard_normal(6) + rng.standard_normal(60) > 0).astype(float)
    loss = of(Logistic(jnp.asarray(A), jnp.asarray(y)), L1(0.05))
    how = {"l1_ratio": 1.0, "solver": "saga", "C": 1 / (0.05 * 60), "tol": 1e-13}
    peer = LogisticRegression(**how, fit_intercept=False, max_iter=10**5).fit(A, y)
    found = optimum(loss)
    assert found.value == pytest.approx(value(loss, peer.coef_[0]), rel=1e-10)
    assert 0 <= found.gap <= 1e-13


def test_groups_meet_the_conditions_of_optimality():
    A, b = data(7)
    weight, size = 1.6, 4
    found = optimum(of(LeastSquares(jnp.asarray(A), jnp.asarray(b)), GroupL2(weight, size)))
    assert found.gap <= 1e-13 * found.value
    slope = (A.T @ (A @ found.x - b)).reshape(-1, size)
    groups = found.x.reshape(-1, size)
    lengths = np.linalg.norm(groups, axis=1)
    assert 0 < (lengths > 0).sum() < len(lengths)
    on, off = lengths > 1e-9, lengths <= 1e-9
    np.testing.assert_allclose(slope[on], -weight * groups[on] / lengths[on, None], atol=1e-6)
    assert np.linalg.norm(slope[off], axis=1).max() <= weight * (1 + 1e-6)


def test_the_gap_is_a_bound_from_the_first_step_on():
    A, b = data(3)
    loss = of(LeastSquares(jnp.asarray(A), jnp.asarray(b)), L1(0.1))
    least = optimum(loss).value
    for k in (0, 10, 50):
        early = optimum(loss, tolerance=0.0, iterations=k)
        assert early.iterations <= k and early.value - early.gap <= least + 1e-12
    assert optimum(of(LeastSquares(jnp.asarray(A), jnp.zeros(ROWS)), L1(0.1))).value == 0


def test_other_parts_and_bad_numbers_are_refused():
    A, b = data(0)
    squares = LeastSquares(jnp.asarray(A), jnp.asarray(b))
    with pytest.raises(TypeError, match="must be LeastSquares or Logistic, got Plain"):
        optimum(Composite(Plain(jnp.sum), L1(0.1), jnp.ones(())))
    with pytest.raises(TypeError, match="must be L1, ElasticNet or GroupL2, got Box"):
        optimum(of(squares, Box(0.0, 1.0)))
    with pytest.raises(ValueError, match="A and b must be finite"):
        optimum(Composite(LeastSquares(squares.A, squares.b * jnp.nan), L1(0.1), jnp.ones(())))
