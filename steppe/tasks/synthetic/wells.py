"""Two wells of equal depth, one wide and one narrow: in which of them does an optimizer end?

    q_w = λ_w/2 ‖x − w‖²,   q_n = λ_n/2 ‖x − b‖²,   f(x) = q_w q_n / (q_w + q_n)

Half the harmonic mean of two bowls: ½ min(q_w, q_n) ≤ f ≤ min(q_w, q_n). Both minima are exactly
0, and the Hessians there exactly λ_w I and λ_n I, so that the value of f prefers neither.

Between them is a saddle. With κ = (λ_w/λ_n)^⅓ it divides the way from b to w as κ : 1, and

    f(saddle) = λ_w D² / (2 (1 + κ)³),   D = ‖w − b‖

Its curvature along the way is negative: a measure that rewards negative curvature rewards
staying there.
"""

import math
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from ...core.messages import at_least, reals
from ...core.task import AbstractFormula
from ...core.types import Key, Scalar


class Minima(eqx.Module):
    """The numbers of one problem: the places of its wells."""

    wide: Float[Array, " n"]
    narrow: Float[Array, " n"]


class Wells(AbstractFormula):
    """A wide and a narrow well in `n` dimensions; the params are x (n,).

    - `wide`, `narrow`: curvatures λ_w < λ_n
    - `distance`: D. Direction and middle are drawn for each instance, so that nothing can be
      learned of where the wide well lies
    - `spread`: x₀ is uniform on a sphere around the saddle, of so many times the distance from
      the saddle to the narrow minimum. About half of all starts descend into either well
    """

    n: int = eqx.field(static=True, default=2)
    wide: float = eqx.field(static=True, default=1.0)
    narrow: float = eqx.field(static=True, default=16.0)
    distance: float = eqx.field(static=True, default=1.25)
    spread: float = eqx.field(static=True, default=0.2)

    def __check_init__(self):
        at_least(1, "Wells", n=self.n)
        names = ("wide", "narrow", "distance", "spread")
        reals("Wells", finite=False, **{name: getattr(self, name) for name in names})
        if not 0 < self.wide < self.narrow < math.inf:
            raise ValueError(
                f"Wells: the curvatures are wide={self.wide} and narrow={self.narrow}, expected "
                "0 < wide < narrow."
            )
        if not 0 < self.distance < math.inf:
            raise ValueError(f"Wells: distance must be positive, got {self.distance}.")
        if not 0 <= self.spread < 1:
            raise ValueError(
                f"Wells: spread must be in [0, 1), got {self.spread}; at 1 a start may be the "
                "narrow minimum itself."
            )

    def sample(self, key: Key) -> Minima:
        key_middle, key_direction = jr.split(key)
        middle = jr.normal(key_middle, (self.n,))
        half = self.distance / 2 * on_sphere(key_direction, self.n)
        return Minima(middle + half, middle - half)

    def init(self, instance: Minima, key: Key) -> Float[Array, " n"]:
        kappa = self.kappa
        radius = self.spread * self.distance * kappa / (1 + kappa)
        return self.saddle(instance) + radius * on_sphere(key, self.n)

    def loss(
        self, instance: Minima, batch: tuple[()], key: Key
    ) -> Callable[[Float[Array, " n"]], Scalar]:
        def f(x: Float[Array, " n"]) -> Scalar:
            q_w, q_n = self.bowls(x, instance)
            return q_w * q_n / (q_w + q_n)

        return f

    def target(self, instance: Minima) -> None:
        """None: both minima are the lowest."""
        return None

    def metrics(
        self, params: Float[Array, " n"], instance: Minima, batch: tuple[()], key: Key
    ) -> dict[str, Scalar]:
        """`wide`: 1 where the bowl of the wide well is the lower one, else 0; NaN where x is.

        At a point to which an optimizer has converged, this is the well it is in. On the way the
        basins of descent differ a little from it: the saddle itself is on the wide side.
        """
        q_w, q_n = self.bowls(params, instance)
        lower = (q_w < q_n).astype(q_w.dtype)
        return {"wide": jnp.where(jnp.isfinite(q_w) & jnp.isfinite(q_n), lower, jnp.nan)}

    def bowls(self, params: Float[Array, " n"], instance: Minima) -> tuple[Scalar, Scalar]:
        """(q_w, q_n)"""
        square = lambda centre: jnp.sum((params - centre) ** 2)
        return self.wide / 2 * square(instance.wide), self.narrow / 2 * square(instance.narrow)

    def saddle(self, instance: Minima) -> Float[Array, " n"]:
        kappa = self.kappa
        return (instance.narrow + kappa * instance.wide) / (1 + kappa)

    @property
    def kappa(self) -> float:
        """κ: ‖saddle − b‖ / ‖saddle − w‖"""
        return (self.wide / self.narrow) ** (1 / 3)


def on_sphere(key: Key, n: int) -> Float[Array, " n"]:
    """Uniform among the vectors of length 1."""
    z = jr.normal(key, (n,))
    return z / jnp.linalg.norm(z)
