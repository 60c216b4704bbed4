"""Hutchinson's estimators: trace, diagonal and Frobenius norm from products with random signs.

    tr A    = E vᵀA v        variance of one probe   2 (‖A‖²_F − Σᵢ Aᵢᵢ²)
    diag A  = E v ⊙ A v                              Σ_{j≠i} Aᵢⱼ²,  coordinate i
    ‖A‖²_F  = E ‖A v‖²                               2 (‖A²‖²_F − Σᵢ (A²)ᵢᵢ²)

for symmetric A and v uniform on {−1, 1}ⁿ, fresh at every call: all exact with a single probe
where A is diagonal. Hutchinson, "A stochastic estimator of the trace of the influence matrix
for Laplacian smoothing splines", 1990; for the diagonal Bekas, Kokiopoulou & Saad, 2007.

The trace adds curvatures with their signs and may vanish on a surface that is anything but
flat. ‖A‖²_F = Σ λᵢ² does not.
"""

import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array, Float

from ..core import tree
from ..core.types import Key, Params
from .probes import Estimate, each_probe, mean
from .products import Product


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
        return tree.dot(Av, Av)

    return mean(each_probe(sample, probes=probes, key=key))


def signs_like(key: Key, like: Params) -> Params:
    """Independent random signs, ±1, in the structure, shapes and dtypes of `like`."""
    _, unravel = tree.ravel(like, tree.working_dtype(like))
    return unravel(flat_signs(key, like))


def flat_signs(key: Key, like: Params) -> Float[Array, " n"]:
    """The signs of `signs_like` as one vector of the size of `like`."""
    return jr.rademacher(key, (tree.size(like),), tree.working_dtype(like))
