"""An update rule that is a formula on flat coordinates, see `rules.py`.

Equations and source are those of `steppe.optimizers.learned.symbolic`, and so are the numbers, to
rounding. The formula is read by the same grammar, and nothing of it is executed.

The time of a step is that of passing over the coordinates. So a value is a tensor with a factor
that is multiplied as late as can be, and what one operation has made, the next one writes over.
"""

import collections
import functools
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.expression import Apply, Coefficient, Expression, Number, Variable, functions, walk
from ..optimizers.formulas import CLAMPED, EPS, Average, Plan, averages_of, canonical, clamped, plan
from .rules import AbstractElementwiseRule, State


def _aq(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    return torch.div(a, torch.mul(b, b).add_(1).sqrt_(), out=out)


OUT: dict[str, Callable] = {  # the same operations, into a tensor that is there
    "+": torch.add, "-": torch.sub, "*": torch.mul, "/": torch.div, "neg": torch.neg,
    "^": torch.pow, "abs": torch.abs, "sqrt": torch.sqrt, "square": torch.square,
    "tanh": torch.tanh, "exp": torch.exp, "log": torch.log, "sign": torch.sign,
    "asinh": torch.asinh, "max": torch.maximum, "min": torch.minimum, "aq": _aq,
}  # fmt: skip


OPERATIONS = functions(torch)


class Value(NamedTuple):
    """factor · x of every coordinate; a number is a factor without x."""

    x: Tensor | None
    factor: float = 1.0
    free: bool = False  # x may be written over


class Scratch:
    """Room for the numbers of a block, and constants, kept from step to step: both take time."""

    def __init__(self, g: Tensor, theta: Tensor, coefficients: Sequence[float]):
        self.like, self.theta = g.new_empty(0), theta
        self.held: list[Tensor] = []
        self.taken: list[Tensor] = []  # of those held, by the block at hand
        self.rows = self.size = 0
        start, theta = g.new_tensor(coefficients), theta.to(g)
        self.c: list[float] = torch.where(start == 0, theta, start * (1 + theta)).tolist()
        self.number = functools.cache(
            functools.partial(torch.tensor, dtype=g.dtype, device=g.device)
        )

    def fits(self, g: Tensor, theta: Tensor) -> bool:
        """True if it is still of these weights, for such gradients."""
        same = (self.like.dtype, self.like.device) == (g.dtype, g.device)
        return same and self.theta is theta

    def begin(self, rows: int) -> None:
        """Make room for a block of so many rows; what was in it is lost."""
        self.taken, self.rows = [], rows
        if rows > self.size:
            self.held, self.size = [], rows

    def take(self) -> Tensor:
        """Room for a number of every row."""
        if len(self.taken) == len(self.held):
            self.held.append(self.like.new_empty(self.size))
        self.taken.append(self.held[len(self.taken)][: self.rows])
        return self.taken[-1]

    def copy(self, v: Value) -> Tensor:
        x: Any = v.x
        return torch.mul(x, v.factor, out=self.take())


class SymbolicRule(AbstractElementwiseRule):
    """Zheng et al. 2022. State: the averages, and the earlier inputs of the formula."""

    scratch: Scratch | None = None

    def __init__(self, weights: Mapping[str, Tensor], hyper: Mapping):
        formula, self.coefficients = canonical(hyper["formula"], hyper["coefficients"])
        self.plan = plan(formula)
        # Inputs that may be written over: used once, and no part of the state.
        uses = collections.Counter(node for node, _ in walk(self.plan.expression))
        self.looked = tuple(name for name, _ in self.plan.lags)  # back at
        own = [name for name in self.plan.names if name.startswith(("mn", "gn", "si"))]
        names = set(own) - set(self.looked)  # each a tensor of its own
        self.spare = {name for name in names if uses[Variable(name)] == 1}
        # The identity of a rule goes by names and weights: here the formula is a part of it.
        self.name = f"{formula} from {self.coefficients}"
        self.weights = {self.name: weights[".theta"]}
        self.rows = {average.name: 1 for average in self.plan.averages}
        self.rows |= {past(name): lags for name, lags in self.plan.lags}

    def advance(self, g: Tensor, state: State, count: int, out: Tensor) -> None:
        theta = self.weights[self.name]
        if self.scratch is None or not self.scratch.fits(g, theta):
            self.scratch = Scratch(g, theta, self.coefficients)
        room = self.scratch
        room.begin(len(g))
        averages = [state[average.name][0] for average in self.plan.averages]
        for (_, power, beta), mean in zip(self.plan.averages, averages, strict=True):
            if power == 1:
                mean.lerp_(g, 1 - beta)
            else:
                mean.mul_(beta).addcmul_(g, g, value=1 - beta)
        now = inputs(self.plan, g, averages, count, room)
        known = {(name, 0): x._replace(free=name in self.spare) for name, x in now.items()}
        for name, lags in self.plan.lags:
            known |= {(name, k + 1): Value(state[past(name)][k]) for k in range(lags)}
        newest = {name: room.copy(now[name]) for name in self.looked}
        u = Evaluation(known, room).of(self.plan.expression, out)
        if u.x is None:
            out.fill_(u.factor)
        elif u.x is not out or u.factor != 1:
            torch.mul(u.x, u.factor, out=out)
        for name, lags in self.plan.lags:
            old = state[past(name)]
            for k in reversed(range(1, lags)):
                old[k].copy_(old[k - 1])
            old[0].copy_(newest[name])


class Evaluation:
    """The evaluation of a formula, node by node."""

    def __init__(self, known: Mapping[tuple[str, int], Value], room: Scratch):
        self.known, self.room = known, room

    def of(self, e: Expression, into: Tensor | None = None) -> Value:
        """The value of a formula, in `into` if its last operation makes a tensor."""
        match e:
            case Number():
                return Value(None, e.value)
            case Coefficient():
                return Value(None, self.room.c[e.index])
            case Variable():
                return self.known[e.name, e.lag]
            case Apply("^", (base, Number() as power)):
                return self.apply("^", [self.of(base)], into, int(power.value))
        return self.apply(e.operation, [self.of(a) for a in e.arguments], into)

    def apply(self, name: str, given: list[Value], into: Tensor | None, *more: int) -> Value:
        """The value of an operation, its factors left for later where that is exact."""
        if all(v.x is None for v in given):
            numbers = [torch.tensor(v.factor, dtype=torch.float64) for v in given]
            return Value(None, float(OUT[name](*numbers, *more)))
        a, b = given[0], given[-1]
        numeric = next((v.factor for v in given if v.x is None), None)
        if name == "neg":
            return a._replace(factor=-a.factor)
        if name == "*" and numeric is not None:
            return (a if b.x is None else b)._replace(factor=a.factor * b.factor)
        if name == "/" and b.x is None and b.factor != 0:
            return a._replace(factor=a.factor / b.factor)
        if name in ("+", "-") and numeric is None:
            sign = 1.0 if name == "+" else -1.0
            if b.factor == 1 and a.factor != 1:  # ±(b ± fa)
                return self.sum(b, a, sign * a.factor, into)._replace(factor=sign)
            return self.sum(self.full(a), b, sign * b.factor, into)
        full = [self.full(v) for v in given]
        out = self.place(into, *full)
        return Value(OUT[name](*(v.x for v in full), *more, out=out), 1.0, True)

    def sum(self, a: Value, b: Value, factor: float, into: Tensor | None) -> Value:
        """a.x + factor · b.x."""
        x, y = typing.cast(Tensor, a.x), typing.cast(Tensor, b.x)
        return Value(torch.add(x, y, alpha=factor, out=self.place(into, a, b)), 1.0, True)

    def full(self, v: Value) -> Value:
        """The same value with a factor of 1."""
        if v.x is None:
            return Value(self.room.number(v.factor))
        if v.factor == 1:
            return v
        return Value(torch.mul(v.x, v.factor, out=self.place(None, v)), 1.0, True)

    def place(self, into: Tensor | None, *given: Value) -> Tensor:
        """Room for a result: what is asked for, a tensor that may go, or fresh room."""
        free = (v.x for v in given if v.free and v.x is not None)
        found = next(free, None) if into is None else into
        return self.room.take() if found is None else found


def of_text(text: str) -> SymbolicRule:
    """The rule of a formula with its numbers, such as "-0.001 * mn9_999".

    ValueError for a text that is no formula, or names inputs that there are not.
    """
    hyper = {"formula": text, "coefficients": None}
    count = len(canonical(text, None)[1])
    return SymbolicRule({".theta": torch.zeros(count)}, hyper)


def inputs(
    plan: Plan, g: Tensor, averages: Sequence[Tensor], count: int, room: Scratch
) -> dict[str, Value]:
    """`formulas.inputs` in fewer passes: √v̂ + ε = k (√v + ε/k), and factors come later."""
    at = dict(zip(plan.averages, averages, strict=True))
    fair = lambda average: 1 / (1 - average.beta**count)  # takes the bias away

    @functools.cache
    def root(v: Average) -> Tensor:
        return torch.sqrt(at[v], out=room.take()).add_(EPS / fair(v) ** 0.5)

    def made(name: str) -> Value:
        if name == "g":
            return Value(g)
        if match := CLAMPED.fullmatch(name):
            p = int(match[2])
            return Value(clamped(g, match[1] == "size", p, OPERATIONS, room.number))
        *first, last = averages_of(name)
        if name.startswith(("mom", "ms")):
            return Value(at[last])
        if not name.startswith(("mn", "gn")):
            return Value(at[last], fair(last))
        x, factor = (at[first[0]], fair(first[0])) if first else (g, 1.0)
        x = torch.div(x, root(last), out=room.take())
        return Value(x, factor / fair(last) ** 0.5)

    return {name: made(name) for name in plan.names}


def past(name: str) -> str:
    """The name, in a state, of what an input was in earlier steps."""
    return f"{name}_past"
