"""The bilinear game: two players pull one product in opposite directions.

    min over x, max over y of  xᵀ A y,   A, x₀, y₀ ~ N(0, 1)

The solution is (0, 0). Simultaneous descent and ascent spirals away from it by a factor of
√(1 + η²σ²) a step, σ a singular value of A and η the rate.
"""

import equinox as eqx
import jax.random as jr
from jaxtyping import Array, Float

from ...core import tree
from ...core.loss import Saddle
from ...core.messages import at_least
from ...core.task import AbstractFormula
from ...core.types import Key, Scalar


class BilinearGame(AbstractFormula):
    """xᵀAy in `n` unknowns for each player; the params are {"min": x, "max": y}."""

    n: int = eqx.field(static=True, default=5)

    def __check_init__(self):
        at_least(1, "BilinearGame", n=self.n)

    def sample(self, key: Key) -> Float[Array, "n n"]:
        return jr.normal(key, (self.n, self.n))

    def init(self, instance: Float[Array, "n n"], key: Key) -> dict[str, Float[Array, " n"]]:
        key_min, key_max = jr.split(key)
        return {"min": jr.normal(key_min, (self.n,)), "max": jr.normal(key_max, (self.n,))}

    def loss(self, instance: Float[Array, "n n"], batch: tuple[()], key: Key) -> Saddle:
        return Saddle(lambda params: params["min"] @ instance @ params["max"])

    def target(self, instance: Float[Array, "n n"]) -> dict[str, Float[Array, " n"]]:
        return {"min": 0 * instance[0], "max": 0 * instance[0]}

    def metrics(
        self,
        params: dict[str, Float[Array, " n"]],
        instance: Float[Array, "n n"],
        batch: tuple[()],
        key: Key,
    ) -> dict[str, Scalar]:
        """`merit`: ‖(∇ₓf, −∇ᵧf)‖. `distance`: to the solution."""
        merit = self.loss(instance, batch, key).merit(params)
        return {"merit": merit, "distance": tree.norm(params)}
