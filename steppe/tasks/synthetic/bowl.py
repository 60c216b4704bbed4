"""A quadratic bowl in the plane, longer than wide, turned by an angle.

    f(x) = ½ xᵀ Rᵀ diag(κ, 1) R x,   R = [[cos a, −sin a], [sin a, cos a]],   x₀ ~ N(0, 1)

From the training problems of Wichrowska et al., "Learned optimizers that scale and generalize",
ICML 2017: κ ∈ {0.1, 1, 5}, and κ = 5 turned by π/4. The minimum is 0, at 0.
"""

import math
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from ...core.task import AbstractFormula
from ...core.types import Key, Scalar


class Bowl(AbstractFormula):
    """The params are x (2,). `condition` is κ > 0, `angle` a, in radians."""

    condition: float = eqx.field(static=True, default=5.0)
    angle: float = eqx.field(static=True, default=0.0)

    def __check_init__(self):
        if not 0 < self.condition < math.inf:
            raise ValueError(f"Bowl: condition must be positive, got {self.condition}.")
        if not math.isfinite(self.angle):
            raise ValueError(f"Bowl: angle must be a finite number of radians, got {self.angle}.")

    def sample(self, key: Key) -> tuple[()]:
        return ()

    def init(self, instance: tuple[()], key: Key) -> Float[Array, "2"]:
        return jr.normal(key, (2,))

    def loss(
        self, instance: tuple[()], batch: tuple[()], key: Key
    ) -> Callable[[Float[Array, "2"]], Scalar]:
        return self.height

    def height(self, params: Float[Array, "2"]) -> Scalar:
        """f(x)"""
        x, y = params
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return (self.condition * (cos * x - sin * y) ** 2 + (sin * x + cos * y) ** 2) / 2

    def target(self, instance: tuple[()]) -> Float[Array, "2"]:
        return jnp.zeros(2)

    def metrics(
        self, params: Float[Array, "2"], instance: tuple[()], batch: tuple[()], key: Key
    ) -> dict[str, Scalar]:
        """`gap`: f(x) itself. `distance`: ‖x‖."""
        return {"gap": self.height(params), "distance": jnp.linalg.norm(params)}
