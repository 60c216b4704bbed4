"""Hutchinson's estimators: trace, diagonal and Frobenius norm from products with random signs.

    tr A    = E vᵀA v        variance of one probe   2 (‖A‖²_F − Σᵢ Aᵢᵢ²)
    diag A  = E v ⊙ A v                              Σ_{j≠i} Aᵢⱼ²,  coordinate i
    ‖A‖²_F  = E ‖A v‖²                               2 (‖A²‖²_F − Σᵢ (A²)ᵢᵢ²)

for symmetric A and v uniform on {−1, 1}ⁿ, fresh at every call: all exact with a single probe
where A is diagonal. Hutchinson, "A stochastic estimator of the trace of the influence matrix
for Laplacian smoothing splines", 1990; for the diagonal Bekas, Kokiopoulou & Saad, 2007.

The trace adds curvatures with their signs and may vanish on a surface that is anything but
flat. ‖A‖²_F = Σ λᵢ² does not.

Random vectors in the shape of a tree, and means over them with their errors, stand here too.
"""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array, Float, PyTree

from ..core import tree
from ..core.measure import check_count
from ..core.types import Key, Params, Scalar
from .products import Product, real

# Probes worked on side by side. On networks of 16 k and 200 k weights 4 to 16 are as fast as each
# other on two cores; more cost memory.
TOGETHER = 8


class Estimate(eqx.Module):
    """A number (or a tree of them) with its standard error.

    The error is that of the mean over independent probes, and a constant under differentiation: ∞
    for a single one, which leaves it unknown. It knows nothing of a bias.
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
            return jnp.full(x.shape[1:], jnp.inf, x.dtype)
        x = jax.lax.stop_gradient(x)
        s = tree.power_of_two(jnp.abs(x).max(axis=0))  # a deviation is a norm, too
        return s * (x / s[None]).std(axis=0, ddof=1) / math.sqrt(len(x))

    return Estimate(jtu.tree_map(lambda x: x.mean(axis=0), samples), jtu.tree_map(error, samples))


def normal_like(key: Key, like: Params) -> Params:
    """Independent standard normal numbers in the structure, shapes and dtypes of `like`.

    One draw for all leaves: a draw for each would be compiled for each.
    """
    like = real(like)
    flat = jr.normal(key, (tree.size(like),), tree.working_dtype(like))
    return tree.unravel_like(like)(flat)


@tree.promoting
def shift(params: Params, a: Scalar, direction: Params) -> Params:
    """θ + a·direction, each leaf in its own dtype."""
    move = lambda p, d: (p + a * d).astype(p.dtype)
    return jtu.tree_map(move, real(params), real(direction))


@tree.promoting
def unit(v: Params) -> Params:
    """v / ‖v‖; 0, with a finite derivative, where v is 0."""
    square, s = tree.scaled_square(v)
    length = jnp.sqrt(jnp.where(square == 0, 1, square))
    return jtu.tree_map(lambda x: (x / s / length).astype(x.dtype), v)


def trace(matvec: Product, like: Params, *, probes: int, key: Key) -> Estimate:
    """Unbiased estimate of tr A.

    - `matvec`: v ↦ A v for a symmetric A, on trees
    - `like`: a tree of the structure, shapes and dtypes of v
    - `probes`: number of products, ≥ 1
    - `key`: of the random signs
    """

    def sample(key):
        v = signs_like(key, like)
        return tree.dot(v, matvec(v))

    return mean(each_probe(sample, probes=probes, key=key))


def diagonal(matvec: Product, like: Params, *, probes: int, key: Key) -> Estimate:
    """Unbiased estimate of the diagonal of A, a tree like `like`; keeps probes · n numbers.

    - `matvec`: v ↦ A v for a symmetric A, on trees
    - `like`: a tree of the structure, shapes and dtypes of v
    - `probes`: number of products, ≥ 1
    - `key`: of the random signs
    """

    def sample(key):
        v = signs_like(key, like)
        return jtu.tree_map(jnp.multiply, v, matvec(v))

    return mean(each_probe(sample, probes=probes, key=key))


def frobenius_squared(matvec: Product, like: Params, *, probes: int, key: Key) -> Estimate:
    """Unbiased estimate of ‖A‖²_F = Σ λᵢ².

    - `matvec`: v ↦ A v for a symmetric A, on trees
    - `like`: a tree of the structure, shapes and dtypes of v
    - `probes`: number of products, ≥ 1
    - `key`: of the random signs
    """

    def sample(key):
        Av = matvec(signs_like(key, like))
        return tree.squared_norm(Av)

    return mean(each_probe(sample, probes=probes, key=key))


def signs_like(key: Key, like: Params) -> Params:
    """Independent random signs, ±1, in the structure, shapes and dtypes of `like`."""
    like = real(like)
    return tree.unravel_like(like)(flat_signs(key, like))


def flat_signs(key: Key, like: Params) -> Float[Array, " n"]:
    """The signs of `signs_like` as one vector of the size of `like`."""
    like = real(like)
    return jr.rademacher(key, (tree.size(like),), tree.working_dtype(like))
