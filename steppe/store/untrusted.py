"""The gate for files: every name and number that a file gives passes through `checked`.

    source = Source("cert.json", "give a file of `steppe certify`", CertificateError)
    document = parse_json(read_bytes("cert.json", 2**20, source), source)
    certificate = checked(document, Certificate, source)      a dataclass, each field as its hint

A hint says what is allowed, and nothing else passes:

    int, float, bool, str, None      true is no number, 2.0 no int, NaN and infinity no float
    Literal["a", "b"]                a fixed table of names; `OneOf(table)` one made elsewhere
    Annotated[int, Between(0, 9)]    a range, of a number or of each whole number's size
    Annotated[str, Length(80)]       at most so many characters, items or entries
    list[X], tuple[X, ...], dict[str, X], X | None, a dataclass, Any

`parse_json` bounds what comes before: the length of a text, the number of values, their depth, the
size of whole numbers. So memory and time go by the limits here and not by what a file announces.
Standard library only; nothing in a file is called, imported, or looked up by name.
"""

import dataclasses
import functools
import itertools
import json
import math
import os
import stat
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from ..core.messages import nearest

T = TypeVar("T")
VALUES = 1_000_000  # in one JSON text: numbers, words, lists and tables together
DEPTH = 32  # of lists and tables in one another
WHOLE = 2**64  # whole numbers are smaller in size
NAMES = 8  # of a table, in a message


class FileError(ValueError):
    """A file cannot be read as what it should be. The message is one sentence."""


class Source(NamedTuple):
    """A file, or a part of one, as error messages name it.

    - `name`: e.g. "runs/a/metrics.jsonl, line 3"
    - `remedy`: what to do, the end of every sentence
    - `error`: the type that is raised
    """

    name: str
    remedy: str = "restore a copy"
    error: type[FileError] = FileError

    def refuse(self, found: str, expected: str) -> FileError:
        """The error that says what was found and what is right."""
        return self.error(f"{self.name}: found {found}, expected {expected}; {self.remedy}.")

    def part(self, words: str) -> "Source":
        """A part of it, such as a line."""
        return self._replace(name=f"{self.name}, {words}")


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


class NonFinite:
    """A mark: NaN and infinity may stand for this float."""


def read_bytes(path: str | os.PathLike, most: int, source: Source) -> bytes:
    """The bytes of a file on disk, if there are at most `most`."""
    with open_file(path, source) as file:
        size = os.fstat(file.fileno()).st_size
        data = b"" if size > most else file.read(size + 1)  # takes what it is asked for
    if max(size, len(data)) > most:
        raise source.refuse(f"{max(size, len(data))} bytes", f"at most {most}")
    return data


def read_lines(
    path: str | os.PathLike, most: int, source: Source, *, longest: int = 2**23
) -> Iterator[tuple[int, bytes]]:
    """The lines of a file on disk with their numbers from 1, each with its end.

    - `most`: bytes of the file
    - `longest`: bytes of a line
    """
    with open_file(path, source) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise source.refuse(f"{size} bytes", f"at most {most}")
        number = 0
        while line := file.readline(longest + 1):
            number += 1
            if len(line) > longest:
                raise source.part(f"line {number}").refuse(
                    f"more than {longest} bytes", "a shorter line"
                )
            yield number, line


def open_file(path: str | os.PathLike, source: Source) -> typing.BinaryIO:
    """A regular file, open for reading. Pipes and devices, which may never end, are refused."""
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            raise source.refuse(
                "a folder" if stat.S_ISDIR(mode) else "a pipe or device", "a file on disk"
            )
        return open(path, "rb")
    except FileError:
        raise
    except FileNotFoundError:
        raise source.refuse("no file", "one of this name") from None
    except OSError as error:
        raise source.refuse(f"that it cannot be read ({error.strerror})", "a file") from None
    except ValueError:  # a NUL in the name
        raise source.refuse("a name that no file can have", "the name of a file") from None


def parse_json(
    text: bytes | str,
    source: Source,
    *,
    values: int = VALUES,
    depth: int = DEPTH,
    nonfinite: bool = False,
) -> Any:
    """The document of a JSON text.

    - `values`: the most numbers, words, lists and tables together
    - `depth`: the most lists and tables in one another
    - `nonfinite`: the words NaN, Infinity and -Infinity are numbers, as Python writes them
    """
    comma, opening = (b",", (b"[", b"{")) if isinstance(text, bytes) else (",", ("[", "{"))
    if 1 + text.count(comma) + sum(map(text.count, opening)) > values:  # pyright: ignore
        raise source.refuse(f"more than {values} values", "fewer")
    try:
        document = json.loads(text, object_pairs_hook=_table, parse_constant=_constant(nonfinite))
    except RecursionError:
        raise source.refuse(f"more than {depth} levels", "fewer") from None
    except ValueError as error:  # also what is not UTF-8, and names given twice
        raise source.refuse(f"no JSON ({_one_line(error)})", "JSON") from None
    return bounded(document, source, values=values, depth=depth, nonfinite=nonfinite)


def bounded(
    document: Any,
    source: Source,
    *,
    values: int = VALUES,
    depth: int = DEPTH,
    nonfinite: bool = False,
) -> Any:
    """The document of another parser (TOML, YAML), if JSON could say it; limits as above."""
    level, count = [document], 1
    for _ in range(depth + 1):
        below = []
        for value in level:
            if isinstance(value, dict):
                if not all(type(name) is str for name in value):
                    raise source.refuse("a name that is no text", "names and values")
                below += value.values()
            elif isinstance(value, list):
                below += value
            elif type(value) is int and not -WHOLE < value < WHOLE:
                raise source.refuse(shown(value), "64 bits at most")
            elif type(value) is float and not nonfinite and not math.isfinite(value):
                raise source.refuse("NaN or a number too large for a float", "smaller ones")
            elif value is not None and type(value) not in (int, float, str, bool):
                raise source.refuse(shown(value), "numbers, text, lists and tables")
        if not below:
            return document
        level, count = below, count + len(below)
        if count > values:
            raise source.refuse(f"more than {values} values", "fewer")
    raise source.refuse(f"more than {depth} levels", "fewer")


def checked(value: object, hint: type[T] | Any, source: Source, place: str = "") -> T:
    """The value, if it is what the hint says; lists are tuples and tables dataclasses where so.

    - `value`: of types that JSON has
    - `hint`: see above
    - `place`: where in the file it stands, for the message

    Raises the error of `source`, one sentence.
    """
    try:
        return _checker(hint)(value)
    except _Wrong as wrong:
        at = (place + wrong.place).lstrip(".")
        named = source.part(at) if at else source
        raise named.refuse(wrong.found, wrong.expected) from None


def inflated(size: int) -> int:
    """The most bytes that are unpacked from a compressed file of `size` bytes.

    Images of digits shrink to a fifth, one-hot floats to a hundredth, and a bomb to a thousandth.
    """
    return 2**26 + 100 * size


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


class _Wrong(Exception):
    """A value that is not as its hint says; `place` grows on the way out."""

    def __init__(self, found: str, expected: str, place: str = ""):
        self.found, self.expected, self.place = found, expected, place

    def within(self, step: str) -> "_Wrong":
        return _Wrong(self.found, self.expected, step + self.place)


Checker = Callable[[object], Any]


@functools.lru_cache(maxsize=1024)
def _checker(hint: Any) -> Checker:
    """The function that checks a value against a hint."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is object:
        return lambda value: value
    if hint in PLAIN:
        return PLAIN[hint]
    if origin is Annotated:
        return _bounded(arguments[0], arguments[1:])
    if origin is Literal:
        return functools.partial(_literal, arguments)
    if origin in (typing.Union, types.UnionType):
        arms = [arm for arm in arguments if arm is not type(None)]
        nullable = len(arms) < len(arguments)
        return functools.partial(_either, nullable, tuple(map(_checker, arms)))
    if origin is list or (origin is tuple and arguments[1:] == (...,)):
        return functools.partial(_items, origin, _checker(arguments[0]))
    if origin is tuple:
        return functools.partial(_fixed, tuple(map(_checker, arguments)))
    if origin in (dict, Mapping):
        return functools.partial(_entries, _checker(arguments[0]), _checker(arguments[1]))
    if hint in (dict, list):
        return functools.partial(_typed, hint, "a table" if hint is dict else "a list")
    if dataclasses.is_dataclass(hint):
        return functools.partial(_fields, hint)
    raise TypeError(f"{hint} says nothing about values of JSON.")


def _typed(kind: type, words: str, value: object) -> object:
    if type(value) is not kind:
        raise _Wrong(shown(value), words)
    return value


def _float(value: object) -> object:
    if type(value) not in (int, float) or not math.isfinite(_real(value)):
        raise _Wrong(shown(value), "a number")
    return value


def _any_float(value: object) -> object:
    if type(value) not in (int, float):
        raise _Wrong(shown(value), "a number")
    _real(value)
    return value


def _real(value: object) -> float:
    try:
        return float(typing.cast(float, value))
    except OverflowError:
        raise _Wrong(shown(value), "a number that a float can hold") from None


PLAIN: dict[Any, Checker] = {
    bool: functools.partial(_typed, bool, "true or false"),
    int: functools.partial(_typed, int, "a whole number"),
    str: functools.partial(_typed, str, "words"),
    type(None): functools.partial(_typed, type(None), "null"),
    None: functools.partial(_typed, type(None), "null"),
    float: _float,
}


def _bounded(hint: Any, bounds: tuple) -> Checker:
    check = _any_float if NonFinite in bounds else _checker(hint)

    def bounded(value: object) -> Any:
        value = check(value)
        if value is None:
            return value
        for bound in bounds:
            if isinstance(bound, Between) and not bound.low <= value <= bound.high:  # pyright: ignore
                raise _Wrong(shown(value), f"a number from {bound.low} to {bound.high}")
            if isinstance(bound, Length) and not bound.least <= len(value) <= bound.most:  # pyright: ignore
                least = f"{bound.least} to " if bound.least else "at most "
                raise _Wrong(f"a length of {len(value)}", f"{least}{bound.most}")  # pyright: ignore
            if isinstance(bound, OneOf) and value not in bound.table:
                raise _Wrong(shown(value), _known(str(value), bound.table))
        return value

    return bounded


def _literal(allowed: tuple, value: object) -> object:
    if not any(type(value) is type(one) and value == one for one in allowed):
        raise _Wrong(shown(value), "one of " + ", ".join(map(shown, allowed)))
    return value


def _either(nullable: bool, arms: tuple[Checker, ...], value: object) -> object:
    """The value as the first arm has it that takes it; else what the nearest arm says."""
    if value is None and nullable:
        return None
    wrong = []
    for arm in arms:
        try:
            return arm(value)
        except _Wrong as error:
            wrong.append(error)
    deepest = max(wrong, key=lambda error: len(error.place))
    if deepest.place:
        raise deepest
    words = [error.expected for error in wrong] + ["null"] * nullable
    raise _Wrong(shown(value), " or ".join(words))


def _items(kind: type, check: Checker, value: object) -> object:
    if type(value) is not list:
        raise _Wrong(shown(value), "a list")
    found = []
    for i, item in enumerate(value):
        try:
            found.append(check(item))
        except _Wrong as wrong:
            raise wrong.within(f"[{i}]") from None
    return kind(found)


def _fixed(checks: tuple[Checker, ...], value: object) -> tuple:
    if type(value) is not list or len(value) != len(checks):
        raise _Wrong(shown(value), f"a list of {len(checks)}")
    found = []
    for i, (check, item) in enumerate(zip(checks, value, strict=True)):
        try:
            found.append(check(item))
        except _Wrong as wrong:
            raise wrong.within(f"[{i}]") from None
    return tuple(found)


def _entries(name: Checker, check: Checker, value: object) -> dict:
    if type(value) is not dict:
        raise _Wrong(shown(value), "a table")
    found = {}
    for key, item in value.items():
        try:
            found[name(key)] = check(item)
        except _Wrong as wrong:
            raise wrong.within(f".{_word(key)}") from None
    return found


def _fields(cls: Any, value: object) -> object:
    """A dataclass of a table that has its fields and no others."""
    if type(value) is not dict:
        raise _Wrong(shown(value), "a table")
    checks, needed = _fields_of(cls)
    for name in value:
        if name not in checks:
            raise _Wrong(f"the entry {shown(name)}", _known(name, checks))
    for name in needed:
        if name not in value:
            raise _Wrong(f"no entry {name!r}", "one")
    given = {}
    for name, item in value.items():
        try:
            given[name] = checks[name](item)
        except _Wrong as wrong:
            raise wrong.within(f".{name}") from None
    try:
        return cls(**given)
    except ValueError as error:  # what no single field can say
        raise _Wrong(_one_line(error), f"a valid {cls.__name__}") from None


@functools.lru_cache(maxsize=256)
def _fields_of(cls: Any) -> tuple[dict[str, Checker], list[str]]:
    """The checkers of a dataclass by field, and the fields that have no default."""
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = [field for field in dataclasses.fields(cls) if field.init]
    missing = dataclasses.MISSING
    needed = [f.name for f in fields if f.default is missing and f.default_factory is missing]
    return {field.name: _checker(hints[field.name]) for field in fields}, needed


def _known(name: str, table: Collection[str]) -> str:
    """The name of a table that may be meant, or the first of them."""
    table = sorted(map(str, table))
    near = nearest(name[:80], table)
    more = ", …" if len(table) > NAMES else ""
    return f"a known name such as {near!r}" if near else f"one of {', '.join(table[:NAMES])}{more}"


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name is given twice in one table")
    return table


def _constant(nonfinite: bool) -> Callable[[str], float]:
    def constant(word: str) -> float:
        if not nonfinite:
            raise ValueError(f"{word} is no number of JSON")
        return float(word)

    return constant


def _word(name: object) -> str:
    return (
        name if isinstance(name, str) and name.isidentifier() and len(name) <= 40 else shown(name)
    )


def _one_line(error: Exception) -> str:
    words = " ".join(str(error).split())[:200]
    return "".join(letter if letter.isprintable() else "?" for letter in words)
