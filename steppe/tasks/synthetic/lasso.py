"""LASSO: least squares with a penalty on ‖x‖₁, whose gradient jumps where a coordinate is zero.

    f(x) = mean_b [ ½ ‖W_b x_b − y_b‖² + l1 ‖x_b‖₁ ],   b = 1 … instances

    published set    n     instances   W, y      l1      x₀
    `lasso-dm`       2     128         U(0, 1)   0.005   N(0, 0.01²)
    `lasso`          20    1           N(0, 1)   1       N(0, 1)

`lasso-dm`: the Open-L2O code for Andrychowicz et al., NeurIPS 2016. `lasso`: its code for
Wichrowska et al., "Learned optimizers that scale and generalize", ICML 2017. The specification
gives no x₀ for `lasso-dm`: ours is that of the quadratic problems of the same code.

f ≥ 0, but its minimum has no closed form, so there is no metric.
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
from .equations import Equations, check_law, draw_equations, mean_square, product


class Lasso(AbstractFormula):
    """`instances` systems of `n` equations in `n` unknowns; the params are x (instances, n).

    - `l1`: weight of ‖x‖₁, not negative
    - `data`: the law of the entries of W and y, "uniform" on (0, 1) or "normal" N(0, 1)
    - `start`: standard deviation of x₀
    - `seed`: if a number, every instance is the one drawn from it: the version with fixed data
    """

    n: int = eqx.field(static=True, default=20)
    instances: int = eqx.field(static=True, default=1)
    data: str = eqx.field(static=True, default="normal")
    l1: float = eqx.field(static=True, default=1.0)
    start: float = eqx.field(static=True, default=1.0)
    seed: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        at_least(1, "Lasso", n=self.n, instances=self.instances)
        check_law("Lasso", self.data)
        at_least(0, "Lasso", seed=self.seed)
        reals("Lasso", finite=False, l1=self.l1, start=self.start)
        for name in ("l1", "start"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"Lasso: {name} must not be negative, got {getattr(self, name)}.")

    def sample(self, key: Key) -> Equations:
        key = key if self.seed is None else jr.key(self.seed)
        return draw_equations(key, self.data, self.instances, self.n, self.n)

    def init(self, instance: Equations, key: Key) -> Float[Array, "instances n"]:
        return self.start * jr.normal(key, (self.instances, self.n))

    def loss(
        self, instance: Equations, batch: tuple[()], key: Key
    ) -> Callable[[Float[Array, "instances n"]], Scalar]:
        def f(x: Float[Array, "instances n"]) -> Scalar:
            misfit = mean_square(product(instance.W, x) - instance.y)
            size = x * jnp.sign(x)  # |x|, with the slope 0 at 0 (JAX takes 1 for jnp.abs)
            return misfit / 2 + self.l1 * jnp.mean(jnp.sum(size, axis=-1))

        return f

    def target(self, instance: Equations) -> None:
        return None

    def metrics(
        self, params: Float[Array, "instances n"], instance: Equations, batch: tuple[()], key: Key
    ) -> dict[str, Scalar]:
        return {}
