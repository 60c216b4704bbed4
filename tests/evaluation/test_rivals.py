"""Rivals against scikit-learn, closed forms and proven minima."""

import warnings

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from sklearn.linear_model import orthogonal_mp

from steppe.core.loss import Composite, LeastSquares, Logistic, Plain
from steppe.core.regularizer import L1, Box, ElasticNet, GroupL2
from steppe.evaluation.rivals import coordinate_descent, logistic, omp, rivals
from steppe.tasks.inverse.logistic import SparseLogistic
from steppe.tasks.inverse.optimum import optimum


def sparse(rows, n, count, seed, density=0.1):
    """A with columns of length 1, and sparse vectors."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((rows, n))
    x = rng.standard_normal((count, n)) * (rng.random((count, n)) < density)
    return A / np.linalg.norm(A, axis=0), x


def recovered(rows, n, count, seed, density=0.1):
    """Share of vectors found to −60 dB, and of supports that are scikit-learn's."""
    A, xs = sparse(rows, n, count, seed, density)
    good, same = [], []
    for x in xs:
        b = A @ x
        found = omp(A, b)
        with warnings.catch_warnings():  # of columns that depend on those it has
            warnings.simplefilter("ignore", RuntimeWarning)
            peer = orthogonal_mp(A, b, tol=(1e-6 * np.linalg.norm(b)) ** 2)
        good.append(np.sum((found.x - x) ** 2) <= 1e-6 * np.sum(x**2))
        same.append(set(np.flatnonzero(found.x)) == set(np.flatnonzero(peer)))
    return np.mean(good), np.mean(same)


def test_omp_takes_the_columns_of_scikit_learn():
    assert recovered(40, 60, 20, seed=0, density=0.06) == (1.0, 1.0)


@pytest.mark.slow
def test_omp_solves_the_published_testbed_without_noise():
    assert recovered(256, 512, 100, seed=1) == (1.0, 1.0)


def test_omp_stops_at_the_noise_or_where_it_was_told_to():
    A, (x,) = sparse(40, 60, 1, seed=3)
    b = A @ x
    noisy = b + 0.1 * np.std(b) * np.random.default_rng(0).standard_normal(40)
    found = omp(A, noisy, tolerance=0.1)
    assert np.linalg.norm(A @ found.x - noisy) <= 0.1 * np.linalg.norm(noisy)
    assert found.iterations == np.count_nonzero(found.x) < omp(A, noisy).iterations
    assert omp(A, b, most=2).iterations == 2
    assert not omp(A, np.zeros(40)).x.any()
    twice = np.column_stack([A[:, 0], A[:, 0], A[:, 1]])  # depend on each other
    assert omp(twice, A[:, 0] + A[:, 2], most=3).iterations == 2
    units = np.linspace(0.1, 10, 60)  # the choice does not depend on them
    np.testing.assert_allclose(omp(A * units, b).x * units, omp(A, b).x, atol=1e-9)


def of(smooth, regularizer):
    return Composite(smooth, regularizer, smooth.lipschitz())


@pytest.mark.parametrize("regularizer", [L1(0.1), ElasticNet(0.1, 0.3)], ids=["l1", "elastic net"])
def test_coordinate_descent_comes_to_the_proven_minimum(regularizer):
    A, (x,) = sparse(20, 30, 1, seed=4)
    loss = of(LeastSquares(jnp.asarray(A), jnp.asarray(A @ x)), regularizer)
    found = coordinate_descent(loss, 1e-14)
    assert found.value == pytest.approx(optimum(loss).value, rel=1e-10)
    assert 0 <= found.gap <= 1e-10 and found.iterations > 1 and found.seconds > 0
    early = coordinate_descent(loss, 1e-14, iterations=1)
    assert early.gap > 1e-4 and early.value - early.gap <= found.value
    assert set(rivals(loss)) == {"coordinate-descent"}
    assert rivals(loss)["coordinate-descent"](1e-14).value == found.value


@pytest.mark.parametrize(("solver", "within"), [("liblinear", 1e-8), ("saga", 1e-10)])
def test_solvers_of_logistic_regression_come_to_the_proven_minimum(solver, within):
    task = SparseLogistic(rows=80, n=6)
    loss = task.loss(task.sample(jr.key(1)), (), jr.key(0))
    found = logistic(loss, 1e-12, solver=solver)
    assert found.value == pytest.approx(optimum(loss).value, rel=within)
    assert 0 <= found.gap <= 1e-6 and set(rivals(loss)) == {"liblinear", "saga"}
    assert rivals(loss)[solver](1e-12).value == pytest.approx(found.value, rel=1e-12)


EYE = np.eye(3)


@pytest.mark.parametrize(
    ("A", "b", "options", "words"),
    [
        (EYE, np.ones(2), {}, r"A is \(3, 3\) and b is \(2,\), expected \(rows, n\) and \(rows,\)"),
        (EYE[0], np.ones(3), {}, r"A is \(3,\)"),
        (EYE * np.nan, np.ones(3), {}, "A and b must be finite"),
        (EYE * [1, 0, 1], np.ones(3), {}, "column 1 of A is zero; leave it out"),
        (EYE * 1j, np.ones(3), {}, "A must be an array of real numbers, got"),
        ([[1, 2], [3]], np.ones(2), {}, "A must be an array of real numbers, got"),
        (np.zeros((0, 3)), np.zeros(0), {}, r"A is \(0, 3\)"),
        (EYE, np.ones(3), {"tolerance": -1.0}, "tolerance must be at least 0, got -1"),
        (EYE, np.ones(3), {"tolerance": None}, "tolerance must be a finite number, got None"),
        (EYE, np.ones(3), {"most": 0}, "most must be at least 1, got 0"),
    ],
)
def test_omp_refuses_what_it_cannot_solve(A, b, options, words):
    with pytest.raises(ValueError, match="omp: " + words):
        omp(A, b, **options)


def test_the_others_refuse_other_losses():
    squares = LeastSquares(jnp.eye(4), jnp.ones(4))
    odds = Logistic(jnp.eye(4), jnp.ones(4))
    for regularizer in (GroupL2(0.1, 2), Box(0.0, 1.0), L1(0.0)):
        with pytest.raises(ValueError, match="coordinate_descent: the loss is LeastSquares with"):
            coordinate_descent(of(squares, regularizer))
        assert rivals(of(squares, regularizer)) == {}
    with pytest.raises(ValueError, match="expected LeastSquares with an L1"):
        coordinate_descent(of(odds, L1(0.1)))
    with pytest.raises(ValueError, match="labels 0 and 1, both of them"):
        logistic(of(odds, L1(0.1)))
    with pytest.raises(ValueError, match="solver is 'newton'"):
        logistic(of(odds, L1(0.1)), solver="newton")
    with pytest.raises(ValueError, match="A and b must be finite"):
        coordinate_descent(of(LeastSquares(jnp.eye(4), jnp.ones(4) * jnp.inf), L1(0.1)))
    for bad, words in (("3", "a finite number, got '3'"), (-1, "at least 0, got -1")):
        with pytest.raises(ValueError, match=f"coordinate_descent: tolerance must be {words}"):
            coordinate_descent(of(squares, L1(0.1)), bad)
    with pytest.raises(ValueError, match="iterations must be a whole number from 1"):
        coordinate_descent(of(squares, L1(0.1)), iterations=0)
    with pytest.raises(TypeError, match="rivals needs a loss of the form Composite"):
        rivals(squares)
    assert rivals(Composite(Plain(jnp.sum), L1(0.1), 1.0)) == {}
