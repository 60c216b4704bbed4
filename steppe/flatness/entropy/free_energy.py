"""The value of local entropy: estimators of one number, the local free energy.

    F(θ) = −τ ln E exp(−f(θ + ξ)/τ),    ξ ~ N(0, τ/γ I)

at temperature τ (in units of the loss), seen through a window of width √(τ/γ). F → f as
γ → ∞; as τ → 0 it is the Moreau envelope min_w f(w) + γ/2 ‖w − θ‖². At τ = 1 it is −G̃ of
Entropy-SGD (Chaudhari et al., ICLR 2017), G̃ their local entropy with the Gaussian normalised.
Its derivative is γ (θ − ⟨w⟩), the mean over the Gibbs law π ∝ exp(−(f(w) + γ/2 ‖w − θ‖²)/τ).

| function | cost | error |
|---|---|---|
| `quadratic` | f, ∇f, ∇²f as arrays | none if f is quadratic |
| `laplace` | dense Hessian | what f has beyond second order |
| `laplace_by_products` | k (1 + probes) products | the same, and k < n, and chance |
| `monte_carlo` | `samples` losses around θ | ≥ F on average; → F with `samples` |
| `importance` | as many around θ and ⟨w⟩ | the same, less of it where f slopes |
| `variational.bound` | losses around Q | F ≤ bound; equal only for Q = π |
| `thermodynamic_integral` | chains of gradients | O(η²), quadrature, burn-in |

The excess of a Monte Carlo value is about τ/2 times the squared relative standard error of
Z = exp(−F/τ), so half of (standard error)²/τ: small where the loss varies by less than τ over the
window, large where it does not (many coordinates of curvature ≫ γ). Where the standard error
is not ≪ τ, neither the value nor the error can be trusted.

Thermodynamic integration takes averages of the loss instead (Kirkwood, J. Chem. Phys. 1935):

    F(θ) = ∫₀¹ ⟨f⟩_s ds,    ⟨·⟩_s under the Gibbs law ∝ exp(−(s f(w) + γ/2 ‖w − θ‖²)/τ)

because d/ds of −τ ln E exp(−s f/τ) is ⟨f⟩_s, and the integrand of Monte Carlo, exponentially
spread where f varies by more than τ, never appears. On a quadratic ⟨f⟩_s has poles at s = −γ/λ,
close to 0 where λ ≫ γ. So Gauss–Legendre nodes are taken in u, s = u³: the same nodes, a smoother
integrand.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float

from ...core import tree
from ...core.measure import check_count, check_draws, check_not_negative, check_positive
from ...core.types import Key, Params, Scalar
from ..hutchinson import Estimate, each_probe, normal_like, shift
from ..hutchinson import mean as mean_of
from ..lanczos import number_of_steps
from ..products import check_loss, flat_product, hvp, real
from ..slq import integrate, log_det, probe
from .sgld import Langevin

SIGNS = np.array([1, -1])  # of a pair of draws
plus, times = tree.promoting(jnp.add), tree.promoting(jnp.multiply)


def quadratic(
    value: Scalar,
    gradient: Float[Array, " n"],
    hessian: Float[Array, "n n"],
    *,
    gamma: float | Scalar,
    temperature: float | Scalar,
) -> Scalar:
    """F = f − ½ gᵀ(H + γI)⁻¹g + (τ/2) ln det(I + H/γ). NaN unless H + γI is positive definite.

    - `value`: f at the point
    - `gradient`: g, (n,)
    - `hessian`: H, (n, n), symmetric
    - `gamma`: γ > 0, in units of curvature
    - `temperature`: τ ≥ 0, in units of the loss
    """
    _check_law("quadratic", gamma, temperature)
    shifted = hessian + gamma * jnp.eye(len(gradient), dtype=hessian.dtype)
    L = jnp.linalg.cholesky(shifted)
    reward = jax.scipy.linalg.solve_triangular(L, gradient, lower=True)  # ‖·‖² = gᵀ(H + γI)⁻¹g
    log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(L))) - len(gradient) * jnp.log(gamma)
    return value - 0.5 * reward @ reward + 0.5 * temperature * log_det


def laplace(
    loss: Callable[[Params], Scalar],
    params: Params,
    *,
    gamma: float | Scalar,
    temperature: float | Scalar,
) -> Scalar:
    """`quadratic` with value, gradient and dense Hessian of `loss` at `params`.

    n² numbers and n Hessian-vector products: for n up to a few thousand.

    - `loss`: params → one real number
    - `params`: θ, any tree of floats
    - `gamma`: γ > 0, in units of curvature
    - `temperature`: τ ≥ 0, in units of the loss
    """
    params = real(params)
    flat, unravel = tree.ravel(params, tree.working_dtype(params))
    f = lambda x: check_loss(loss)(unravel(x))
    return quadratic(
        f(flat), jax.grad(f)(flat), jax.hessian(f)(flat), gamma=gamma, temperature=temperature
    )


def laplace_by_products(
    loss: Callable[[Params], Scalar],
    params: Params,
    *,
    gamma: float | Scalar,
    temperature: float | Scalar,
    k: int | None = None,
    probes: int,
    key: Key,
) -> Estimate:
    """`laplace` by Lanczos: k products from the gradient, k from each of `probes` random vectors.

    NaN if a node shows that H + γI is not positive definite. The standard error is that of the
    log-determinant over probes.

    - `loss`: params → one real number
    - `params`: θ, any tree of floats
    - `gamma`: γ > 0, in units of curvature
    - `temperature`: τ ≥ 0, in units of the loss
    - `k`: products a probe, 1 … n; None for min(10, n)
    - `probes`: number of random vectors, ≥ 1
    - `key`: of the random signs
    """
    _check_law("laplace_by_products", gamma, temperature)
    loss, params = check_loss(loss), tree.strongly_typed(real(params))
    value, g = jax.value_and_grad(loss)(params)
    H = lambda v: hvp(loss, params, v)
    flat, _ = flat_product(H, params)
    g, _ = tree.ravel(g, tree.working_dtype(params))
    rule = probe(flat, g, number_of_steps("laplace_by_products", k, len(g)))
    gamma = jnp.asarray(gamma, rule.nodes.dtype)
    inverse = lambda x: 1 / jnp.where(x > -gamma, x + gamma, jnp.nan)
    square, s = tree.scaled_square(g)
    # ‖g‖² alone may be out of range.
    reward = integrate(inverse, rule.nodes, rule.weights) * s * s * square  # gᵀ(H + γI)⁻¹g
    reward = jnp.where(square == 0, 0, reward)  # there is no Krylov space of 0
    shifted, _ = log_det(H, params, gamma, k=k, probes=probes, key=key)
    log_ratio = shifted.value - len(g) * jnp.log(gamma)  # ln det(I + H/γ)
    return Estimate(
        value - 0.5 * reward + 0.5 * temperature * log_ratio,
        # At temperature 0 an error counts for nothing, even an infinite one.
        0.5 * temperature * jnp.where(temperature == 0, 0, shifted.standard_error),
    )


def monte_carlo(
    loss: Callable[[Params], Scalar],
    params: Params,
    *,
    gamma: float | Scalar,
    temperature: float | Scalar,
    samples: int,
    key: Key,
) -> Estimate:
    """−τ ln mean exp(−f(θ ± ξ)/τ) over `samples`/2 pairs. One pair: the error is ∞, unknown.

    - `loss`: params → one real number
    - `params`: θ, any tree of floats
    - `gamma`: γ > 0, in units of curvature
    - `temperature`: τ ≥ 0, in units of the loss
    - `samples`: number of losses, even
    - `key`: of the draws
    """
    _check_law("monte_carlo", gamma, temperature)
    check_draws("monte_carlo", samples, 2, "draws come in pairs ±ξ")
    loss, sigma = check_loss(loss), jnp.sqrt(temperature / gamma)

    def pair(key: Key) -> Float[Array, "2"]:
        xi = normal_like(key, params)
        return jax.vmap(lambda a: loss(shift(params, a, xi)))(times(sigma, SIGNS))

    return _soft_minimum(each_probe(pair, probes=samples // 2, key=key), temperature)


def importance(
    loss: Callable[[Params], Scalar],
    params: Params,
    mean: Params,
    *,
    gamma: float | Scalar,
    temperature: float | Scalar,
    samples: int,
    key: Key,
) -> Estimate:
    """−τ ln mean exp(−v/τ), half of the draws around θ and half around `mean`, as wide as ξ.

    With p the law of θ + ξ and q the same around `mean` each draw w has the cost

        v = f(w) + τ ln [(p(w) + q(w)) / 2p(w)]

    Z is without bias for any `mean` that does not look at the draws, and no weight exceeds twice
    that of plain Monte Carlo: a bad mean wastes half of the draws, no more (the defensive
    mixture of Hesterberg 1995). The Gibbs mean takes away the variance that a slope causes.

    - `loss`: params → one real number
    - `params`: θ, any tree of floats
    - `mean`: centre of half of the draws, a tree like `params`
    - `gamma`: γ > 0, in units of curvature
    - `temperature`: τ ≥ 0, in units of the loss
    - `samples`: number of losses, a multiple of 4
    - `key`: of the draws
    """
    _check_law("importance", gamma, temperature)
    check_draws("importance", samples, 4, "pairs ±ξ are drawn around two points")
    loss, sigma = check_loss(loss), jnp.sqrt(temperature / gamma)
    params, mean = real(params), real(mean)
    delta = jtu.tree_map(jnp.subtract, mean, params)
    square, s = tree.scaled_square(delta)
    half = 0.5 * gamma * s * s * square
    centres = jtu.tree_map(lambda p, m: jnp.stack([p, m]), params, mean)

    def four(key: Key) -> Float[Array, "4"]:
        xi = normal_like(key, params)
        tilt = gamma * sigma * tree.dot(delta, xi)

        def cost(centre, offset, a):
            f = loss(shift(centre, times(a, sigma), xi))
            log_ratio = times(a, tilt) + offset  # τ ln q/p at this draw
            return plus(f, _half_and_half(log_ratio, temperature)).astype(f.dtype)

        around = lambda centre, offset: jax.vmap(lambda a: cost(centre, offset, a))(SIGNS)
        return jax.vmap(around)(centres, jnp.stack([-half, half])).ravel()

    return _soft_minimum(each_probe(four, probes=samples // 4, key=key), temperature)


def _check_law(owner: str, gamma: float | Scalar, temperature: float | Scalar) -> None:
    check_positive(owner, "gamma", gamma, "The window has the variance temperature/gamma.")
    check_not_negative(owner, "temperature", temperature, "0 gives the Moreau envelope.")


@tree.promoting
def _half_and_half(log_ratio: Scalar, temperature: float | Scalar) -> Scalar:
    """τ ln(½ + ½ e^{r/τ}), and its limit max(r, 0) at τ = 0."""
    r = jnp.abs(log_ratio) / _not_zero(temperature)
    return jnp.maximum(log_ratio, 0) + temperature * jnp.log((1 + jnp.exp(-r)) / 2)


@tree.promoting
def _soft_minimum(v: Float[Array, "groups draws"], temperature: float | Scalar) -> Estimate:
    """−τ ln mean exp(−v/τ), at τ = 0 min v; its error to first order, from the spread of groups."""
    lowest = jnp.min(v)
    seen = mean_of(jnp.exp((lowest - v) / _not_zero(temperature)).mean(axis=1))
    value = lowest - temperature * jnp.log(seen.value)
    # Without 0 · ∞, at temperature 0 with one group.
    error = seen.standard_error if len(v) == 1 else temperature * seen.standard_error / seen.value
    return Estimate(value.astype(v.dtype), error.astype(v.dtype))


def _not_zero(temperature: float | Scalar) -> float | Scalar:
    """τ, or 1 in a quotient that τ = 0 then multiplies away."""
    return jnp.where(temperature == 0, 1, temperature)


def thermodynamic_integral(
    loss: Callable[[Params], Scalar],
    params: Params,
    *,
    gamma: float | Scalar,
    temperature: float | Scalar,
    step_size: float | Scalar,
    steps: int,
    burn_in: int,
    nodes: int = 8,
    chains: int = 4,
    key: Key,
) -> Estimate:
    """F from `chains` Langevin chains at each of `nodes` values of s.

    A chain averages f over its last `steps` − `burn_in` points. The error is that over chains; it
    knows nothing of the trace of the start after burn-in, of the O(η²) of the midpoint chain (0 on
    quadratics), or of the nodes.

    - `loss`: params → one real number
    - `params`: θ, any tree of floats
    - `gamma`: γ > 0, in units of curvature
    - `temperature`: τ ≥ 0, in units of the loss
    - `step_size`: η of the chains; stable if η(λ_max + γ) < 2
    - `steps`: gradients a chain
    - `burn_in`: first steps that are not averaged, fewer than `steps`
    - `nodes`: values of s, ≥ 1
    - `chains`: independent chains for each s, ≥ 1
    - `key`: of the noise
    """
    loss, params = check_loss(loss), real(params)
    check_count("thermodynamic_integral", "nodes", nodes)
    check_count("thermodynamic_integral", "chains", chains)
    check_count("thermodynamic_integral", "burn_in", burn_in, least=0)
    check_count("thermodynamic_integral", "steps", steps, least=burn_in + 1)
    sampler = Langevin(gamma, temperature, step_size, midpoint=True)
    x, weights = np.polynomial.legendre.leggauss(nodes)
    u = (1 + x) / 2
    s, weights = u**3, 3 * u**2 * weights / 2  # ds = 3u² du

    def mean_loss(s: Scalar, key: Key) -> Scalar:
        slope = lambda w, _: tree.scale(s, jax.grad(loss)(w))

        def body(chain, key):
            chain = sampler.step(slope, chain, key=key)
            return chain, loss(chain.point)

        _, losses = jax.lax.scan(body, sampler.init(params), jr.split(key, steps))
        return losses[burn_in:].mean()

    dtype = jax.eval_shape(loss, params).dtype
    keys = jr.split(key, (chains, nodes))
    means = jax.vmap(jax.vmap(mean_loss), in_axes=(None, 0))(jnp.asarray(s, dtype), keys)
    return mean_of(means @ jnp.asarray(weights, dtype))  # (chains,)
