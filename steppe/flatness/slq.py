"""Stochastic Lanczos quadrature: traces of functions of a matrix, log-determinants, densities.

For v uniform on {−1, 1}ⁿ and k Lanczos steps from it, T = YΘYᵀ,

    tr f(A) = E vᵀ f(A) v,    vᵀ f(A) v ≈ n Σᵢ τᵢ f(θᵢ),    τᵢ = (e₁ᵀ yᵢ)²
                              f(A) v    ≈ √n Q Y f(Θ) Yᵀ e₁

The sum is Gauss quadrature in the spectrum of A as v sees it: exact for polynomials up to degree
2k − 1, and for every f where k = n or the Krylov space is complete before. Then only the chance
of v is left. Ubaru, Chen & Saad, "Fast estimation of tr(f(A)) via stochastic Lanczos
quadrature", 2017.

Nothing here is meant to be differentiated: eigenvectors of T have derivatives with 1/(θᵢ − θⱼ).
The measure `LogDet` shows what to do instead.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..core import tree
from ..core.measure import check_count, check_positive
from ..core.types import Key, Params, Scalar
from .hutchinson import Estimate, each_probe, flat_signs, mean
from .lanczos import EXACT, number_of_steps, ritz, tridiagonalise
from .products import FlatProduct, Product, flat_product, real

Function = Callable[[Float[Array, "..."]], Float[Array, "..."]]  # entry by entry

MARGIN = 4.0  # a density is drawn over so many σ beyond its outermost nodes


class Quadrature(eqx.Module):
    """Gauss rules for the spectrum, one per probe: ∫ f dρ ≈ Σᵢ τᵢ f(θᵢ), Σᵢ τᵢ = 1.

    Nodes lie within the range of the spectrum. Those with weight 0 are fillers.
    """

    nodes: Float[Array, "probes k"]
    weights: Float[Array, "probes k"]
    n: int = eqx.field(static=True)

    def trace(self, f: Function) -> Estimate:
        """tr f(A) = n ∫ f dρ"""
        return mean(self.n * integrate(f, self.nodes, self.weights))


class Probe(eqx.Module):
    """Result of k products from one probe v: gives vᵀf(A)v and f(A)v for any function f."""

    nodes: Float[Array, " k"]
    weights: Float[Array, " k"]
    coefficients: Float[Array, "k k"]  # columns yᵢ e₁ᵀyᵢ
    basis: Float[Array, "k n"]

    def quadratic(self, f: Function) -> Scalar:
        """vᵀ f(A) v"""
        return self.basis.shape[1] * integrate(f, self.nodes, self.weights)

    def apply(self, f: Function) -> Float[Array, " n"]:
        """f(A) v"""
        y = jnp.dot(self.coefficients, f(self.nodes), precision=EXACT)  # (k,)
        return self.basis.shape[1] ** 0.5 * jnp.dot(y, self.basis, precision=EXACT)


class Density(eqx.Module):
    """A spectral density ρ(t) = mean over probes of Σᵢ τᵢ N(t; θᵢ, σ²), ∫ρ = 1."""

    grid: Float[Array, " points"]
    values: Float[Array, " points"]
    standard_error: Float[Array, " points"]
    sigma: Scalar
    rules: Quadrature


def probe(matvec: FlatProduct, v: Float[Array, " n"], k: int) -> Probe:
    """Take k products from one probe and keep the result for any function of A.

    - `matvec`: v ↦ A v for a symmetric A, on vectors (n,)
    - `v`: a vector of signs, (n,)
    - `k`: number of products, 1 … n
    """
    t = tridiagonalise(matvec, v, k)
    pairs = ritz(t)
    first = jnp.where(pairs.used, pairs.vectors[0], 0)  # e₁ᵀyᵢ
    return Probe(pairs.values, first**2, pairs.vectors * first[None], t.basis)


def quadrature(
    matvec: Product, like: Params, *, k: int | None = None, probes: int, key: Key
) -> Quadrature:
    """Gauss rules for the spectrum of A, one for each of some random vectors.

    - `matvec`: v ↦ A v for a symmetric A, on trees
    - `like`: a tree of the structure, shapes and dtypes of v
    - `k`: nodes of a rule, 1 … n; None for min(10, n)
    - `probes`: number of random vectors, each for k products
    - `key`: of the random signs
    """
    like = real(like)
    n = tree.size(like)
    k = number_of_steps("Lanczos quadrature", k, n)
    flat, _ = flat_product(matvec, like)

    def sample(key):
        seen = probe(flat, flat_signs(key, like), k)
        return seen.nodes, seen.weights

    nodes, weights = each_probe(sample, probes=probes, key=key)
    return Quadrature(nodes, weights, n)


def trace_of_function(
    matvec: Product,
    like: Params,
    f: Function,
    *,
    k: int | None = None,
    probes: int,
    key: Key,
) -> Estimate:
    """Estimate tr f(A). The standard error is that over probes; it knows nothing of k < n.

    - `matvec`: v ↦ A v for a symmetric A, on trees
    - `like`: a tree of the structure, shapes and dtypes of v
    - `f`: a function of eigenvalues, entry by entry
    - `k`: products a probe, 1 … n; None for min(10, n)
    - `probes`: number of random vectors, ≥ 1
    - `key`: of the random signs
    """
    return quadrature(matvec, like, k=k, probes=probes, key=key).trace(f)


def log_det(
    matvec: Product,
    like: Params,
    gamma: float | Scalar,
    *,
    k: int | None = None,
    probes: int,
    key: Key,
) -> tuple[Estimate, Int[Array, ""]]:
    """Estimate ln det(A + γI), and count the probes that prove A + γI not positive definite.

    A node θ ≤ −γ proves an eigenvalue ≤ −γ; then the logarithm is NaN. No such node proves nothing.

    - `matvec`: v ↦ A v for a symmetric A, on trees
    - `like`: a tree of the structure, shapes and dtypes of v
    - `gamma`: γ > 0, in the unit of the eigenvalues
    - `k`: products a probe, 1 … n; None for min(10, n)
    - `probes`: number of random vectors, ≥ 1
    - `key`: of the random signs
    """
    check_positive("log_det", "gamma", gamma, "It is what is added to every eigenvalue.")
    rules = quadrature(matvec, like, k=k, probes=probes, key=key)
    gamma = jnp.asarray(gamma, rules.nodes.dtype)
    below = jnp.any(rules.nodes <= -gamma, axis=1)  # (probes,)
    return rules.trace(lambda x: log_shifted(x, gamma)), below.sum()


def spectral_density(
    matvec: Product,
    like: Params,
    *,
    k: int | None = None,
    probes: int,
    key: Key,
    sigma: float | Scalar | None = None,
    points: int = 256,
) -> Density:
    """The density of eigenvalues, each widened to a Gaussian of width σ.

    A feature narrower than σ is drawn σ wide; bumps between well separated nodes come from k, not
    from the spectrum.

    - `matvec`: v ↦ A v for a symmetric A, on trees
    - `like`: a tree of the structure, shapes and dtypes of v
    - `k`: products a probe, 1 … n; None for min(10, n)
    - `probes`: number of random vectors, ≥ 1
    - `key`: of the random signs
    - `sigma`: σ > 0, in the unit of the eigenvalues; None for 1 % of their range
    - `points`: length of the grid, ≥ 2
    """
    check_count("spectral_density", "points", points, least=2)
    rules = quadrature(matvec, like, k=k, probes=probes, key=key)
    low, high = jnp.min(rules.nodes), jnp.max(rules.nodes)
    if sigma is None:
        width = high - low
        # All eigenvalues equal: any width will do.
        sigma = 0.01 * jnp.where(width > 0, width, jnp.where(high != 0, jnp.abs(high), 1))
    check_positive("spectral_density", "sigma", sigma, "It is the width of one eigenvalue.")
    sigma = jnp.asarray(sigma, rules.nodes.dtype)
    grid = jnp.linspace(low - MARGIN * sigma, high + MARGIN * sigma, points)

    def at(t: Scalar) -> Float[Array, " probes"]:
        bell = lambda x: jnp.exp(-(((t - x) / sigma) ** 2) / 2) / (sigma * (2 * jnp.pi) ** 0.5)
        return integrate(bell, rules.nodes, rules.weights)

    seen = mean(jax.vmap(at, out_axes=1)(grid))  # (probes, points) → (points,)
    return Density(grid, seen.value, seen.standard_error, sigma, rules)


def integrate(
    f: Function, nodes: Float[Array, "... k"], weights: Float[Array, "... k"]
) -> Float[Array, "..."]:
    """Σᵢ τᵢ f(θᵢ)"""
    return jnp.sum(weights * f(nodes), axis=-1)


def log_ratio(x: Float[Array, "..."], gamma: Scalar) -> Float[Array, "..."]:
    """ln(1 + x/γ), also where the quotient is beyond the range of its dtype."""
    quotient = x / gamma
    huge = quotient > jnp.finfo(quotient.dtype).max
    return jnp.where(
        huge,
        jnp.log(jnp.where(huge, x, gamma)) - jnp.log(gamma),
        jnp.log1p(jnp.where(huge, gamma, x) / gamma),
    )


def log_shifted(x: Float[Array, "..."], gamma: Scalar) -> Float[Array, "..."]:
    """ln(x + γ), NaN for x ≤ −γ (−∞ would be no better a number)."""
    return jnp.log(jnp.where(x > -gamma, x + gamma, jnp.nan))
