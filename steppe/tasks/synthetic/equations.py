"""Random linear systems W x ≈ y, several side by side: what many synthetic tasks are made of."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from ...core.types import Key, Scalar

LAWS = {"uniform": jr.uniform, "normal": jr.normal}  # U(0, 1), N(0, 1)


class Equations(eqx.Module):
    """The numbers of one problem."""

    W: Float[Array, "instances rows n"]
    y: Float[Array, "instances rows"]


def draw_equations(key: Key, law: str, instances: int, rows: int, n: int) -> Equations:
    """W and y with independent entries of a law in `LAWS`."""
    key_W, key_y = jr.split(key)
    draw = LAWS[law]
    return Equations(draw(key_W, (instances, rows, n)), draw(key_y, (instances, rows)))


def product(
    W: Float[Array, "instances rows n"], x: Float[Array, "instances n"]
) -> Float[Array, "instances rows"]:
    return jnp.einsum("brn,bn->br", W, x)


def mean_square(r: Float[Array, "instances rows"]) -> Scalar:
    """mean_b ‖r_b‖²"""
    return jnp.mean(jnp.sum(r**2, axis=-1))


def check_law(kind: str, law: str) -> None:
    if law not in LAWS:
        raise ValueError(f"{kind}: data must be one of {', '.join(LAWS)}, got {law!r}.")
