"""Nodes of formulas, the table of their operations, and their text. Standard library only."""

import dataclasses
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

SUM, PRODUCT, SIGN, POWERS, CALL = range(5)  # precedences, the loosest first


@dataclasses.dataclass(frozen=True, slots=True)
class Number:
    """A finite number."""

    value: float

    def __str__(self) -> str:
        return repr(float(self.value)).removesuffix(".0")


@dataclasses.dataclass(frozen=True, slots=True)
class Coefficient:
    """A number that is trained, named by its place: c0, c1, …."""

    index: int

    def __str__(self) -> str:
        return f"c{self.index}"


@dataclasses.dataclass(frozen=True, slots=True)
class Variable:
    """An input by its name, as it was `lag` steps ago."""

    name: str
    lag: int = 0

    def __str__(self) -> str:
        return f"{self.name}[{self.lag}]" if self.lag else self.name


@dataclasses.dataclass(frozen=True, slots=True)
class Apply:
    """An operation, a name of `OPERATIONS`, on its arguments. The exponent of "^" is a `Number`."""

    operation: str
    arguments: tuple["Expression", ...]

    def __str__(self) -> str:
        return _text(self)


Expression = Number | Coefficient | Variable | Apply


class Operation(NamedTuple):
    arity: int
    precedence: int
    latex: str  # %s for each argument
    of: Callable[[Any], Callable]  # the function, from a module such as NumPy, jax.numpy or torch
    closed: bool = False  # its LaTeX encloses the arguments, which need no brackets


def _call(name: str, arity: int = 1) -> str:
    return name + r"\left(" + ", ".join(["%s"] * arity) + r"\right)"


OPERATIONS: dict[str, Operation] = {
    "+": Operation(2, SUM, "%s + %s", lambda xp: operator.add),
    "-": Operation(2, SUM, "%s - %s", lambda xp: operator.sub),
    "*": Operation(2, PRODUCT, r"%s \cdot %s", lambda xp: operator.mul),
    "/": Operation(2, PRODUCT, r"\frac{%s}{%s}", lambda xp: operator.truediv, True),
    "neg": Operation(1, SIGN, "-%s", lambda xp: operator.neg),
    "^": Operation(2, POWERS, "{%s}^{%s}", lambda xp: operator.pow),
    "abs": Operation(1, CALL, r"\left|%s\right|", lambda xp: xp.abs, True),
    "sqrt": Operation(1, CALL, r"\sqrt{%s}", lambda xp: xp.sqrt, True),
    "square": Operation(1, CALL, "{%s}^{2}", lambda xp: xp.square),
    "tanh": Operation(1, CALL, _call(r"\tanh"), lambda xp: xp.tanh, True),
    "exp": Operation(1, CALL, _call(r"\exp"), lambda xp: xp.exp, True),
    "log": Operation(1, CALL, _call(r"\log"), lambda xp: xp.log, True),
    "sign": Operation(1, CALL, _call(r"\operatorname{sign}"), lambda xp: xp.sign, True),
    "asinh": Operation(1, CALL, _call(r"\operatorname{asinh}"), lambda xp: xp.arcsinh, True),
    "max": Operation(2, CALL, _call(r"\max", 2), lambda xp: xp.maximum, True),
    "min": Operation(2, CALL, _call(r"\min", 2), lambda xp: xp.minimum, True),
    "aq": Operation(
        2, CALL, r"\frac{%s}{\sqrt{1 + {\left(%s\right)}^{2}}}",
        lambda xp: lambda a, b: a / xp.sqrt(1 + b * b), True,
    ),
}  # fmt: skip
FUNCTIONS = tuple(name for name, op in OPERATIONS.items() if op.precedence == CALL)


def needs_brackets(e: Apply, k: int, in_latex: bool = False) -> bool:
    """True if argument k of an operation that is no call has to stand in brackets."""
    op, part = OPERATIONS[e.operation], e.arguments[k]
    if e.operation in ("^", "square"):
        if k == 1 or isinstance(part, Coefficient | Variable):
            return False
        if isinstance(part, Number):
            return part.value < 0 or str(part)[0] == "-" or "e" in str(part)
        return in_latex or OPERATIONS[part.operation].precedence < CALL
    if isinstance(part, Number):
        negative = str(part)[0] == "-"
        many = in_latex and "e" in str(part)  # a product in LaTeX
        return e.operation == "neg" or (negative and (k > 0 or op.precedence > PRODUCT)) or (
            many and op.precedence >= PRODUCT and k > 0
        )  # fmt: skip
    if not isinstance(part, Apply):
        return False
    inner = OPERATIONS[part.operation]
    if in_latex and inner.closed:
        return False
    if e.operation == "neg":
        return inner.precedence <= SIGN
    if in_latex and k and inner.precedence == SIGN:
        return True
    return inner.precedence < op.precedence or (k > 0 and inner.precedence == op.precedence)


def _text(e: Expression) -> str:
    if not isinstance(e, Apply):
        return str(e)
    op, parts = OPERATIONS[e.operation], [_text(a) for a in e.arguments]
    if op.precedence == CALL:
        return f"{e.operation}({', '.join(parts)})"
    parts = [f"({p})" if needs_brackets(e, k) else p for k, p in enumerate(parts)]
    if e.operation == "neg":
        return f"-{parts[0]}"
    between = "^" if e.operation == "^" else f" {e.operation} "
    return between.join(parts)
