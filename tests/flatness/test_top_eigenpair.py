"""The top eigenpair: against dense eigenvalues and against plain power iteration."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.flatness.lanczos import top_eigenpair
from tests.flatness.dense import random_symmetric, rotated

N = 6


def product(A):
    return lambda v: jnp.dot(A, v, precision="highest")


def find(A, start, which, products):
    return top_eigenpair(
        product(A), start, which=which, products=products, start=start, key=jr.key(0)
    )


find = jax.jit(find, static_argnames=("which", "products"))


def power_iteration(A, v, products):
    """The Rayleigh quotient that so many products give."""
    for _ in range(products):
        v = v / np.linalg.norm(v)
        v, last = A @ v, v
    return last @ v


@pytest.mark.parametrize("which", ["modulus", "algebraic"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_the_dense_eigenpair_when_the_space_is_full(which, seed, getkey):
    A = random_symmetric(seed, N)
    values, vectors = np.linalg.eigh(A)
    best = np.argmax(np.abs(values)) if which == "modulus" else N - 1
    pair = find(A, jr.normal(getkey(), (N,)), which, N)
    np.testing.assert_allclose(pair.value, values[best], rtol=1e-12)
    np.testing.assert_allclose(abs(pair.vector @ vectors[:, best]), 1.0, rtol=1e-10)
    assert pair.residual < 1e-10


def test_modulus_is_the_most_negative_eigenvalue_where_that_is_largest(getkey):
    """Power iteration gave −5.17 for a largest eigenvalue of 4.09, and called it the top."""
    A = rotated([-5.17, -1.0, 0.0, 0.5, 2.0, 4.09])
    start = jr.normal(getkey(), (N,))
    np.testing.assert_allclose(find(A, start, "modulus", N).value, -5.17, rtol=1e-10)
    np.testing.assert_allclose(find(A, start, "algebraic", N).value, 4.09, rtol=1e-10)


def test_all_eigenvalues_negative(getkey):
    A = rotated([-6.0, -5.0, -4.0, -3.0, -2.0, -1.0])
    start = jr.normal(getkey(), (N,))
    np.testing.assert_allclose(find(A, start, "algebraic", N).value, -1.0, rtol=1e-10)


def test_a_tie_of_both_signs_is_resolved(getkey):
    """Power iteration converges to nothing here."""
    A = rotated([-3.0, -1.0, 0.0, 0.5, 2.0, 3.0])
    pair = find(A, jr.normal(getkey(), (N,)), "modulus", N)
    np.testing.assert_allclose(abs(pair.value), 3.0, rtol=1e-10)
    assert pair.residual < 1e-10


@pytest.mark.parametrize("products", [2, 3])
def test_value_lies_between_power_iteration_and_the_truth(products):
    matrices = np.stack([random_symmetric(seed, N) for seed in range(50)])
    starts = np.random.default_rng(0).normal(size=(50, N))
    pairs = jax.vmap(lambda A, v: find(A, v, "modulus", products))(
        jnp.asarray(matrices), jnp.asarray(starts)
    )
    for A, v, found, residual in zip(matrices, starts, pairs.value, pairs.residual, strict=True):
        values = np.linalg.eigvalsh(A)
        assert abs(power_iteration(A, v, products)) <= abs(found) + 1e-12
        assert abs(found) <= np.abs(values).max() + 1e-12
        assert np.min(np.abs(values - found)) <= residual + 1e-12


def test_residual_is_that_of_the_vector(getkey):
    A = random_symmetric(4, N)
    pair = find(A, jr.normal(getkey(), (N,)), "algebraic", 3)
    np.testing.assert_allclose(
        pair.residual, np.linalg.norm(A @ pair.vector - pair.value * pair.vector), rtol=1e-10
    )
    np.testing.assert_allclose(jnp.linalg.norm(pair.vector), 1.0, rtol=1e-12)


def test_two_products_from_a_good_start_are_enough(getkey):
    A = rotated([0.0, 0.1, 0.2, 0.3, 0.5, 2.0])
    u = np.linalg.eigh(A)[1][:, -1]
    start = jnp.asarray(u) + 0.1 * jr.normal(getkey(), (N,)) / N**0.5
    np.testing.assert_allclose(find(A, start, "algebraic", 2).value, 2.0, rtol=1e-3)


def test_more_products_than_coordinates_are_not_taken(getkey):
    pair = find(np.diag([2.0, 1.0]), jr.normal(getkey(), (2,)), "modulus", 50)
    np.testing.assert_allclose(pair.value, 2.0, rtol=1e-12)


def test_a_start_that_is_an_eigenvector_stays():
    pair = find(np.diag([2.0, 1.0, 3.0]), jnp.array([2.0, 0, 0]), "modulus", 3)
    assert pair.value == 2.0 and pair.residual == 2.0 * np.finfo(np.float64).eps  # rounding alone
    np.testing.assert_array_equal(jnp.abs(pair.vector), [1.0, 0, 0])


def test_no_curvature_at_all_is_zero():
    pair = find(np.zeros((3, 3)), jnp.ones(3), "modulus", 2)
    assert pair.value == 0 and pair.residual == 0
    np.testing.assert_allclose(jnp.linalg.norm(pair.vector), 1.0, rtol=1e-12)


def test_nan_products_give_a_nan_value_and_leave_the_start_as_vector():
    pair = find(np.diag([2.0, np.nan, 1.0]), jnp.ones(3), "modulus", 3)
    assert jnp.isnan(pair.value)
    np.testing.assert_allclose(pair.vector, 3**-0.5)


def test_trees_and_their_dtypes(getkey):
    like = {"a": jnp.zeros((), jnp.float32), "b": jnp.zeros((2, 2), jnp.float32)}
    product = lambda v: {"a": 3 * v["a"], "b": v["b"]}
    pair = top_eigenpair(product, like, products=5, key=getkey())
    assert pair.value.dtype == pair.vector["b"].dtype == jnp.float32
    assert pair.vector["b"].shape == (2, 2)
    np.testing.assert_allclose(pair.value, 3.0, rtol=1e-6)
    np.testing.assert_allclose(abs(pair.vector["a"]), 1.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"which": "largest"}, "which is 'largest', expected one of modulus, algebraic"),
        ({"products": 0}, "products must be a whole number ≥ 1, got 0"),
        ({"like": ()}, "there are no parameters, so there is no eigenvalue"),
    ],
)
def test_bad_input_gets_a_sentence(arguments, sentence, getkey):
    with pytest.raises(ValueError, match=sentence):
        top_eigenpair(lambda v: v, **({"like": jnp.ones(3), "key": getkey()} | arguments))
