"""Lanczos' tridiagonalisation with full re-orthogonalisation, stopped where it breaks down.

    A Q = Q T + β_k q_{k+1} e_kᵀ,    QᵀQ = I,    Q = [q₁ … q_k],  q₁ = start / ‖start‖

with T tridiagonal, αⱼ on its diagonal and βⱼ beside it. The columns of Q span the Krylov space
of A and start; the eigenvalues of T are Ritz values, within the range of the spectrum of A.

If start lies in a space of j < k eigenvectors, βⱼ is zero but for rounding: the space
is complete and T is exact. Dividing by that βⱼ would continue with noise, which need not be
orthogonal to Q, and count eigenvalues twice or divide by zero. So where βⱼ ≤ BREAKDOWN · ‖T‖
the rest of Q and T is filled with zeros (shapes are static) and `rank` says j. Small problems
come here constantly: a quadratic in two unknowns, a network with dead units.

All of it is done on A over the size of the first product, a power of two, so that a spectrum of
any size is told from zero. An eigenvalue that its dtype cannot hold comes out as NaN.

Written by hand because matfree 0.6.3 (re-orthogonalised) goes wrong there. For
A = diag(3, 1, 0 …) and start (1, 1, 0 …), k = 6, its T has trace 14–16 instead of 4, with its
custom derivative of order 1e35; exactly zero residuals give NaN; and on the perceptron
784-20-10 it takes 1.4 times as long as this loop.

The top eigenpair (`top_eigenpair`) takes the same loop. Power iteration keeps the last of
v, Av, A²v, … alone. Here all m of them are kept, as an orthonormal basis Q of what they span, and
the answer is the best that they contain (Rayleigh–Ritz):

    T = QᵀAQ,    T y = λ y,    u = Q y

for the same m products. λ = uᵀAu never exceeds the top eigenvalue, in modulus or algebraically as
asked, and is never further from it than the Rayleigh quotient of power iteration. That one goes to
the largest |λ|, be it the most negative, and nowhere at all if λ and −λ tie.

The residual ‖Au − λu‖ is an honest error bar of a kind: some eigenvalue lies within it of λ.
That it is the top one, no number of products from one start can prove.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ..core import tree
from ..core.measure import check_count
from ..core.types import Key, Params, Scalar
from .hutchinson import normal_like, unit
from .products import FlatProduct, Product, flat_product, real

BREAKDOWN = 30.0  # units of rounding; Hessian products of networks were seen to be off by 1 to 4
STEPS = 10  # k by default
EXACT = jax.lax.Precision.HIGHEST


class Tridiagonal(eqx.Module):
    """Qᵀ A Q = T. From `rank` on, all is zero: products of the zero vector."""

    alpha: Float[Array, " k"]
    beta: Float[Array, " k"]  # βⱼ couples qⱼ with qⱼ₊₁; that of the last used row is not in T
    basis: Float[Array, "k n"]  # Qᵀ
    rank: Int[Array, ""]


class Ritz(eqx.Module):
    """T = Y Θ Yᵀ, ascending, with the k − rank places that a breakdown left unused in front."""

    values: Float[Array, " k"]  # unused places repeat the largest
    vectors: Float[Array, "k k"]  # columns y in the basis of T; no used one touches an unused row
    used: Bool[Array, " k"]


def tridiagonalise(matvec: FlatProduct, start: Float[Array, " n"], k: int) -> Tridiagonal:
    """Tridiagonalise a symmetric matrix by k products.

    Differentiable, through the part before a breakdown; a reverse pass keeps k² n numbers.

    - `matvec`: v ↦ A v for a symmetric A, on vectors (n,)
    - `start`: first vector of the Krylov space, (n,), of any length
    - `k`: number of products, 1 … n
    """
    n, dtype = len(start), start.dtype
    tolerance = BREAKDOWN * float(jnp.finfo(dtype).eps)

    def step(carry, j):
        Q, q, size, s = carry
        Q = Q.at[j].set(q)
        r = matvec(q)
        s = jnp.where(j == 0, tree.magnitude(r), s)
        r = r / s
        alpha = jnp.dot(q, r, precision=EXACT)
        r = orthogonalise(Q, orthogonalise(Q, r))  # once leaves rounding, twice is enough
        beta = tree.norm(r)
        size = jnp.maximum(size, jnp.abs(alpha) + beta)  # ‖T‖, so far
        go_on = beta > tolerance * size  # not if NaN
        q = jnp.where(go_on, r / jnp.where(go_on, beta, 1), 0)
        return (Q, q, size, s), (alpha, beta, go_on)

    q = unit(start)
    there = tree.norm(q) > 0  # not if NaN
    q = jnp.where(there, q, 0)
    init = (jnp.zeros((k, n), dtype), q, jnp.zeros((), dtype), jnp.ones((), dtype))
    (Q, *_, s), (alpha, beta, go_on) = jax.lax.scan(step, init, jnp.arange(k))
    # A zero vector stays zero, so go_on stays False after a breakdown.
    rank = there.astype(jnp.int32) + jnp.sum(go_on[:-1], dtype=jnp.int32)
    return Tridiagonal(s * alpha, s * beta, Q, rank)


def ritz(t: Tridiagonal) -> Ritz:
    """Eigenvalues and eigenvectors of T; values NaN if anything in T is not finite."""
    k = len(t.alpha)
    row = jnp.arange(k, dtype=t.rank.dtype)
    alpha = jnp.where(row < t.rank, t.alpha, 0)
    beta = jnp.where(row[:-1] + 1 < t.rank, t.beta[:-1], 0)
    finite = jnp.all(jnp.isfinite(alpha)) & jnp.all(jnp.isfinite(beta)) & (t.rank > 0)
    alpha, beta = jnp.where(finite, alpha, 0), jnp.where(finite, beta, 0)
    s = tree.magnitude((alpha, beta))
    alpha, beta = alpha / s, beta / s
    # Unused places go far below the spectrum, where no eigenvector can mix with used ones.
    bound = jnp.max(jnp.abs(alpha)) + 2 * jnp.max(beta, initial=0)
    alpha = jnp.where(row < t.rank, alpha, -2 * jnp.where(bound > 0, bound, 1))
    T = jnp.diag(alpha) + jnp.diag(beta, 1) + jnp.diag(beta, -1)
    values, vectors = jnp.linalg.eigh(T, symmetrize_input=False)
    used = row >= k - t.rank
    values = s * jnp.where(used, values, values[-1])
    return Ritz(jnp.where(finite, values, jnp.nan), vectors, used)


def number_of_steps(owner: str, k: int | None, n: int) -> int:
    """Check a number of Lanczos steps, or choose one.

    - `owner`: named in error messages
    - `k`: 1 … n; None for min(10, n)
    - `n`: number of coordinates
    """
    if n == 0:
        raise ValueError(f"{owner}: there are no parameters, so there is no curvature.")
    if k is None:
        return min(STEPS, n)
    check_count(owner, "k", k)
    if k > n:
        raise ValueError(
            f"{owner}: k = {k} Lanczos steps were asked for, but {n} parameters allow at most "
            f"{n}. Take k ≤ {n}, or None for min({STEPS}, {n})."
        )
    return k


def orthogonalise(Q: Float[Array, "k n"], r: Float[Array, " n"]) -> Float[Array, " n"]:
    """r − Qᵀ Q r"""
    coefficients = jnp.dot(Q, r, precision=EXACT)  # (k,)
    return r - jnp.dot(coefficients, Q, precision=EXACT)


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
    like = real(like)
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
