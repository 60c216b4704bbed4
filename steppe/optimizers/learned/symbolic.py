"""Symbolic L2O: an update rule that is a formula, with its numbers trained.

    u = formula(inputs of the coordinate, now and some steps ago; c),   θ ← θ + u
    cᵢ = sᵢ (1 + θᵢ), with sᵢ its value before training; where that is 0, cᵢ = θᵢ

Zheng, Chen, Hu & Wang, "Symbolic learning to optimize: towards interpretability and scalability",
ICLR 2022. A rule of few numbers and no network: it can be read, and costs what Adam costs.
The inputs are those of `optimizers.formulas`, the language is that of `core.expression`.

    Symbolic("-0.01 * tanh(1.3 * mn95)")      formula c0 * tanh(c1 * mn95), begun at (-0.01, 1.3)
    Symbolic("-0.001 * mn9_999")              Adam
    Symbolic("c0 * g / sqrt(ms9 + 1e-8)", (-0.01,))      RMSProp; 1e-8 is not trained

Trained is θ, begun at 0, so that a meta-step changes each number by a share of itself, whatever its
size. The published code trains the numbers themselves.

Departures: coordinates whose update is no finite number add nothing to the meta-gradient (padding
would, of a rule such as g/√v). The derivatives of √x and |x| at 0 are 0.
"""

import functools
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ...core.backend import ALL
from ...core.coordinatewise import AbstractCoordinatewise
from ...core.expression import LENGTH, Expression, evaluate, fill, functions, latex
from ...store.untrusted import Length, Real
from .. import settings
from ..formulas import ADAM, Plan, advance, canonical, inputs, letters, plan
from .coordinates import tanh

Inputs = dict[tuple[str, int], Float[Array, " rows"]]  # by name and lag


class SymbolicState(eqx.Module):
    averages: tuple[Float[Array, " rows"], ...]  # as `Plan.averages`
    past: tuple[Float[Array, "lags rows"], ...]  # as `Plan.lags`; 1 step ago first


class Symbolic(AbstractCoordinatewise):
    """A formula as an update rule. State: an average or an earlier input each is one float.

    - `formula`: text in the language of `core.expression`, naming inputs of `optimizers.formulas`;
      kept with c0, c1, … in place of its numbers
    - `coefficients`: the numbers before training; None: those that stand in the formula. If given,
      the formula names c0, c1, …, and numbers that stand in it are not trained

    What has been learned is `numbers`. ValueError for a text that is no formula, an unknown input,
    or coefficients that are not as many as the formula has.
    """

    elementwise: ClassVar[bool] = True
    theta: Float[Array, " k"]
    formula: str = eqx.field(static=True)
    coefficients: tuple[float, ...] = eqx.field(static=True)

    def __init__(
        self,
        formula: Annotated[str, Length(LENGTH)] = ADAM,
        coefficients: Annotated[tuple[Real, ...], Length(1000)] | None = None,
    ):
        self.formula, self.coefficients = canonical(formula, coefficients)
        settings.of(settings.Symbolic, self)  # raises where one is out of range
        self.theta = jnp.zeros((len(self.coefficients),), jnp.result_type(float))

    @property
    def block(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return ALL

    @property
    def plan(self) -> Plan:
        return plan(self.formula)

    @property
    def numbers(self) -> Float[Array, " k"]:
        """The coefficients c0, c1, … as they are now."""
        return self.numbers_in(self.theta.dtype)

    def numbers_in(self, dtype: jnp.dtype) -> Float[Array, " k"]:
        """The coefficients as they are now, computed in this dtype."""
        start, theta = jnp.asarray(self.coefficients, dtype), self.theta.astype(dtype)
        return jnp.where(start == 0, theta, start * (1 + theta))

    def text(self, digits: int | None = None) -> str:
        """The formula with its numbers, as text that `Symbolic` reads.

        - `digits`: significant ones to which they are rounded, None for all
        """
        return str(self.filled(digits))

    def latex(self, digits: int | None = 4) -> str:
        """The formula with its numbers in LaTeX."""
        return latex(self.filled(digits), letters)

    def filled(self, digits: int | None = None) -> Expression:
        """The formula with its numbers."""
        pairs = zip(self.coefficients, self.theta.tolist(), strict=True)
        numbers = [start * (1 + theta) if start else theta for start, theta in pairs]
        return fill(self.plan.expression, numbers, digits)

    def start(self, rows: int, dtype: jnp.dtype) -> SymbolicState:
        zeros = jnp.zeros((rows,), dtype)
        past = tuple(jnp.zeros((lags, rows), dtype) for _, lags in self.plan.lags)
        return SymbolicState((zeros,) * len(self.plan.averages), past)

    def advance(
        self, g: Float[Array, " rows"], state: SymbolicState, count: Int[Array, ""]
    ) -> tuple[Float[Array, " rows"], SymbolicState]:
        plan, operations = self.plan, OPERATIONS
        averages = advance(plan.averages, state.averages, g)
        number = functools.partial(jnp.asarray, dtype=g.dtype)
        now = inputs(plan, g, averages, count.astype(g.dtype), operations, number)
        variables = {(name, 0): x for name, x in now.items()}
        past = []
        for (name, lags), old in zip(plan.lags, state.past, strict=True):
            variables |= {(name, k + 1): old[k] for k in range(lags)}
            past.append(jnp.concatenate([now[name][None], old[:-1]]))
        u = value(plan.expression, self.numbers_in(g.dtype), variables)
        return jnp.broadcast_to(u, g.shape), SymbolicState(averages, tuple(past))


@jax.custom_jvp
def root(x: Array) -> Array:
    """√x whose derivative at 0 is 0."""
    return jnp.sqrt(x)


@root.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    r = root(*primals)
    zero = r == 0
    return r, jnp.where(zero, 0, 0.5 * tangents[0] / jnp.where(zero, 1, r))


OPERATIONS: Mapping[str, Any] = functions(jnp) | {"sqrt": root, "tanh": tanh}


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def value(e: Expression, c: Float[Array, " k"], variables: Inputs) -> Array:
    """The value of a formula; rows in which it is not finite have the derivative 0."""
    number = functools.partial(jnp.asarray, dtype=c.dtype)
    return evaluate(e, variables, c, OPERATIONS, number)


@value.defjvp
def _(e: Expression, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    c, variables = primals
    u = value(e, c, variables)
    sound = jnp.isfinite(u)
    # A derivative of ∞ times a cotangent of 0 is NaN: such rows take the inputs of a sound one.
    some, first = jnp.any(sound), jnp.argmax(sound)
    safe = {key: jnp.where(some, jnp.where(sound, x, x[first]), 1) for key, x in variables.items()}
    number = functools.partial(jnp.asarray, dtype=c.dtype)
    f = lambda c, x: evaluate(e, x, c, OPERATIONS, number)
    du = jax.jvp(f, (c, safe), tangents)[1]
    return u, jnp.where(sound, du, 0)
