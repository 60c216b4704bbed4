"""LASSO: least squares with a penalty on ‖x‖₁, whose gradient jumps where a coordinate is zero.

    f(x) = mean_b [ ½ ‖W_b x_b − y_b‖² + l1 ‖x_b‖₁ ],   b = 1 … instances

    published set    n     instances   W           y          l1      x₀
    `lasso-dm`       2     128         U(0, 1)     U(0, 1)    0.005   N(0, 0.01²)
    `lasso`          20    1           N(0, 1)     N(0, 1)    1       N(0, 1)
    `lasso-m-l2o`    10    128         N(0, σ²)    U(−1, 1)   0.005   N(0, 0.01²)

`lasso-dm`: the Open-L2O code for Andrychowicz et al., NeurIPS 2016. `lasso`: its code for
Wichrowska et al., "Learned optimizers that scale and generalize", ICML 2017. The specification
gives no x₀ for `lasso-dm`: ours is that of the quadratic problems of the same code.
`lasso-m-l2o`: the code for Yang et al., "M-L2O: Towards generalizable learning-to-optimize by
test-time fast self-adaptation", ICLR 2023. All systems of an instance have one σ, drawn from
0.1, 0.5 and 1; those that an optimizer has to adapt to have larger ones, such as 10 or 100. The
code trains on y ~ U(0, 1): the same problems, since changing the sign of a row of W and its y
changes neither f nor the law of W.

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
from .equations import (
    Equations,
    Numbers,
    as_tuple,
    check_law,
    check_spread,
    draw_equations,
    mean_square,
    product,
)


class Lasso(AbstractFormula):
    """`instances` systems of `n` equations in `n` unknowns; the params are x (instances, n).

    - `l1`: weight of ‖x‖₁, not negative
    - `data`: the law of the entries of W and y, "uniform" on (0, 1) or "normal" N(0, 1)
    - `start`: standard deviation of x₀
    - `seed`: if a number, every instance is the one drawn from it: the version with fixed data
    - `labels`: the law of the entries of y: "uniform", "normal" or "symmetric", U(−1, 1); None:
      that of W
    - `spread`: σ, a factor of all entries of W (their standard deviation, where they are normal):
      a number, or several, one of which is drawn for each instance and all its systems; None: 1
    - `between`: σ is drawn between two numbers, log-uniform, instead of being one of them
    """

    n: int = eqx.field(static=True, default=20)
    instances: int = eqx.field(static=True, default=1)
    data: str = eqx.field(static=True, default="normal")
    l1: float = eqx.field(static=True, default=1.0)
    start: float = eqx.field(static=True, default=1.0)
    seed: int | None = eqx.field(static=True, default=None)
    labels: str | None = eqx.field(static=True, default=None)
    spread: Numbers | None = eqx.field(static=True, default=None, converter=as_tuple)
    between: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        at_least(1, "Lasso", n=self.n, instances=self.instances)
        check_law("Lasso", self.data, self.labels)
        check_spread("Lasso", self.spread, self.between)
        at_least(0, "Lasso", seed=self.seed)
        reals("Lasso", finite=False, l1=self.l1, start=self.start)
        for name in ("l1", "start"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"Lasso: {name} must not be negative, got {getattr(self, name)}.")

    def sample(self, key: Key) -> Equations:
        key = key if self.seed is None else jr.key(self.seed)
        how = {"labels": self.labels, "spread": self.spread, "between": self.between}
        return draw_equations(key, self.data, self.instances, self.n, self.n, **how)

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
