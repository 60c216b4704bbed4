"""Soft thresholds that spare the largest entries: support selection.

    η_ss(z; θ, p)ᵢ = zᵢ                  where |zᵢ| > θ and zᵢ is among the largest p % of z
                   = soft(z, θ)ᵢ         elsewhere

Large entries are on the support with near certainty, and need not be made smaller. Which are spared
is a constant for gradients. Layer k = 1, 2, … spares min(p · k, p_max) %. Chen, Liu, Wang & Yin,
"Theoretical linear convergence of unfolded ISTA and its practical weights and thresholds",
NeurIPS 2018; percentiles are those of the nearest rank, as in its code.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ...core.arguments import real
from ...core.types import Scalar


def soft_except(
    z: Float[Array, " n"], threshold: Scalar, spared: Bool[Array, " n"]
) -> Float[Array, " n"]:
    """soft(z, threshold), and z itself where `spared` and above the threshold."""
    taken = jnp.where(spared, 0, threshold)
    return jnp.where(jnp.abs(z) <= threshold, 0, z - taken * jnp.sign(z))


def largest(z: Float[Array, " n"], counts: tuple[int, ...], k: Int[Array, ""]) -> Bool[Array, " n"]:
    """True for the `counts[k]` entries of z of the largest sizes, fewer where sizes are equal."""
    if not any(counts):
        return jnp.zeros(z.shape, bool)
    size = jnp.abs(jax.lax.stop_gradient(z))
    ranked = jax.lax.top_k(size, max(counts) + 1)[0]
    return size > ranked[jnp.asarray(counts)[k]]


def spared_counts(n: int, layers: int, p: float, p_max: float) -> tuple[int, ...]:
    """Numbers of entries, of n, that each layer spares: above the percentile 100 − min(p k, p_max).

    >>> spared_counts(512, 16, 1.2, 13.0)
    (6, 12, 18, 25, 31, 37, 43, 49, 55, 61, 66, 66, 66, 66, 66, 66)
    """
    percent = np.minimum(p * np.arange(1, layers + 1), p_max)
    ranks = np.round((100 - percent) / 100 * (n - 1)).astype(int)  # from the smallest, 0
    return tuple(int(n - 1 - rank) for rank in ranks)


def check_selection(owner: str, p: float, p_max: float) -> None:
    """Refuse shares that are no percentages."""
    for name, share in (("p", p), ("p_max", p_max)):
        if not 0 <= real(f"{owner}: {name}", share) <= 100:
            raise ValueError(f"{owner}: {name} is in percent, from 0 to 100, got {share}.")


def check_threshold(owner: str, threshold: float) -> None:
    """Refuse a threshold to start with that is no finite number from 0 on."""
    if not real(f"{owner}: threshold", threshold) >= 0:
        raise ValueError(f"{owner}: threshold must be at least 0, got {threshold}.")
