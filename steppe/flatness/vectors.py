"""Vectors in the shape of a parameter tree: draw one, go along one, bring one to length 1."""

import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu

from ..core import tree
from ..core.types import Key, Params, Scalar


def normal_like(key: Key, like: Params) -> Params:
    """Independent standard normal numbers in the structure, shapes and dtypes of `like`.

    One draw for all leaves: a draw for each would be compiled for each.
    """
    dtype = tree.working_dtype(like)
    _, unravel = tree.ravel(like, dtype)
    return unravel(jr.normal(key, (tree.size(like),), dtype))


def moved(params: Params, a: Scalar, direction: Params) -> Params:
    """θ + a·direction, each leaf in its own dtype."""
    return jtu.tree_map(lambda p, d: (p + a * d).astype(p.dtype), params, direction)


def unit(v: Params) -> Params:
    """v / ‖v‖; 0, with a finite derivative, where ‖v‖² is 0 in floating point."""
    square = tree.dot(v, v)
    length = jnp.sqrt(jnp.where(square == 0, 1, square))
    return jtu.tree_map(lambda x: (x / length).astype(x.dtype), v)
