"""Lanczos: against orthonormalised powers, and alive where it breaks down."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.flatness.lanczos import STEPS, number_of_steps, ritz, tridiagonalise
from tests.flatness.dense import lanczos, random_symmetric, rotated

N = 10
RANK_2 = {
    "diagonal": np.diag([3.0, 1.0] + 8 * [0.0]),
    "rotated": rotated([3.0, 1.0] + 8 * [0.0], seed=5),
}


def run(A, v, k):
    """Tridiagonal and Ritz pairs for the matrix A."""
    A = jnp.asarray(A, v.dtype)
    t = tridiagonalise(lambda q: jnp.dot(A, q, precision="highest"), v, k)
    return t, ritz(t)


run = jax.jit(run, static_argnums=2)


def used(pairs):
    return np.asarray(pairs.values)[np.asarray(pairs.used)]


@pytest.mark.parametrize("k", [1, 4, 6])
def test_equals_orthonormalised_powers(k):
    A, v = random_symmetric(0, 6), np.random.default_rng(1).normal(size=6)
    t, pairs = run(A, jnp.asarray(v), k)
    Q, T = lanczos(A, v, k)
    assert t.rank == k
    np.testing.assert_allclose(np.abs(t.basis @ Q), np.eye(k), atol=1e-10)  # up to signs
    np.testing.assert_allclose(t.alpha, np.diag(T), atol=1e-10)
    np.testing.assert_allclose(t.beta[:-1], np.abs(np.diag(T, 1)), atol=1e-10)
    np.testing.assert_allclose(used(pairs), np.linalg.eigvalsh(T), atol=1e-10)
    residual = A @ np.asarray(t.basis[-1])
    residual -= t.basis.T @ (t.basis @ residual)
    np.testing.assert_allclose(t.beta[-1], np.linalg.norm(residual), atol=1e-10)


def test_basis_stays_orthonormal_where_almost_nothing_is_left():
    """A first residual of 1e-10 is known to six digits: one projection leaves an angle of 1e-6."""
    A, v = np.diag([3.0, 2.0, 1.0, 0.0]), jnp.array([1.0, 1e-10, 2e-10, -1e-10])
    t, pairs = run(A, v, 4)
    np.testing.assert_allclose(t.basis @ t.basis.T, np.eye(4), atol=1e-14)
    np.testing.assert_allclose(used(pairs), np.diag(A)[::-1], atol=1e-13)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("k", [4, 6, 10])
@pytest.mark.parametrize("name", RANK_2)
def test_breakdown_on_a_rank_2_matrix(name, k, dtype):
    """Three distinct eigenvalues fill three dimensions: more steps find nothing more."""
    v = jr.normal(jr.key(1), (N,), dtype)
    t, pairs = run(RANK_2[name], v, k)
    tolerance = 1e-5 if dtype == jnp.float32 else 1e-13
    assert t.rank == 3 and pairs.values.dtype == dtype
    np.testing.assert_allclose(used(pairs), [0.0, 1.0, 3.0], atol=tolerance)
    gram = np.asarray(t.basis @ t.basis.T)
    np.testing.assert_allclose(gram, np.diag([1.0] * 3 + [0.0] * (k - 3)), atol=tolerance)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("k", [3, 4, 6])
@pytest.mark.parametrize("name", RANK_2)
def test_gradient_at_breakdown_is_that_of_the_part_before(name, k, dtype):
    """The sum of all alphas is tr A as long as A has rank 2; it was of order 1e10 and worse."""
    _, vectors = np.linalg.eigh(RANK_2[name])
    first, second = (jnp.asarray(u, dtype) for u in vectors.T[[-1, -2]])
    v = jr.normal(jr.key(1), (N,), dtype)

    def total(eigenvalues):
        a, b = eigenvalues
        product = lambda q: a * first * (first @ q) + b * second * (second @ q)
        t = tridiagonalise(product, v, k)
        return jnp.sum(t.alpha)

    value, slope = jax.jit(jax.value_and_grad(total))(jnp.array([3.0, 1.0], dtype))
    tolerance = 1e-4 if dtype == jnp.float32 else 1e-12
    np.testing.assert_allclose(value, 4.0, rtol=tolerance)
    np.testing.assert_allclose(slope, [1.0, 1.0], rtol=tolerance)


@pytest.mark.parametrize(
    ("A", "v", "nodes"),
    [
        (np.zeros((4, 4)), np.ones(4), [0.0]),
        (2.5 * np.eye(4), np.arange(1.0, 5), [2.5]),
        (-np.eye(4), np.ones(4), [-1.0]),
        (np.diag([3.0, 1.0, 0.0, 0.0]), np.array([1.0, 1.0, 0.0, 0.0]), [1.0, 3.0]),
        (np.diag([1e-9, 3e-9, -2e-9, 0.0]), np.ones(4), [-2e-9, 0.0, 1e-9, 3e-9]),
        (np.ones((1, 1)), np.ones(1), [1.0]),
    ],
    ids=["zero", "multiple", "negative", "exact", "tiny", "scalar"],
)
def test_breakdown_with_nothing_left_at_all(A, v, nodes):
    t, pairs = run(A, jnp.asarray(v), len(v))
    assert t.rank == len(nodes)
    scale = max(np.abs(nodes).max(), 1e-300)
    np.testing.assert_allclose(used(pairs) / scale, np.array(nodes) / scale, atol=1e-12)
    weights = np.asarray(pairs.vectors[0])[np.asarray(pairs.used)] ** 2
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-12)
    assert np.all(np.isin(np.asarray(pairs.values), used(pairs)))  # fillers are used values


def test_gradient_is_finite_where_the_residual_is_exactly_zero():
    total = lambda d: jnp.sum(tridiagonalise(lambda q: d * q, jnp.ones(4), 3).alpha)
    slope = jax.grad(total)(jnp.full(4, 2.0))
    np.testing.assert_allclose(slope, 0.25)


def test_float32_data_under_the_x64_flag():
    """A custom derivative answered here in float64, which is an error."""
    assert jax.config.jax_enable_x64
    A = jnp.asarray(random_symmetric(0, 6), jnp.float32)
    total = lambda a: jnp.sum(tridiagonalise(lambda q: a * (A @ q), jnp.ones(6, a.dtype), 4).alpha)
    slope = jax.jit(jax.grad(total))(jnp.ones((), jnp.float32))
    assert slope.dtype == jnp.float32
    np.testing.assert_allclose(slope, total(jnp.ones((), jnp.float32)), rtol=1e-5)
    t, pairs = run(A, jnp.ones(6, jnp.float32), 4)
    assert t.alpha.dtype == t.basis.dtype == pairs.vectors.dtype == jnp.float32


def test_closure_over_traced_parameters_under_vmap_and_grad():
    """It leaked a tracer where the derivative was a custom one."""
    A = jnp.asarray(random_symmetric(0, 6))

    def total(a):
        t = tridiagonalise(lambda q: a * (A @ q), jnp.ones(6), 3)
        return jnp.sum(t.alpha)

    a = jnp.array([1.0, 2.0])
    slope = jax.jit(jax.vmap(jax.grad(total)))(a)
    np.testing.assert_allclose(slope, jax.vmap(total)(a) / a, rtol=1e-10)


def test_not_finite_products_give_nan_values_and_finite_vectors():
    d = jnp.array([1.0, jnp.nan, 2.0])
    t = tridiagonalise(lambda q: d * q, jnp.ones(3), 2)
    pairs = ritz(t)
    assert np.all(np.isnan(pairs.values))
    assert np.all(np.isfinite(pairs.vectors)) and np.all(np.isfinite(t.basis))


def test_a_start_of_zero_spans_nothing():
    t, pairs = run(np.eye(3), jnp.zeros(3), 2)
    assert t.rank == 0 and not np.any(pairs.used) and np.all(np.isnan(pairs.values))


@pytest.mark.parametrize(("k", "n", "expected"), [(None, 4, 4), (None, 99, STEPS), (7, 7, 7)])
def test_number_of_steps(k, n, expected):
    assert number_of_steps("X", k, n) == expected


@pytest.mark.parametrize(
    ("k", "n", "sentence"),
    [
        (8, 7, "X: k = 8 Lanczos steps were asked for, but 7 parameters allow at most 7"),
        (0, 7, "X: k must be a whole number ≥ 1, got 0"),
        (None, 0, "X: there are no parameters"),
    ],
)
def test_impossible_numbers_of_steps_get_a_sentence(k, n, sentence):
    with pytest.raises(ValueError, match=sentence):
        number_of_steps("X", k, n)
