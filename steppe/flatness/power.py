"""The top eigenpair of a symmetric A from a few products, all of which are kept.

Power iteration keeps the last of v, Av, A²v, … alone. Here all m of them are kept, as an
orthonormal basis Q of what they span, and the answer is the best that they contain
(Rayleigh–Ritz):

    T = QᵀAQ,    T y = λ y,    u = Q y

for the same m products. λ = uᵀAu never exceeds the top eigenvalue, in modulus or
algebraically as asked, and is never further from it than the Rayleigh quotient of power
iteration. That one goes to the largest |λ|, be it the most negative, and nowhere at all if λ
and −λ tie.

The residual ‖Au − λu‖ is an honest error bar of a kind: some eigenvalue lies within it of λ.
That it is the top one, no number of products from one start can prove.
"""

from typing import Literal

import equinox as eqx
import jax.numpy as jnp

from ..core import tree
from ..core.measure import check_count
from ..core.types import Key, Params, Scalar
from .hutchinson import normal_like
from .lanczos import EXACT, ritz, tridiagonalise
from .products import Product, flat_product

Which = Literal["modulus", "algebraic"]


class Eigenpair(eqx.Module):
    """A · vector ≈ value · vector, ‖vector‖ = 1, off by `residual` in norm, rounding included."""

    value: Scalar
    vector: Params
    residual: Scalar


def top_eigenpair(
    matvec: Product,
    like: Params,
    *,
    which: Which = "modulus",
    products: int = 10,
    start: Params | None = None,
    key: Key,
) -> Eigenpair:
    """The eigenvalue of largest modulus (signed), or the algebraically largest one.

    The value is NaN if a product is; the vector stays finite.

    - `matvec`: v ↦ A v for a symmetric A, on trees
    - `like`: a tree of the structure, shapes and dtypes of v
    - `which`: "modulus" or "algebraic"
    - `products`: number of products, ≥ 1; no more than coordinates are taken
    - `start`: a guess of the eigenvector; None for a random one
    - `key`: of the random guess
    """
    check_which("top_eigenpair", which)
    check_count("top_eigenpair", "products", products)
    n = tree.size(like)
    if n == 0:
        raise ValueError("top_eigenpair: there are no parameters, so there is no eigenvalue.")
    flat, unravel = flat_product(matvec, like)
    start = normal_like(key, like) if start is None else start
    t = tridiagonalise(flat, tree.ravel(start, tree.working_dtype(like))[0], min(products, n))
    pairs = ritz(t)
    order = jnp.abs(pairs.values) if which == "modulus" else pairs.values
    best = jnp.argmax(jnp.where(pairs.used, order, -jnp.inf))
    y = jnp.take(pairs.vectors, best, axis=1)  # (k,)
    last = jnp.maximum(t.rank, 1) - 1
    residual = jnp.take(t.beta, last) * jnp.abs(jnp.take(y, last))
    # The recurrence can say less than what its arithmetic resolves.
    residual += jnp.finfo(residual.dtype).eps * jnp.abs(jnp.take(pairs.values, best))
    u = unravel(jnp.dot(y, t.basis, precision=EXACT))
    return Eigenpair(jnp.take(pairs.values, best), u, residual)


def check_which(owner: str, which: str, known: tuple[str, ...] = ("modulus", "algebraic")) -> None:
    if which not in known:
        raise ValueError(f"{owner}: which is {which!r}, expected one of {', '.join(known)}.")
