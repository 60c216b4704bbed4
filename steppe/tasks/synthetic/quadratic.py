"""Quadratic problems: random least squares, the first test bed of learned optimizers, and a bowl.

    f(x) = factor · mean_b ‖W_b x_b − y_b‖²,   b = 1 … instances

    published set       instances   W           y          x₀            factor
    `quadratic-dm`      128         U(0, 1)     U(0, 1)    N(0, 0.01²)   1
    `quadratic`         1           N(0, 1)     N(0, 1)    N(0, 1)       ½
    `quadratic-m-l2o`   128         N(0, σ²)    U(−1, 1)   N(0, 0.01²)   ½

`quadratic-dm`: the published Open-L2O code for Andrychowicz et al., "Learning to learn by gradient
descent by gradient descent", NeurIPS 2016, with n = 10. The paper itself draws W and y from
N(0, 1): `tasks.build("quadratic-dm", data="normal")`.
`quadratic`: Wichrowska et al., "Learned optimizers that scale and generalize", ICML 2017, with
n = 20 (others: 25, 50, 100).

The code behind `quadratic-dm` solves its 128 systems jointly: they are one problem in 1280
variables, and the mean makes every gradient 128 times smaller than that of a system alone.
`quadratic-m-l2o`: as `lasso-m-l2o` (see `Lasso`) without the penalty.

`Bowl` lies in the plane, longer than wide, turned by an angle:

    f(x) = ½ xᵀ Rᵀ diag(κ, 1) R x,   R = [[cos a, −sin a], [sin a, cos a]],   x₀ ~ N(0, 1)

Another of the training problems of Wichrowska et al.: κ ∈ {0.1, 1, 5}, and κ = 5 turned by π/4.
The minimum is 0, at 0.
"""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from ...core.arguments import real
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


class Bowl(AbstractFormula):
    """The params are x (2,). `condition` is κ > 0, `angle` a, in radians."""

    condition: float = eqx.field(static=True, default=5.0)
    angle: float = eqx.field(static=True, default=0.0)

    def __check_init__(self):
        reals("Bowl", finite=False, condition=self.condition)
        real("Bowl: angle", self.angle, expected="a finite number of radians")
        if not 0 < self.condition < math.inf:
            raise ValueError(f"Bowl: condition must be positive, got {self.condition}.")

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


class Quadratic(AbstractFormula):
    """`instances` systems W x ≈ y in `n` unknowns each; the params are x (instances, n).

    - `rows`: equations in each system, n if None
    - `data`: the law of the entries of W and y, "uniform" on (0, 1) or "normal" N(0, 1)
    - `start`: standard deviation of x₀
    - `labels`: the law of the entries of y: "uniform", "normal" or "symmetric", U(−1, 1); None:
      that of W
    - `spread`: σ, a factor of all entries of W (their standard deviation, where they are normal):
      a number, or several, one of which is drawn for each instance and all its systems; None: 1
    - `between`: σ is drawn between two numbers, log-uniform, instead of being one of them
    """

    n: int = eqx.field(static=True, default=10)
    rows: int | None = eqx.field(static=True, default=None)
    instances: int = eqx.field(static=True, default=1)
    data: str = eqx.field(static=True, default="normal")
    start: float = eqx.field(static=True, default=1.0)
    factor: float = eqx.field(static=True, default=0.5)
    labels: str | None = eqx.field(static=True, default=None)
    spread: Numbers | None = eqx.field(static=True, default=None, converter=as_tuple)
    between: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        rows = self.n if self.rows is None else self.rows
        at_least(1, "Quadratic", n=self.n, rows=rows, instances=self.instances)
        check_law("Quadratic", self.data, self.labels)
        check_spread("Quadratic", self.spread, self.between)
        reals("Quadratic", finite=False, start=self.start, factor=self.factor)
        if not 0 <= self.start < math.inf:
            raise ValueError(f"Quadratic: start must not be negative, got {self.start}.")
        if not 0 < self.factor < math.inf:
            raise ValueError(f"Quadratic: factor must be positive, got {self.factor}.")

    def sample(self, key: Key) -> Equations:
        rows = self.n if self.rows is None else self.rows
        how = {"labels": self.labels, "spread": self.spread, "between": self.between}
        return draw_equations(key, self.data, self.instances, rows, self.n, **how)

    def init(self, instance: Equations, key: Key) -> Float[Array, "instances n"]:
        return self.start * jr.normal(key, (self.instances, self.n))

    def loss(
        self, instance: Equations, batch: tuple[()], key: Key
    ) -> Callable[[Float[Array, "instances n"]], Scalar]:
        return lambda x: self.factor * mean_square(product(instance.W, x) - instance.y)

    def target(self, instance: Equations) -> Float[Array, "instances n"]:
        """The minimiser of least norm."""
        return jax.vmap(lambda W, y: jnp.linalg.lstsq(W, y)[0])(instance.W, instance.y)

    def metrics(
        self, params: Float[Array, "instances n"], instance: Equations, batch: tuple[()], key: Key
    ) -> dict[str, Scalar]:
        """`gap`: f(x) − f*. `relative_gap`: the same divided by f(0) − f*, so x = 0 scores 1.

        With r = W x − y and W x* − y ⟂ range W, f(x) − f* = factor · mean_b ‖W (x − x*)‖²: no
        cancellation, and never negative.
        """
        best = self.target(instance)
        gap = mean_square(product(instance.W, params - best))
        zero = mean_square(product(instance.W, best))
        solvable = zero > 0  # else x = 0 is optimal and only the gap itself says anything
        return {
            "gap": self.factor * gap,
            "relative_gap": gap / jnp.where(solvable, zero, jnp.ones_like(zero)),
        }
