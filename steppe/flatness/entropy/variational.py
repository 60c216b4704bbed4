"""The variational bound of the local free energy, of which PAC-Bayes bounds are made.

    F(θ) = min_Q  E_Q f + τ KL(Q ‖ N(θ, τ/γ I))

(Donsker & Varadhan), attained by the Gibbs law. Any Q gives an upper bound; here Q is a Gaussian
with independent coordinates, N(m, σ² τ/γ): a `Window`. σ = 1 is the width of the prior, and with
m = θ the bound is the Gaussian-smoothed loss. On a quadratic with Hessian H the best has
m = (H + γI)⁻¹(Hθ* + γθ) and σᵢ² = γ/(γ + Hᵢᵢ), and the bound exceeds F by

    τ/2 [Σ ln(γ + Hᵢᵢ) − ln det(H + γI)] ≥ 0

which vanishes for diagonal H.

`Smoothed` is the bound at the prior, as a measure:

    S(θ) = E f(θ + ξ/√γ),    ξ ~ N(0, I);    on a quadratic f(θ) + tr H / (2γ)

at temperature 1; at temperature τ take γ/τ for γ. Unlike that of local entropy its gradient is
that of its own value, on the same draws.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float

from ...core import tree
from ...core.measure import AbstractMeasure, check_draws, check_not_negative, check_positive
from ...core.types import Key, Params, Scalar
from ..hutchinson import Estimate, each_probe, normal_like, shift
from ..hutchinson import mean as mean_of
from ..products import check_loss, real


class Window(eqx.Module):
    """Q = N(mean, width² τ/γ), independent coordinates."""

    mean: Params
    width: Params


def prior(params: Params) -> Window:
    """N(θ, τ/γ I)"""
    params = real(params)
    return Window(params, jtu.tree_map(jnp.ones_like, params))


def narrow(mean: Params, diagonal: Params, *, gamma: float | Scalar) -> Window:
    """The window of width² = γ/(γ + h), h = `diagonal` of the Hessian.

    h < 0 counts as 0: the bound holds for any window, and one wider than the prior looks
    beyond where h was taken.

    - `mean`: centre of the window, any tree of floats
    - `diagonal`: h, a tree like `mean`
    - `gamma`: γ > 0, in units of curvature
    """
    check_positive("narrow", "gamma", gamma, "temperature/gamma is the variance of the prior.")
    width = lambda h: jnp.sqrt(gamma / (gamma + jnp.maximum(h, 0))).astype(h.dtype)
    return Window(mean, jtu.tree_map(width, diagonal))


def bound(
    loss: Callable[[Params], Scalar],
    params: Params,
    posterior: Window,
    *,
    gamma: float | Scalar,
    temperature: float | Scalar,
    samples: int,
    key: Key,
) -> Estimate:
    """E_Q f + τ KL(Q ‖ N(θ, τ/γ I)) without bias, from `samples`/2 pairs of draws m ± σ √(τ/γ) ξ.

    Each draw w gives f(w) + τ ln [Q(w)/prior(w)], whose variance vanishes where Q is the Gibbs
    law. Differentiable in the posterior, so that any optimizer can tighten the bound.

    - `loss`: params → one real number
    - `params`: θ, centre of the prior, any tree of floats
    - `posterior`: the window Q
    - `gamma`: γ > 0, in units of curvature
    - `temperature`: τ ≥ 0, in units of the loss
    - `samples`: number of losses, even
    - `key`: of the draws
    """
    check_positive("bound", "gamma", gamma, "temperature/gamma is the variance of the prior.")
    check_not_negative("bound", "temperature", temperature, "0 gives f + γ/2 ‖m − θ‖² at m.")
    check_draws("bound", samples, 2, "draws come in pairs ±ξ")
    loss, params = check_loss(loss), real(params)
    s = jnp.sqrt(temperature / gamma)
    delta = jtu.tree_map(jnp.subtract, posterior.mean, params)  # δ = m − θ
    square, length = tree.scaled_square(delta)
    pull = 0.5 * gamma * length * length * square
    log_volume = sum(jnp.sum(jnp.log(sigma)) for sigma in jtu.tree_leaves(posterior.width))

    # τ ln [Q/prior] = γ/2 ‖δ‖² + √(γτ) δ·σξ + τ/2 (‖σξ‖² − ‖ξ‖²) − τ Σ ln σ
    def pair(key: Key) -> Float[Array, ""]:
        xi = normal_like(key, params)
        step = jtu.tree_map(jnp.multiply, posterior.width, xi)  # σξ
        stretch = 0.5 * (tree.dot(step, step) - tree.dot(xi, xi))
        f = jax.vmap(lambda a: loss(shift(posterior.mean, a, step)))(jnp.stack([s, -s]))
        # In the pair δ·σξ cancels.
        return (f.mean() + pull + temperature * (stretch - log_volume)).astype(f.dtype)

    return mean_of(each_probe(pair, probes=samples // 2, key=key))


class Smoothed(AbstractMeasure):
    """Mean of f over `samples` draws θ ± ξ/√γ; unbiased.

    Draws come in pairs, so that a slope adds no variance: what is left is that of a Hutchinson
    trace with Gaussian probes, ‖H‖²_F / (γ² samples) on a quadratic.
    """

    gamma: float | Scalar
    samples: int = eqx.field(static=True, default=2)

    def __check_init__(self):
        check_positive("Smoothed", "gamma", self.gamma, "1/gamma is the variance of the window.")
        check_draws("Smoothed", self.samples, 2, "draws come in pairs ±ξ")

    def __call__(self, loss: Callable[[Params], Scalar], params: Params, *, key: Key) -> Scalar:
        loss, sigma = check_loss(loss), 1 / jnp.sqrt(self.gamma)

        def pair(key):
            xi = normal_like(key, params)
            at = lambda a: loss(shift(params, a, xi))
            return jax.vmap(at)(jnp.stack([sigma, -sigma])).mean()

        return each_probe(pair, probes=self.samples // 2, key=key).mean()
