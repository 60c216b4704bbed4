"""kl⁻¹(q | c) in JAX, with its derivatives: for training only. Certificates use `kl.py`.

    p = kl⁻¹(q | c):   ∂p/∂c = p(1 − p)/(p − q)
                       ∂p/∂q = [ln(q/p) − ln((1 − q)/(1 − p))] · −p(1 − p)/(p − q)

from kl(q‖p) = c, by the implicit function theorem. At c → 0 the first grows like √(q(1 − q)/2c).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

HALVINGS = 40
SMALLEST = 1e-6  # q is kept this far from 0 and 1
FLOOR = 1e-8  # of c, and of p − q


@jax.custom_jvp
def kl_inverse(q: Float[Array, ""], c: Float[Array, ""]) -> Float[Array, ""]:
    """The largest p with kl(q‖p) ≤ c, to about 1e-6."""
    q, c = jnp.clip(q, SMALLEST, 1 - SMALLEST), jnp.maximum(c, FLOOR)

    def halve(_, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        inside = _kl(q, middle) <= c
        return jnp.where(inside, middle, low), jnp.where(inside, high, middle)

    low, high = jax.lax.fori_loop(0, HALVINGS, halve, (q, jnp.minimum(1.0, q + jnp.sqrt(c / 2))))
    return (low + high) / 2


@kl_inverse.defjvp
def _derivatives(primals, tangents):
    q, c = primals
    p = kl_inverse(q, c)
    q = jnp.clip(q, SMALLEST, 1 - SMALLEST)
    slope = p * (1 - p) / jnp.maximum(p - q, FLOOR)
    by_q = (jnp.log((1 - q) / (1 - p)) - jnp.log(q / p)) * slope
    return p, by_q * tangents[0] + slope * tangents[1]


def _kl(q: Array, p: Array) -> Array:
    return q * jnp.log(q / p) + (1 - q) * (jnp.log1p(-q) - jnp.log1p(-p))
