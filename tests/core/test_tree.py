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
