"""Formulas: a small language for update rules, read by a grammar and never executed.

    e = parse("-0.01 * tanh(1.3 * mn95) + 0.002 * g[3]")
    str(e), size(e), latex(e)              text that parses back to e; nodes; LaTeX
    lift(e)                                e with c0, c1, … for its numbers, and the numbers
    evaluate(e, {("mn95", 0): x, …}, c, functions(jnp))

    sum     := term (("+" | "-") term)*
    term    := factor (("*" | "/") factor)*
    factor  := "-" factor | atom ["^" ["-"] whole]
    atom    := number | c0 | name | name "[" whole "]" | "(" sum ")"
             | function "(" sum ("," sum)* ")"

`name[3]` is the variable as it was 3 steps ago. Functions mean what NumPy means by them, nothing is
protected: the square root of −1 is NaN, the logarithm of 0 is −∞. So the text, its LaTeX and all
programs that run it say the same function. `aq(a, b)` is a/√(1 + b²), a quotient without a pole.
Operations stand once, in `OPERATIONS`. Standard library only.
"""

import dataclasses
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .messages import brief, did_you_mean

LENGTH = 20_000  # characters of a text
NODES = 2_000  # of a formula
DEPTH = 128  # operations in one another
NESTED = 64  # brackets, calls and signs in one another
LAGS = 100  # steps back at most
POWER = 99  # largest whole exponent, either sign
DIGITS = 3  # of a lag, an exponent, the number of a coefficient

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
            f"\\left({letters(a)}\\right)" if not op.closed and _needs_brackets(e, k, True) else
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


def _needs_brackets(e: Apply, k: int, in_latex: bool = False) -> bool:
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
    parts = [f"({p})" if _needs_brackets(e, k) else p for k, p in enumerate(parts)]
    if e.operation == "neg":
        return f"-{parts[0]}"
    between = "^" if e.operation == "^" else f" {e.operation} "
    return between.join(parts)


TOKEN = re.compile(
    r"[ \t\n]*(?:(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>[a-z][a-z0-9_]*)|(?P<mark>[-+*/^(),\[\]])|(?P<end>\Z)|(?P<other>.))",
    re.ASCII | re.DOTALL,
)
COEFFICIENT = re.compile(r"c[0-9]+", re.ASCII)


class Token(NamedTuple):
    kind: str  # number, name, mark, end
    text: str
    place: int  # counted from 1

    def __str__(self) -> str:
        return "its end" if self.kind == "end" else brief(self.text)


def parse(text: str) -> Expression:
    """The formula that a text says. ValueError, in one sentence, for any other text."""
    if not isinstance(text, str):
        raise ValueError(f"Formula: expected a text such as '-0.01 * g', got {brief(text)}.")
    if len(text) > LENGTH:
        raise ValueError(f"Formula: {len(text)} characters are too many, at most {LENGTH}.")
    return _Parser(text).all()


class _Parser:
    """Precedence climbing; `level` counts the brackets, calls and signs around a place."""

    def __init__(self, text: str):
        self.tokens = _tokens(text)
        self.token = next(self.tokens)
        self.nodes = 0

    def all(self) -> Expression:
        e = self.operation(SUM, 0)[0]
        if self.token.kind != "end":
            self.refuse("an operator or the end")
        return e

    def operation(self, least: int, level: int) -> tuple[Expression, int]:
        """A formula of operators that bind at least so tightly, and its depth."""
        left, depth = self.factor(level)
        while self.token.text in ("+", "-", "*", "/"):
            op = OPERATIONS[self.token.text]
            if op.precedence < least:
                break
            name = self.take().text
            right, other = self.operation(op.precedence + 1, level)
            depth = 1 + max(depth, other)
            left = self.node(Apply(name, (left, right)), depth)
        return left, depth

    def factor(self, level: int) -> tuple[Expression, int]:
        """An atom, with its sign and its exponent."""
        signs = 0
        while self.token.text == "-":
            self.take()
            signs += 1
            self.enter(level + signs)
        literal = self.token.kind == "number"
        e, depth = self.atom(level + signs)
        if self.token.text == "^":
            self.take()
            power = self.whole("an exponent", POWER, signed=True)
            depth, literal = depth + 1, False
            self.node(power, depth)
            e = self.node(Apply("^", (e, power)), depth)
            if self.token.text == "^":
                self.refuse("brackets around a power of a power")
        if signs and literal and isinstance(e, Number):
            e, signs = Number(-e.value), signs - 1
        for _ in range(signs):
            depth += 1
            e = self.node(Apply("neg", (e,)), depth)
        return e, depth

    def atom(self, level: int) -> tuple[Expression, int]:
        token = self.take("a number, a name or '('")
        if token.kind == "number":
            value = float(token.text)
            if not math.isfinite(value):
                self.refuse("a finite number", token)
            return self.node(Number(value), 1), 1
        if token.text == "(":
            found = self.operation(SUM, self.enter(level + 1))
            self.expect(")")
            return found
        if token.kind != "name":
            self.refuse("a number, a name or '('", token)
        if self.token.text == "(":
            return self.call(token, level)
        if token.text in OPERATIONS:
            self.refuse(f"'(' after {token.text}")
        if COEFFICIENT.fullmatch(token.text):
            digits = token.text[1:]
            if len(digits) > DIGITS or str(int(digits)) != digits:
                self.refuse(f"a coefficient from c0 to c{10**DIGITS - 1}", token)
            return self.node(Coefficient(int(digits)), 1), 1
        lag = 0
        if self.token.text == "[":
            self.take()
            lag = int(self.whole("a lag", LAGS).value)
            self.expect("]")
        return self.node(Variable(token.text, lag), 1), 1

    def call(self, name: Token, level: int) -> tuple[Expression, int]:
        if name.text not in FUNCTIONS:
            known = did_you_mean(name.text[:80], FUNCTIONS)
            raise ValueError(f"Formula: there is no function {brief(name.text)}; {known}")
        self.take()
        level = self.enter(level + 1)
        found = [self.operation(SUM, level)]
        while self.token.text == ",":
            self.take()
            found.append(self.operation(SUM, level))
        arity = OPERATIONS[name.text].arity
        if len(found) != arity:
            raise ValueError(
                f"Formula: {name.text} at character {name.place} has {len(found)} arguments, "
                f"expected {arity}."
            )
        self.expect(")")
        depth = 1 + max(depth for _, depth in found)
        return self.node(Apply(name.text, tuple(e for e, _ in found)), depth), depth

    def whole(self, what: str, most: int, signed: bool = False) -> Number:
        """A whole number of at most this size."""
        expected = f"{what}, a whole number from {-most if signed else 0} to {most}"
        minus = signed and self.token.text == "-"
        if minus:
            self.take()
        token = self.take(expected)
        if not token.text.isdigit() or len(token.text) > DIGITS or int(token.text) > most:
            self.refuse(expected, token)
        return Number(float(-int(token.text) if minus else int(token.text)))

    def take(self, expected: str = "") -> Token:
        """The next token, which must not be the end."""
        token = self.token
        if token.kind == "end":
            self.refuse(expected)
        self.token = next(self.tokens)
        return token

    def expect(self, mark: str) -> None:
        if self.token.text != mark:
            self.refuse(f"an operator or {mark!r}" if mark == ")" else repr(mark))
        self.take()

    def node(self, e: Expression, depth: int) -> Expression:
        self.nodes += 1
        if self.nodes > NODES:
            raise ValueError(f"Formula: more than {NODES} operations, numbers and variables.")
        self.enter(depth, DEPTH)
        return e

    def enter(self, level: int, most: int = NESTED) -> int:
        if level > most:
            what = "operations" if most == DEPTH else "brackets or signs"
            raise ValueError(
                f"Formula: at character {self.token.place} {what} stand more than {most} deep in "
                "one another; write it flatter."
            )
        return level

    def refuse(self, expected: str, token: Token | None = None) -> None:
        found = token or self.token
        raise ValueError(f"Formula: at character {found.place} found {found}, expected {expected}.")


def _tokens(text: str) -> Iterator[Token]:
    """The tokens of a text; the last one, its end, again and again."""
    place = 0
    while True:
        match = TOKEN.match(text, place)
        assert match is not None  # any character is one
        kind = str(match.lastgroup)
        token = Token(kind, match[kind], match.start(kind) + 1)
        if kind == "other":
            raise ValueError(
                f"Formula: at character {token.place} found {brief(token.text)}, which no formula "
                "has; it is made of numbers, small letters, digits, _ and + - * / ^ ( ) [ ] ,."
            )
        yield token
        place = match.end()
