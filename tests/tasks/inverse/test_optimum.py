"""Minima against scikit-learn, and their proofs."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
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


@pytest.mark.parametrize("seed", range(8))
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
    assert 0 <= found.gap <= 1e-13 * max(1, found.value)
    assert theirs >= found.value - found.gap - 1e-13


@pytest.mark.parametrize("seed", range(4))
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


def test_a_box_is_that_of_scipy():
    A, b = data(5)
    peer = scipy.optimize.lsq_linear(A, b, (-0.2, 0.3), method="bvls", tol=1e-14)
    found = optimum(of(LeastSquares(jnp.asarray(A), jnp.asarray(b)), Box(-0.2, 0.3)))
    assert found.value == pytest.approx(peer.cost, rel=1e-12)
    assert found.proven and found.gap <= 1e-13 and np.isin([-0.2, 0.3], found.x).all()


class Cosh(eqx.Module):
    """Σ cosh((A x)ᵢ − bᵢ) of a tree {"x": …}, as somebody writes it who knows of no parts."""

    A: jnp.ndarray
    b: jnp.ndarray

    def __call__(self, params):
        return jnp.sum(jnp.cosh(self.A @ params["x"] - self.b))


@pytest.mark.parametrize("lipschitz", [40.0, 1e-3], ids=["a bound", "far too small"])
def test_of_other_parts_the_conditions_of_optimality_hold_without_a_proof(lipschitz):
    """In float32 problems too: A, b and the start are."""
    A, b = (part.astype(np.float32) for part in data(0))
    loss = Composite(Plain(Cosh(jnp.asarray(A), jnp.asarray(b))), L1(1.5), jnp.float32(lipschitz))
    found = optimum(loss, start={"x": jnp.ones(N, jnp.float32)})
    x = found.x["x"]
    slope = A.T.astype(float) @ np.sinh(A.astype(float) @ x - b)
    assert not found.proven and found.residual < 1e-9 and x.dtype == np.float64
    np.testing.assert_allclose(slope[x != 0], -1.5 * np.sign(x[x != 0]), atol=1e-9)
    assert 0 < (x != 0).sum() < N and abs(slope).max() <= 1.5 + 1e-9


def test_without_a_regularizer_nothing_is_proven_but_the_minimum_found():
    A, b = data(1)
    found = optimum(of(LeastSquares(jnp.asarray(A), jnp.asarray(b)), L1(0.0)))
    assert not found.proven and found.value < 1e-20
    half = optimum(of(LeastSquares(jnp.asarray(A), jnp.asarray(b)), Box(0.0, np.inf)))
    assert half.value == pytest.approx(scipy.optimize.nnls(A, b)[1] ** 2 / 2, rel=1e-10)


def test_what_cannot_be_minimised_is_refused():
    A, b = data(0)
    squares = LeastSquares(jnp.asarray(A), jnp.asarray(b))
    with pytest.raises(ValueError, match="Plain does not tell how many unknowns there are"):
        optimum(Composite(Plain(jnp.sum), L1(0.1), jnp.ones(())))
    with pytest.raises(TypeError, match="must be a Composite, got LeastSquares"):
        optimum(squares)
    with pytest.raises(ValueError, match="A and b must be finite"):
        optimum(Composite(LeastSquares(squares.A, squares.b * jnp.nan), L1(0.1), jnp.ones(())))
    with pytest.raises(ValueError, match=r"lipschitz must be positive and finite, got -1\.0"):
        optimum(eqx.tree_at(lambda loss: loss.lipschitz, of(squares, L1(0.0)), -jnp.ones(())))
    for bad, words in {"3": "a finite number, got '3'", -1.0: "at least 0, got -1"}.items():
        with pytest.raises(ValueError, match=f"optimum: tolerance must be {words}"):
            optimum(of(squares, L1(0.1)), bad)
    with pytest.raises(ValueError, match="iterations must be a whole number from 0"):
        optimum(of(squares, L1(0.1)), iterations=2.5)
    with pytest.raises(ValueError, match="20 unknowns are no groups of 3; give another size"):
        optimum(Composite(squares, GroupL2(0.1, 3), 1.0))
    with pytest.raises(ValueError, match=r"start is \(7,\), expected \(20,\) as A has columns"):
        optimum(of(squares, Box(0.0, np.inf)), start=jnp.zeros(7))
    with pytest.raises(ValueError, match=r"A is \(3, 0\), expected a row and a column at least"):
        optimum(Composite(LeastSquares(jnp.zeros((3, 0)), jnp.ones(3)), L1(0.1), 1.0))
    with pytest.raises(ValueError, match="the loss is nan where it was to be minimised"):
        optimum(Composite(Plain(lambda x: jnp.sum(jnp.sqrt(x))), L1(0.1), 1.0), start=-jnp.ones(2))
