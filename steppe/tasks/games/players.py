"""What games have in common: the two players, where they start, and how far they are."""

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from ...core import tree
from ...core.arguments import real
from ...core.loss import Saddle
from ...core.messages import brief
from ...core.types import Key, Scalar

Players = dict[str, Float[Array, " n"]]  # {"min": x, "max": y}


def cube(key: Key, n: int) -> Players:
    """n coordinates of each player, U(−½, ½), the published start."""
    key_min, key_max = jr.split(key)
    start = lambda key: jr.uniform(key, (n,), minval=-0.5, maxval=0.5)
    return {"min": start(key_min), "max": start(key_max)}


def distances(to_min: Scalar, to_max: Scalar, whole: Scalar) -> dict[str, Scalar]:
    """The distances of reports: of the first player, of the second, of both."""
    return {"distance": whole, "distance_min": to_min, "distance_max": to_max}


def from_zero(loss: Saddle, params: Players) -> dict[str, Scalar]:
    """Merit and distances of a game whose solution is 0.

    - `merit`: ‖(∇ₓf, −∇ᵧf)‖
    - `distance`: ‖(x, y)‖; `distance_min` and `distance_max`: Σ|xᵢ| and Σ|yᵢ|, as published
    """
    to_min, to_max = (jnp.sum(jnp.abs(params[player])) for player in ("min", "max"))
    merit = {"merit": loss.merit(params)}
    return merit | distances(to_min, to_max, tree.norm(params))


def check_law(owner: str, name: str, law: tuple[float, float]) -> tuple[float, float]:
    """Ends (low, high) of a uniform law, or a sentence."""
    try:
        low, high = (real(f"{owner}: {name}", end) for end in law)
        right = 0 <= low <= high
    except (TypeError, ValueError):
        low, high, right = 0.0, 0.0, False
    if not right:
        raise ValueError(
            f"{owner}: {name} must be two numbers, 0 ≤ low ≤ high, got {brief(law)}; give "
            "(0.9, 1.0), say."
        )
    return low, high
