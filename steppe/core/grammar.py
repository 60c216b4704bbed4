"""The grammar of formulas: from text to nodes. Nothing is executed. Standard library only.

sum     := term (("+" | "-") term)*
term    := factor (("*" | "/") factor)*
factor  := "-" factor | atom ["^" ["-"] whole]
atom    := number | c0 | name | name "[" whole "]" | "(" sum ")"
         | function "(" sum ("," sum)* ")"
"""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from .messages import brief, did_you_mean
from .nodes import (
    FUNCTIONS,
    OPERATIONS,
    SUM,
    Apply,
    Coefficient,
    Expression,
    Number,
    Variable,
)

LENGTH = 20_000  # characters of a text
NODES = 2_000  # of a formula
DEPTH = 128  # operations in one another
NESTED = 64  # brackets, calls and signs in one another
LAGS = 100  # steps back at most
POWER = 99  # largest whole exponent, either sign
DIGITS = 3  # of a lag, an exponent, the number of a coefficient

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
