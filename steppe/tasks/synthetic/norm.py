"""The p-norm of a random residual: steep at its minimum, unlike its square.

    f(x) = ( Σᵢ (|Wx − y|ᵢ + ε)ᵖ )^(1/p),   W, y, x₀ ~ N(0, 1),   ε = 1e-6

From the training problems of Wichrowska et al., ICML 2017. W is square, so r = Wx − y can be
zero, and the minimum is ε n^(1/p), almost surely attained once.
"""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from ...core.messages import at_least, reals
from ...core.task import AbstractFormula
from ...core.types import Key, Scalar
from .equations import Equations, draw_equations, product

EPSILON = 1e-6  # the published code; keeps the p-th power differentiable


class Norm(AbstractFormula):
    """‖Wx − y‖_p in `n` unknowns; the params are x (1, n). `power` is p ≥ 1."""

    n: int = eqx.field(static=True, default=25)
    power: float = eqx.field(static=True, default=2.0)

    def __check_init__(self):
        at_least(1, "Norm", n=self.n)
        reals("Norm", finite=False, power=self.power)
        if not 1 <= self.power < math.inf:
            raise ValueError(
                f"Norm: power is {self.power}, expected p ≥ 1; below it is no norm and its slope "
                "has no bound."
            )

    def sample(self, key: Key) -> Equations:
        return draw_equations(key, "normal", 1, self.n, self.n)

    def init(self, instance: Equations, key: Key) -> Float[Array, "1 n"]:
        return jr.normal(key, (1, self.n))

    def loss(
        self, instance: Equations, batch: tuple[()], key: Key
    ) -> Callable[[Float[Array, "1 n"]], Scalar]:
        return lambda x: self.size(product(instance.W, x) - instance.y)

    def size(self, r: Float[Array, "1 n"]) -> Scalar:
        """(Σᵢ (|rᵢ| + ε)ᵖ)^(1/p)"""
        r = jnp.abs(r) + EPSILON
        # Taken out, so that rᵖ stays in float32; f does not depend on it.
        largest = jax.lax.stop_gradient(jnp.max(r))
        return largest * jnp.sum((r / largest) ** self.power) ** (1 / self.power)

    def target(self, instance: Equations) -> Float[Array, "1 n"]:
        """W⁻¹y"""
        return jnp.linalg.solve(instance.W, instance.y[..., None])[..., 0]

    def metrics(
        self, params: Float[Array, "1 n"], instance: Equations, batch: tuple[()], key: Key
    ) -> dict[str, Scalar]:
        """`gap`: f(x) − ε n^(1/p), the height above the minimum."""
        lowest = EPSILON * self.n ** (1 / self.power)
        return {"gap": self.size(product(instance.W, params) - instance.y) - lowest}
