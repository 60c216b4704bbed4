"""Arithmetic on trees: norms at any scale, and leaves of any kind of float."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steppe.core import tree

X = {"a": np.linspace(-1, 2, 6).reshape(2, 3), "b": np.array([0.5, -3.0])}
LENGTH = np.linalg.norm(np.concatenate([X["a"].ravel(), X["b"]]))
both = jax.jit(jax.value_and_grad(tree.norm))
squares = jax.jit(jax.value_and_grad(tree.squared_norm))
bends = jax.jit(jax.vmap(jax.hessian(tree.norm)))
scaled_squares = jax.jit(jax.vmap(tree.scaled_square))


def at(c, dtype=np.float32):
    return {name: jnp.asarray(c * x, dtype) for name, x in X.items()}


@pytest.mark.parametrize("c", [1e-36, 1e-22, 1e-10, 1.0, 1e10, 1e22, 1e37])
def test_a_norm_and_its_slope_are_right_at_any_scale(c):
    length, slope = both(at(c))
    np.testing.assert_allclose(length / c, LENGTH, rtol=1e-5)
    for name, x in X.items():
        np.testing.assert_allclose(slope[name], x / LENGTH, rtol=1e-5)


@pytest.mark.parametrize("c", [1e-30, 1e-12, 1.0, 1e12, 1e30])
def test_the_slope_of_a_square_is_right_even_where_the_square_is_out_of_range(c):
    square, slope = squares(at(c))
    with np.errstate(over="ignore", under="ignore"):
        np.testing.assert_allclose(square, np.float32((c * LENGTH) ** 2), rtol=1e-5)
    for name, x in X.items():
        np.testing.assert_allclose(slope[name] / c, 2 * x, rtol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "least", "most"), [("float32", -118, 123), ("float64", -1010, 1019)]
)
def test_squares_are_near_one_at_every_scale_of_the_range(dtype, least, most):
    scales = 2.0 ** np.linspace(least, most, 60).round()
    unit = np.array([3.0, 2e-5, -4.0], dtype)
    square, s = scaled_squares(jnp.asarray(scales[:, None] * unit, dtype))
    assert np.all(square >= 0.25) and np.all(square <= 4) and square.dtype == s.dtype == dtype
    np.testing.assert_allclose(np.sqrt(square) * (s / scales), 5, rtol=1e-6)


def test_a_norm_bends_as_it_should_at_any_scale():
    unit, c = np.array([0.6, 0.0, -0.8]), np.array([1e-30, 1e-12, 1.0, 1e12, 1e30])
    found = bends(jnp.asarray(c[:, None] * unit, np.float32))
    expected = np.eye(3) - np.outer(unit, unit)
    np.testing.assert_allclose(c[:, None, None] * found, np.stack([expected] * 5), atol=1e-6)


def test_many_small_squares_add_up_though_each_one_is_nothing():
    x = jnp.full((10_000,), 1e-20, jnp.float32)
    np.testing.assert_allclose(tree.squared_norm(x), 1e-36, rtol=1e-4)


def test_a_factor_that_is_a_power_of_two_changes_no_bit():
    x = at(1.0)
    for k in (-100, -3, 50):
        assert both(jax.tree.map(lambda leaf, k=k: leaf * 2.0**k, x))[0] == both(x)[0] * 2.0**k


def test_norms_of_nothing_and_of_what_is_not_finite():
    length, slope = both(at(0.0))
    assert length == 0 and not np.any(slope["a"])
    assert tree.norm({}) == 0 and tree.norm(jnp.zeros((0, 3))) == 0
    assert np.isinf(tree.norm({"a": jnp.array([1.0, jnp.inf])}))
    assert np.isnan(tree.norm([jnp.ones(2), jnp.array(jnp.nan)]))


def test_a_single_number_is_its_own_norm():
    """The compiler may rewrite (c x)² of one number as c² x²."""
    x = jnp.array([0.0, 1e-37, 1e-12, 3.0, 1e12, 1e38], jnp.float32)
    for one in (lambda v: v, lambda v: v[None], lambda v: [v, v[None, None] * 0]):
        found = [jax.jit(lambda v, one=one: tree.norm(one(v)))(v) for v in x]
        np.testing.assert_allclose(found, x, rtol=1e-6)


def test_powers_of_two_are_the_nearest_whose_inverse_is_a_number():
    x = jnp.array([0.0, 1e-45, 0.7, 1.4, 1.6, 3e38, jnp.inf], jnp.float32)
    limit = 2.0**126
    expected = [1 / limit, 1 / limit, 0.5, 1.0, 2.0, limit, limit]
    np.testing.assert_array_equal(tree.power_of_two(x), np.array(expected, np.float32))


def test_every_kind_of_float_becomes_an_array_and_none_is_changed():
    x = {"a": 0.5, "b": np.ones(2, np.float16), "c": np.float32(2), "d": jnp.ones(3), "e": None}
    found = tree.real(x, "test")
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(found))
    assert not any(leaf.weak_type for leaf in jax.tree.leaves(found))
    dtypes = {name: leaf.dtype.name for name, leaf in found.items() if leaf is not None}
    assert dtypes == {"a": "float64", "b": "float16", "c": "float32", "d": "float64"}
    assert found["d"] is x["d"] and found["a"] == 0.5
