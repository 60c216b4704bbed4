"""The variational bound of the local free energy: what PAC-Bayes bounds are made of.

    F(θ) = min_Q  E_Q f + τ KL(Q ‖ N(θ, τ/γ I))

(Donsker & Varadhan), attained by the Gibbs law. Any Q gives an upper bound; here Q is a Gaussian
with independent coordinates, N(m, σ² τ/γ): a `Window`. σ = 1 is the width of the prior, and with
m = θ the bound is the Gaussian-smoothed loss. On a quadratic with Hessian H the best has
m = (H + γI)⁻¹(Hθ* + γθ) and σᵢ² = γ/(γ + Hᵢᵢ), and the bound exceeds F by

    τ/2 [Σ ln(γ + Hᵢᵢ) − ln det(H + γI)] ≥ 0

which vanishes for diagonal H.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float

from ...core import tree
from ...core.types import Key, Params, Scalar
from ..checks import check_draws, check_not_negative, check_positive
from ..estimate import Estimate, each_probe
from ..estimate import mean as mean_of
from ..products import check_loss
from ..vectors import moved, normal_like


class Window(eqx.Module):
    """Q = N(mean, width² τ/γ), independent coordinates."""

    mean: Params
    width: Params


def prior(params: Params) -> Window:
    """N(θ, τ/γ I)"""
    return Window(params, jtu.tree_map(jnp.ones_like, params))


def narrowed(mean: Params, diagonal: Params, *, gamma: float | Scalar) -> Window:
    """The window of width² = γ/(γ + h), h = `diagonal` of the Hessian.

    h < 0 counts as 0: the bound holds for any window, and one wider than the prior looks
    beyond where h was taken.
    """
    check_positive("narrowed", "gamma", gamma, "temperature/gamma is the variance of the prior.")
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
    """
    check_positive("bound", "gamma", gamma, "temperature/gamma is the variance of the prior.")
    check_not_negative("bound", "temperature", temperature, "0 gives f + γ/2 ‖m − θ‖² at m.")
    check_draws("bound", samples, 2, "draws come in pairs ±ξ")
    loss = check_loss(loss)
    s = jnp.sqrt(temperature / gamma)
    delta = jtu.tree_map(jnp.subtract, posterior.mean, params)  # δ = m − θ
    shift = 0.5 * gamma * tree.dot(delta, delta)
    log_volume = sum(jnp.sum(jnp.log(sigma)) for sigma in jtu.tree_leaves(posterior.width))

    # τ ln [Q/prior] = γ/2 ‖δ‖² + √(γτ) δ·σξ + τ/2 (‖σξ‖² − ‖ξ‖²) − τ Σ ln σ
    def pair(key: Key) -> Float[Array, ""]:
        xi = normal_like(key, params)
        step = jtu.tree_map(jnp.multiply, posterior.width, xi)  # σξ
        stretch = 0.5 * (tree.dot(step, step) - tree.dot(xi, xi))
        f = jax.vmap(lambda a: loss(moved(posterior.mean, a, step)))(jnp.stack([s, -s]))
        # In the pair δ·σξ cancels.
        return (f.mean() + shift + temperature * (stretch - log_volume)).astype(f.dtype)

    return mean_of(each_probe(pair, probes=samples // 2, key=key))
