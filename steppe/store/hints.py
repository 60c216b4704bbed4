"""Type hints as checks of values from a file; the hints are listed in `untrusted.py`.

A hint becomes, once, a function from a value to the value as its hint has it: lists as tuples,
tables as dataclasses. What does not fit raises `Wrong`, which knows the place.
"""

import dataclasses
import functools
import itertools
import math
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Literal

from ..core.messages import nearest

NAMES = 8  # of a table, in a message


@dataclasses.dataclass(frozen=True)
class Between:
    """A range of numbers, both ends included."""

    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Length:
    """A largest number of characters, items or entries, and a least one."""

    most: int
    least: int = 0


@dataclasses.dataclass(frozen=True, eq=False)  # a table need not be hashable
class OneOf:
    """A fixed table of names."""

    table: Collection[str]


@dataclasses.dataclass(frozen=True)
class Check:
    """A check of one's own: a function that returns the value as it is to be, or raises `Wrong`."""

    check: Callable[[object], object]


@dataclasses.dataclass(frozen=True, eq=False)
class ByName:
    """Tables of several kinds: the entry `entry` says which of the hints is that of a table."""

    entry: str
    hints: Mapping[str, Any]


def _as_real(value: object) -> object:
    if type(value) is int and not -(2**31) <= value < 2**31:  # no array takes it
        raise Wrong(shown(value), "a number with a decimal point")
    return value


Real = Annotated[float, Check(_as_real)]  # a float that is calculated with; small whole ones pass


class NonFinite:
    """A mark: NaN and infinity may stand for this float."""


class Line:
    """A mark: a text of one line, of characters that can be shown."""


def listed(names: Collection[object]) -> str:
    """The names that a file gives, short and safe to print; the first few of many.

    >>> listed(["a", "b\\n"]), listed([])
    ("a, 'b\\\\n'", '(none)')
    """
    few = [_word(name) for name in itertools.islice(names, NAMES)]
    return ", ".join(few + ["…"] * (len(names) > NAMES)) or "(none)"


def shown(value: object) -> str:
    """A short description of a value from a file, safe to print.

    >>> shown("a" * 99), shown(10**99), shown([1, 2]), shown(None), shown(True)
    ("'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…'", 'a whole number of 329 bits', \
'a list of 2', 'null', 'true')
    """
    if isinstance(value, str):
        return repr(value) if len(value) <= 40 else repr(value[:40] + "…")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > 64:
        return f"a whole number of {value.bit_length()} bits"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, Mapping):
        return f"a table of {len(value)}"
    if value is None:
        return "null"
    return repr(value) if isinstance(value, int | float) else f"a {type(value).__name__}"


class Wrong(Exception):
    """A value that is not as its hint says; `place` grows on the way out."""

    def __init__(self, found: str, expected: str, place: str = ""):
        self.found, self.expected, self.place = found, expected, place

    def within(self, step: str) -> "Wrong":
        return Wrong(self.found, self.expected, step + self.place)


Checker = Callable[[object], Any]


@functools.lru_cache(maxsize=1024)
def checker(hint: Any) -> Checker:
    """The function that checks a value against a hint."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is object:
        return lambda value: value
    if hint in PLAIN:
        return PLAIN[hint]
    if origin is Annotated and isinstance(arguments[1], ByName):
        return functools.partial(_by_name, arguments[1])
    if origin is Annotated:
        return _bounded(arguments[0], arguments[1:])
    if origin is Literal:
        return functools.partial(_literal, arguments)
    if origin in (typing.Union, types.UnionType):
        arms = [arm for arm in arguments if arm is not type(None)]
        nullable = len(arms) < len(arguments)
        return functools.partial(_either, nullable, tuple(map(checker, arms)))
    if origin is list or (origin is tuple and arguments[1:] == (...,)):
        return functools.partial(_items, origin, checker(arguments[0]))
    if origin is tuple:
        return functools.partial(_fixed, tuple(map(checker, arguments)))
    if origin in (dict, Mapping):
        return functools.partial(_entries, checker(arguments[0]), checker(arguments[1]))
    if hint in (dict, list):
        return functools.partial(_typed, hint, "a table" if hint is dict else "a list")
    if typing.is_typeddict(hint):
        return table(*_fields_of(hint))
    if dataclasses.is_dataclass(hint):
        return functools.partial(_fields, hint)
    raise TypeError(f"{hint} says nothing about values of JSON.")


def _typed(kind: type, words: str, value: object) -> object:
    if type(value) is not kind:
        raise Wrong(shown(value), words)
    return value


def _float(value: object) -> object:
    if type(value) not in (int, float) or not math.isfinite(_real(value)):
        raise Wrong(shown(value), "a number")
    return value


def _any_float(value: object) -> object:
    if type(value) not in (int, float):
        raise Wrong(shown(value), "a number")
    _real(value)
    return value


def _real(value: object) -> float:
    try:
        return float(typing.cast(float, value))
    except OverflowError:
        raise Wrong(shown(value), "a number that a float can hold") from None


PLAIN: dict[Any, Checker] = {
    bool: functools.partial(_typed, bool, "true or false"),
    int: functools.partial(_typed, int, "a whole number"),
    str: functools.partial(_typed, str, "words"),
    type(None): functools.partial(_typed, type(None), "null"),
    None: functools.partial(_typed, type(None), "null"),
    float: _float,
}


def _bounded(hint: Any, bounds: tuple) -> Checker:
    check = _any_float if NonFinite in bounds else checker(hint)

    def bounded(value: object) -> Any:
        value = check(value)
        for bound in bounds:
            if isinstance(bound, Check):
                value = bound.check(value)
        if value is None:
            return value
        for bound in bounds:
            if isinstance(bound, Between) and not bound.low <= value <= bound.high:  # pyright: ignore
                raise Wrong(shown(value), f"a number from {bound.low} to {bound.high}")
            if isinstance(bound, Length) and not bound.least <= len(value) <= bound.most:  # pyright: ignore
                least = f"{bound.least} to " if bound.least else "at most "
                raise Wrong(f"a length of {len(value)}", f"{least}{bound.most}")  # pyright: ignore
            if isinstance(bound, OneOf) and value not in bound.table:
                raise Wrong(shown(value), _known(str(value), bound.table))
            if bound is Line and not value.isprintable():  # pyright: ignore
                raise Wrong(shown(value), "one line of characters that can be shown")
        return value

    return bounded


def _literal(allowed: tuple, value: object) -> object:
    if not any(type(value) is type(one) and value == one for one in allowed):
        raise Wrong(shown(value), "one of " + ", ".join(map(shown, allowed)))
    return value


def _either(nullable: bool, arms: tuple[Checker, ...], value: object) -> object:
    """The value as the first arm has it that takes it; else what the nearest arm says."""
    if value is None and nullable:
        return None
    wrong = []
    for arm in arms:
        try:
            return arm(value)
        except Wrong as error:
            wrong.append(error)
    deepest = max(wrong, key=lambda error: len(error.place))
    if deepest.place:
        raise deepest
    words = [error.expected for error in wrong] + ["null"] * nullable
    words = " or ".join(words).split(" or ")  # of arms in arms, each once
    raise Wrong(shown(value), " or ".join(dict.fromkeys(words)))


def _items(kind: type, check: Checker, value: object) -> object:
    if type(value) is not list:
        raise Wrong(shown(value), "a list")
    found = []
    for i, item in enumerate(value):
        try:
            found.append(check(item))
        except Wrong as wrong:
            raise wrong.within(f"[{i}]") from None
    return kind(found)


def _fixed(checks: tuple[Checker, ...], value: object) -> tuple:
    if type(value) is not list or len(value) != len(checks):
        raise Wrong(shown(value), f"a list of {len(checks)}")
    found = []
    for i, (check, item) in enumerate(zip(checks, value, strict=True)):
        try:
            found.append(check(item))
        except Wrong as wrong:
            raise wrong.within(f"[{i}]") from None
    return tuple(found)


def _entries(name: Checker, check: Checker, value: object) -> dict:
    if type(value) is not dict:
        raise Wrong(shown(value), "a table")
    found = {}
    for key, item in value.items():
        try:
            found[name(key)] = check(item)
        except Wrong as wrong:
            raise wrong.within(f".{_word(key)}") from None
    return found


def table(checks: Mapping[str, Checker], needed: Collection[str]) -> Checker:
    """The check of a table that has these entries, the needed ones at least, and no others."""

    def check(value: object) -> dict[str, Any]:
        if type(value) is not dict:
            raise Wrong(shown(value), "a table")
        for name in value:
            if name not in checks:
                raise Wrong(f"the entry {shown(name)}", _known(name, checks))
        for name in needed:
            if name not in value:
                raise Wrong(f"no entry {name!r}", "one")
        found = {}
        for name, item in value.items():
            try:
                found[name] = checks[name](item)
            except Wrong as wrong:
                raise wrong.within(f".{name}") from None
        return found

    return check


def _by_name(kinds: ByName, value: object) -> object:
    if type(value) is not dict:
        raise Wrong(shown(value), "a table")
    if kinds.entry not in value:
        raise Wrong(f"no entry {kinds.entry!r}", "one")
    name = value[kinds.entry]
    if type(name) is not str or name not in kinds.hints:
        known = ", ".join(map(repr, list(kinds.hints)[:NAMES]))
        raise Wrong(shown(name), f"one of {known}", f".{kinds.entry}")
    return checker(kinds.hints[name])(value)


def _fields(cls: Any, value: object) -> object:
    """A dataclass of a table that has its fields and no others."""
    given = table(*_fields_of(cls))(value)
    try:
        return cls(**given)
    except ValueError as error:  # what no single field can say
        raise Wrong(one_line(error), f"a valid {cls.__name__}") from None


@functools.lru_cache(maxsize=256)
def _fields_of(cls: Any) -> tuple[dict[str, Checker], list[str]]:
    """The checkers of a dataclass or TypedDict by field, and the fields that must be there."""
    hints = typing.get_type_hints(cls, include_extras=True)
    if typing.is_typeddict(cls):
        return {name: checker(hint) for name, hint in hints.items()}, sorted(cls.__required_keys__)
    fields = [field for field in dataclasses.fields(cls) if field.init]
    missing = dataclasses.MISSING
    needed = [f.name for f in fields if f.default is missing and f.default_factory is missing]
    return {field.name: checker(hints[field.name]) for field in fields}, needed


def _known(name: str, table: Collection[str]) -> str:
    """The name of a table that may be meant, or the first of them."""
    table = sorted(map(str, table))
    near = nearest(name[:80], table)
    more = ", …" if len(table) > NAMES else ""
    return f"a known name such as {near!r}" if near else f"one of {', '.join(table[:NAMES])}{more}"


def _word(name: object) -> str:
    return (
        name if isinstance(name, str) and name.isidentifier() and len(name) <= 40 else shown(name)
    )


def one_line(error: Exception) -> str:
    """The message of an error, short and on one line."""
    return printable(" ".join(str(error).split())[:200])


def printable(text: str) -> str:
    """The text with a question mark for each character that would not show."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
