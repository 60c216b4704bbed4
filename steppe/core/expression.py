"""Formulas: a small language for update rules, read by a grammar and never executed.

    e = parse("-0.01 * tanh(1.3 * mn95) + 0.002 * g[3]")
    str(e), size(e), latex(e)              text that parses back to e; nodes; LaTeX
    lift(e)                                e with c0, c1, … for its numbers, and the numbers
    evaluate(e, {("mn95", 0): x, …}, c, functions(jnp))

`name[3]` is the variable as it was 3 steps ago. Functions mean what NumPy means by them, nothing is
protected: the square root of −1 is NaN, the logarithm of 0 is −∞. So the text, its LaTeX and all
programs that run it say the same function. `aq(a, b)` is a/√(1 + b²), a quotient without a pole.
The grammar is that of `grammar.py`; operations stand once, in the table of `nodes.py`. Standard
library only.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from .grammar import DEPTH, LENGTH, NESTED, parse
from .messages import brief
from .nodes import (
    CALL,
    FUNCTIONS,
    OPERATIONS,
    Apply,
    Coefficient,
    Expression,
    Number,
    Operation,
    Variable,
    needs_brackets,
)

__all__ = [
    "CALL", "DEPTH", "FUNCTIONS", "LENGTH", "NESTED", "OPERATIONS", "Apply", "Coefficient",
    "Expression", "Number", "Operation", "Variable", "coefficients", "evaluate", "fill",
    "functions", "latex", "lift", "parse", "rewrite", "size", "variables", "walk",
]  # fmt: skip


def functions(xp: Any) -> dict[str, Callable]:
    """The functions of all operations, from a module that names them as NumPy does."""
    return {name: op.of(xp) for name, op in OPERATIONS.items()}


def evaluate(
    e: Expression,
    variables: Mapping[tuple[str, int], Any],
    coefficients: Sequence[Any] | Any,
    operations: Mapping[str, Callable],
    number: Callable[[float], Any] = float,
) -> Any:
    """The value of a formula.

    - `variables`: by name and lag
    - `coefficients`: c0, c1, …
    - `operations`: functions by the names of `OPERATIONS`, such as `functions(numpy)`
    - `number`: makes a constant of a number, where a float will not do
    """

    def value(e: Expression) -> Any:
        match e:
            case Number():
                return number(e.value)
            case Coefficient():
                return coefficients[e.index]
            case Variable():
                return variables[e.name, e.lag]
            case Apply("^", (base, Number() as power)):
                return operations["^"](value(base), int(power.value))
            case Apply():
                return operations[e.operation](*map(value, e.arguments))

    return value(e)


def walk(e: Expression) -> Iterator[tuple[Expression, int]]:
    """Every node with its depth, from 1, the outermost first and from left to right."""
    todo = [(e, 1)]
    while todo:
        node, depth = todo.pop()
        yield node, depth
        if isinstance(node, Apply):
            todo += [(argument, depth + 1) for argument in reversed(node.arguments)]


def size(e: Expression) -> int:
    """Number of nodes: every operation, number, coefficient and variable counts 1."""
    return sum(1 for _ in walk(e))


def variables(e: Expression) -> tuple[Variable, ...]:
    """The variables, each once, in the order of their names and lags."""
    found = {node for node, _ in walk(e) if isinstance(node, Variable)}
    return tuple(sorted(found, key=lambda v: (v.name, v.lag)))


def coefficients(e: Expression) -> int:
    """Count the coefficients. ValueError unless they are c0, c1, … without a gap."""
    found = {node.index for node, _ in walk(e) if isinstance(node, Coefficient)}
    if gaps := sorted(set(range(len(found))) - found):
        raise ValueError(
            f"Formula: c{max(found)} is there but c{gaps[0]} is not; number the coefficients "
            "c0, c1, … without a gap."
        )
    return len(found)


def rewrite(e: Expression, leaf: Callable[[Expression], Expression]) -> Expression:
    """The formula with `leaf` of every number, coefficient and variable, but not of exponents."""
    match e:
        case Apply("^", (base, power)):
            return Apply("^", (rewrite(base, leaf), power))
        case Apply():
            return Apply(e.operation, tuple(rewrite(a, leaf) for a in e.arguments))
    return leaf(e)


def lift(e: Expression) -> tuple[Expression, tuple[float, ...]]:
    """The formula with c0, c1, … in place of its numbers, from left to right, and the numbers.

    Exponents stay. ValueError for a formula that has coefficients already.
    """
    if coefficients(e):
        raise ValueError(f"Formula: {brief(str(e))} has coefficients already; `fill` them first.")
    found: list[float] = []

    def leaf(e: Expression) -> Expression:
        if not isinstance(e, Number):
            return e
        found.append(e.value)
        return Coefficient(len(found) - 1)

    return rewrite(e, leaf), tuple(found)


def fill(e: Expression, numbers: Sequence[float], digits: int | None = None) -> Expression:
    """The formula with numbers in place of its coefficients.

    - `digits`: significant ones to which every number is rounded, None for all
    """
    rounded = lambda x: Number(float(x) if digits is None else float(f"{float(x):.{digits}g}"))

    def leaf(e: Expression) -> Expression:
        if isinstance(e, Coefficient):
            return rounded(numbers[e.index])
        return rounded(e.value) if isinstance(e, Number) else e

    return rewrite(e, leaf)


def latex(e: Expression, names: Callable[[Variable], str] | None = None) -> str:
    r"""The formula in LaTeX; it says the same function as the text, brackets and all.

    - `names`: LaTeX of a variable; where it is not given, `mn95[3]` is `\mathrm{mn95}_{t-3}`
    """

    def letters(e: Expression) -> str:
        match e:
            case Number():
                return _decimal(e)
            case Coefficient():
                return f"c_{{{e.index}}}"
            case Variable():
                return (names or _upright)(e)
        op = OPERATIONS[e.operation]
        parts = [
            f"\\left({letters(a)}\\right)" if not op.closed and needs_brackets(e, k, True) else
            letters(a)
            for k, a in enumerate(e.arguments)
        ]  # fmt: skip
        return op.latex % tuple(parts)

    return letters(e)


def _upright(v: Variable) -> str:
    name = v.name.replace("_", r"\_")
    return f"\\mathrm{{{name}}}" + (f"_{{t-{v.lag}}}" if v.lag else "")


def _decimal(e: Number) -> str:
    mantissa, _, exponent = str(e).partition("e")
    return f"{mantissa} \\cdot 10^{{{int(exponent)}}}" if exponent else mantissa
