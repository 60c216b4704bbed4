"""Random vectors in the shape of a tree."""

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np

from steppe.flatness.hutchinson import normal_like, shift, unit

TREE = {
    "a": jnp.arange(1.0, 7.0).reshape(2, 3),
    "b": (jnp.ones((), jnp.float32), jnp.ones((0,))),
    "c": jnp.ones(4, jnp.bfloat16),
}


def test_normal_numbers_are_standard_and_independent(getkey):
    draw = lambda key: normal_like(key, {"a": jnp.zeros(2), "b": jnp.zeros(())})
    seen = jax.jit(jax.vmap(draw))(jr.split(getkey(), 20_000))
    x = np.concatenate([seen["a"], seen["b"][:, None]], axis=1)
    np.testing.assert_allclose(np.cov(x.T), np.eye(3), atol=4 * np.sqrt(2 / 20_000))
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=4 / np.sqrt(20_000))


def test_vectors_keep_structure_shapes_and_dtypes(getkey):
    wide = jnp.asarray(2.0, jnp.float64)
    for v in (normal_like(getkey(), TREE), unit(TREE), shift(TREE, wide, TREE)):
        same = jtu.tree_map(lambda a, b: a.shape == b.shape and a.dtype == b.dtype, v, TREE)
        assert all(jtu.tree_leaves(same))


def test_unit_vectors_have_length_one_and_zero_has_a_finite_derivative():
    u = unit({"a": jnp.array([3.0, 0.0]), "b": jnp.array(-4.0)})
    np.testing.assert_allclose(u["a"], [0.6, 0.0])
    np.testing.assert_allclose(u["b"], -0.8)
    np.testing.assert_array_equal(unit(jnp.zeros(3)), 0)
    assert jnp.all(jnp.isfinite(jax.jacobian(unit)(jnp.zeros(3))))
