"""Random vectors in the shape of a parameter tree, and means over them with their errors."""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array, Float, PyTree

from ..core import tree
from ..core.types import Key, Params, Scalar
from .checks import check_count

# Probes worked on side by side. On networks of 16 k and 200 k weights 4 to 16 are as fast as each
# other on two cores; more cost memory.
TOGETHER = 8


class Estimate(eqx.Module):
    """A number (or a tree of them) with its standard error.

    The error is that of the mean over independent probes: NaN, unknown, for a single one, and a
    constant under differentiation. It knows nothing of a bias.
    """

    value: PyTree[Float[Array, "..."]]
    standard_error: PyTree[Float[Array, "..."]]


def each_probe(sample: Callable[[Key], PyTree], *, probes: int, key: Key) -> PyTree:
    """Call `sample` with each of `probes` fresh keys and stack the results.

    - `sample`: key → a number or a tree of arrays
    - `probes`: number of calls, ≥ 1
    - `key`: split into one for each
    """
    check_count("A stochastic estimate", "probes", probes)
    keys = jr.split(key, probes)
    if probes == 1:  # a batch of one would still be a batched program
        return jtu.tree_map(lambda leaf: leaf[None], sample(keys[0]))
    if probes <= TOGETHER:
        return jax.vmap(sample)(keys)
    return jax.lax.map(sample, keys, batch_size=TOGETHER)


def mean(samples: PyTree[Float[Array, "probes ..."]]) -> Estimate:
    """The mean over the leading axis and its standard error."""

    def error(x):
        if len(x) == 1:
            return jnp.full(x.shape[1:], jnp.nan, x.dtype)
        return jax.lax.stop_gradient(x).std(axis=0, ddof=1) / math.sqrt(len(x))

    return Estimate(jtu.tree_map(lambda x: x.mean(axis=0), samples), jtu.tree_map(error, samples))


def normal_like(key: Key, like: Params) -> Params:
    """Independent standard normal numbers in the structure, shapes and dtypes of `like`.

    One draw for all leaves: a draw for each would be compiled for each.
    """
    dtype = tree.working_dtype(like)
    _, unravel = tree.ravel(like, dtype)
    return unravel(jr.normal(key, (tree.size(like),), dtype))


def shift(params: Params, a: Scalar, direction: Params) -> Params:
    """θ + a·direction, each leaf in its own dtype."""
    return jtu.tree_map(lambda p, d: (p + a * d).astype(p.dtype), params, direction)


def unit(v: Params) -> Params:
    """v / ‖v‖; 0, with a finite derivative, where ‖v‖² is 0 in floating point."""
    square = tree.dot(v, v)
    length = jnp.sqrt(jnp.where(square == 0, 1, square))
    return jtu.tree_map(lambda x: (x / length).astype(x.dtype), v)
