"""The classic test functions of the plane: valleys, ripples, ridges, plains.

    name               lowest value                  at
    ackley             0                             (0, 0), a cusp among ripples
    beale              0                             (3, ½)
    booth              0                             (1, 3)
    branin             5/(4π) ≈ 0.398                (−π, 12.275), (π, 2.275), (3π, 2.475)
    log-sum-exp        ln(1 + √8 e^−0.1) ≈ 1.27      (−½ ln 2, 0)
    matyas             0                             (0, 0), a valley
    michalewicz        ≈ 0.193                       (2.185, π/2), between ridges, on a plain
    rosenbrock         0                             (1, 1), a curved valley
    styblinski-tang    ≈ 1.668                       (−2.904, −2.904), one of four minima

The set, its constants and its starts, uniform in a box (N(0, 1) for log-sum-exp), are those of
Wichrowska et al., "Learned optimizers that scale and generalize", ICML 2017, and its code: the
textbook functions with 80 added to Styblinski–Tang and 2 to Michalewicz (with steepness m = 5,
where 10 is common) and 1 inside the logarithm of the last, so that none is ever negative.

Several starts side by side (`instances`) are one problem, the mean over them, as in the code for
Yang et al., "M-L2O", ICLR 2023: `rosenbrock-m-l2o` has 128 starts from N(0, 1).

They are written as sums of terms that are not negative wherever the textbook form is a difference
of larger ones: near the minimum the value keeps its digits, and its sign.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from ...core.messages import at_least
from ...core.task import AbstractFormula
from ...core.types import Key, Scalar
from .equations import check_all_positive

BRANIN_T = 1 / (8 * math.pi)
BRANIN_AT = ((-math.pi, 12.275), (math.pi, 2.275), (3 * math.pi, 2.475))
MICHALEWICZ_AT = 2.1853119618401684  # where sin(x) sin(x²/π)¹⁰ is largest
MICHALEWICZ_TOP = 0.8066228853471956  # and what it is there
STYBLINSKI_AT = -2.9035340277711765  # the lowest root of 4x³ − 32x + 5


class Function(NamedTuple):
    """A row of the table: f(x, y), the box of its starts, its lowest value and where it is."""

    f: Callable[[Scalar, Scalar], Scalar]
    low: tuple[float, float] | None  # None: starts are N(0, 1)
    high: tuple[float, float] | None
    lowest: float
    at: tuple[tuple[float, float], ...]


def ackley(x: Scalar, y: Scalar) -> Scalar:
    """20 − 20 exp(−‖·‖ / √50) + e − exp(½ cos 2πx + ½ cos 2πy)"""
    s = (x**2 + y**2) / 2
    away = s > 0  # the slope of the root at 0 is set to 0, one of its subgradients
    root = jnp.where(away, jnp.sqrt(jnp.where(away, s, 1.0)), 0.0)
    # cos 2πx − 1 = −2 sin² πx
    ripples = -(jnp.sin(math.pi * x) ** 2) - jnp.sin(math.pi * y) ** 2
    return -20 * jnp.expm1(-0.2 * root) - math.e * jnp.expm1(ripples)


def beale(x: Scalar, y: Scalar) -> Scalar:
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def booth(x: Scalar, y: Scalar) -> Scalar:
    return (x + 2 * y - 7) ** 2 + (2 * x + y - 5) ** 2


def branin(x: Scalar, y: Scalar) -> Scalar:
    """(y − bx² + cx − 6)² + 10 (1 − t) cos x + 10"""
    b, c = 5.1 / (4 * math.pi**2), 5 / math.pi
    return (y - b * x**2 + c * x - 6) ** 2 + 10 * (1 - BRANIN_T) * jnp.cos(x) + 10


def log_sum_exp(x: Scalar, y: Scalar) -> Scalar:
    """ln(exp(x + 3y − 0.1) + exp(x − 3y − 0.1) + exp(−x − 0.1) + 1)"""
    powers = jnp.stack([x + 3 * y - 0.1, x - 3 * y - 0.1, -x - 0.1, jnp.zeros_like(x)])
    largest = jnp.max(powers)
    return largest + jnp.log(jnp.sum(jnp.exp(powers - largest)))


def matyas(x: Scalar, y: Scalar) -> Scalar:
    """0.26 (x² + y²) − 0.48 xy"""
    return 0.02 * (x**2 + y**2) + 0.24 * (x - y) ** 2


def michalewicz(x: Scalar, y: Scalar) -> Scalar:
    """2 − sin(x) sin(x²/π)¹⁰ − sin(y) sin(2y²/π)¹⁰"""
    ridge = lambda i, z: jnp.sin(z) * jnp.sin(i * z**2 / math.pi) ** 10
    return 2 - ridge(1, x) - ridge(2, y)


def rosenbrock(x: Scalar, y: Scalar) -> Scalar:
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def styblinski_tang(x: Scalar, y: Scalar) -> Scalar:
    quartic = lambda z: z**4 - 16 * z**2 + 5 * z
    return (quartic(x) + quartic(y)) / 2 + 80


def box(side: float) -> tuple[tuple[float, float], tuple[float, float]]:
    return (-side, -side), (side, side)


Z = STYBLINSKI_AT
FUNCTIONS = {
    "ackley": Function(ackley, *box(32.768), 0.0, ((0.0, 0.0),)),
    "beale": Function(beale, *box(4.5), 0.0, ((3.0, 0.5),)),
    "booth": Function(booth, *box(10.0), 0.0, ((1.0, 3.0),)),
    "branin": Function(branin, (-5.0, 0.0), (10.0, 15.0), 10 * BRANIN_T, BRANIN_AT),
    "log-sum-exp": Function(
        log_sum_exp,
        None,
        None,
        math.log1p(math.sqrt(8) * math.exp(-0.1)),
        ((-math.log(2) / 2, 0.0),),
    ),
    "matyas": Function(matyas, *box(10.0), 0.0, ((0.0, 0.0),)),
    "michalewicz": Function(
        michalewicz,
        (0.0, 0.0),
        (math.pi, math.pi),
        1 - MICHALEWICZ_TOP,
        ((MICHALEWICZ_AT, math.pi / 2),),
    ),
    "rosenbrock": Function(rosenbrock, (-5.0, -5.0), (10.0, 10.0), 0.0, ((1.0, 1.0),)),
    "styblinski-tang": Function(
        styblinski_tang, *box(5.0), Z**4 - 16 * Z**2 + 5 * Z + 80, ((Z, Z),)
    ),
}


class Formula(AbstractFormula):
    """One function of the table `FUNCTIONS`, by name; the params are (2,).

    - `instances`: if a number, so many points side by side, the params (instances, 2) and f their
      mean; each has a start of its own
    - `start`: if a number, starts are normal with this standard deviation, not those of the table
    """

    function: str = eqx.field(static=True, default="rosenbrock")
    instances: int | None = eqx.field(static=True, default=None)
    start: float | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        if self.function not in FUNCTIONS:
            raise ValueError(
                f"Formula: function must be one of {', '.join(FUNCTIONS)}, got {self.function!r}."
            )
        at_least(1, "Formula", instances=self.instances)
        if self.start is not None:
            check_all_positive("Formula", start=self.start)

    def sample(self, key: Key) -> tuple[()]:
        return ()

    def init(self, instance: tuple[()], key: Key) -> Float[Array, "*instances 2"]:
        row = FUNCTIONS[self.function]
        shape = (2,) if self.instances is None else (self.instances, 2)
        if self.start is not None:
            return self.start * jr.normal(key, shape)
        if row.low is None or row.high is None:
            return jr.normal(key, shape)
        return jr.uniform(key, shape, minval=jnp.array(row.low), maxval=jnp.array(row.high))

    def loss(
        self, instance: tuple[()], batch: tuple[()], key: Key
    ) -> Callable[[Float[Array, "*instances 2"]], Scalar]:
        f = FUNCTIONS[self.function].f
        if self.instances is None:
            return lambda x: f(*x)
        return lambda x: jnp.mean(jax.vmap(lambda point: f(*point))(x))

    def target(self, instance: tuple[()]) -> Float[Array, "*instances 2"] | None:
        """None where several minima are the lowest."""
        at = FUNCTIONS[self.function].at
        shape = (2,) if self.instances is None else (self.instances, 2)
        return jnp.broadcast_to(jnp.array(at[0]), shape) if len(at) == 1 else None

    def metrics(
        self, params: Float[Array, "*instances 2"], instance: tuple[()], batch: tuple[()], key: Key
    ) -> dict[str, Scalar]:
        """`gap`: f(x) − min f, up to rounding. `distance`: to the nearest global minimum.

        Means over the points, where there are several.
        """
        row = FUNCTIONS[self.function]
        least = jnp.array(row.at, params.dtype)

        def at(x: Float[Array, "2"]) -> dict[str, Scalar]:
            away = jnp.linalg.norm(least - x[None], axis=-1)
            return {"gap": row.f(*x) - row.lowest, "distance": jnp.min(away)}

        if self.instances is None:
            return at(params)
        return {name: jnp.mean(each) for name, each in jax.vmap(at)(params).items()}
