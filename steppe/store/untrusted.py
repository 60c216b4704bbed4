"""The gate for files: every name and number that a file gives passes through `checked`.

    source = Source("cert.json", "give a file of `steppe certify`", CertificateError)
    document = parse_json(read_bytes("cert.json", 2**20, source), source)
    certificate = checked(document, Certificate, source)      a dataclass, each field as its hint

A hint says what is allowed, and nothing else passes:

    int, float, bool, str, None      true is no number, 2.0 no int, NaN and infinity no float
    Literal["a", "b"]                a fixed table of names; `OneOf(table)` one made elsewhere
    Annotated[int, Between(0, 9)]    a range, of a number or of each whole number's size
    Annotated[str, Length(80)]       at most so many characters, items or entries
    Annotated[str, Line]             one line, all of which can be shown
    Annotated[dict, ByName("type", {"leaf": Leaf, …})]     the hint that one entry names
    list[X], tuple[X, ...], dict[str, X], X | None, a dataclass, a TypedDict, Any

`parse_json` bounds what comes before: the length of a text, the number of values, their depth, the
size of whole numbers. So memory and time go by the limits here and not by what a file announces.
Standard library only; nothing in a file is called, imported, or looked up by name.
"""

import io
import json
import math
import os
import stat
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from .hints import (
    Between,
    ByName,
    Length,
    Line,
    NonFinite,
    OneOf,
    Real,
    Wrong,
    checker,
    listed,
    one_line,
    printable,
    shown,
    table,
)

__all__ = [
    "Between",
    "ByName",
    "FileError",
    "Length",
    "Line",
    "NonFinite",
    "OneOf",
    "Real",
    "Source",
    "bounded",
    "built",
    "checked",
    "checked_table",
    "inflated",
    "listed",
    "open_file",
    "parse_json",
    "parse_toml",
    "read_bytes",
    "read_lines",
    "shown",
]

T = TypeVar("T")
VALUES = 1_000_000  # in one JSON text: numbers, words, lists and tables together
DEPTH = 32  # of lists and tables in one another
LINE, BRACKETS = 4000, 1000  # of a TOML text
WHOLE = 2**64  # whole numbers are smaller in size


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
        sentence = f"{self.name}: found {found}, expected {expected}; {self.remedy}."
        return self.error(printable(sentence))

    def part(self, words: str) -> "Source":
        """A part of it, such as a line; long names that a file gives are cut short."""
        return self._replace(name=f"{self.name}, {words[:200]}")


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


def open_file(path: str | os.PathLike, source: Source) -> io.BufferedReader:
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
    whole: int = WHOLE,
    nonfinite: bool = False,
) -> Any:
    """The document of a JSON text.

    - `values`: the most numbers, words, lists and tables together
    - `depth`: the most lists and tables in one another
    - `whole`: whole numbers are smaller in size
    - `nonfinite`: the words NaN, Infinity and -Infinity are numbers, as Python writes them
    """
    comma, opening = (b",", (b"[", b"{")) if isinstance(text, bytes) else (",", ("[", "{"))
    if 1 + text.count(comma) + sum(map(text.count, opening)) > values:  # pyright: ignore
        raise source.refuse(f"more than {values} values", "fewer")
    try:
        document = json.loads(text, object_pairs_hook=_pairs, parse_constant=_constant(nonfinite))
    except RecursionError:
        raise source.refuse(f"more than {depth} levels", "fewer") from None
    except ValueError as error:  # also what is not UTF-8, and names given twice
        raise source.refuse(f"no JSON ({one_line(error)})", "JSON") from None
    return bounded(document, source, values=values, depth=depth, whole=whole, nonfinite=nonfinite)


def read_document(
    path: str | os.PathLike, source: Source, *, most: int = 2**24, nonfinite: bool = False
) -> Any:
    """The document of a JSON file.

    - `most`: bytes of the file
    - `nonfinite`: as in `parse_json`
    """
    return parse_json(read_bytes(path, most, source), source, nonfinite=nonfinite)


def parse_toml(text: bytes, source: Source, *, values: int = 10_000) -> dict[str, Any]:
    """The table of a TOML text. Long lines and many brackets, which cost squares, are refused.

    - `values`: the most numbers, words, lists and tables together
    """
    if max(map(len, text.split(b"\n"))) > LINE or text.count(b"[") + text.count(b"{") > BRACKETS:
        raise source.refuse(f"a line of over {LINE} bytes or over {BRACKETS} brackets", "less")
    try:
        table = tomllib.loads(text.decode())
    except (ValueError, RecursionError) as error:  # also what is not UTF-8
        raise source.refuse(f"no TOML ({one_line(error)})", "TOML") from None
    return bounded(table, source, values=values)


def bounded(
    document: Any,
    source: Source,
    *,
    values: int = VALUES,
    depth: int = DEPTH,
    whole: int = WHOLE,
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
                if any(not name.isascii() and _halved(name) for name in value):
                    raise source.refuse("half a character in a name", "whole ones")
                below += value.values()
            elif isinstance(value, list):
                below += value
            elif type(value) is str and not value.isascii() and _halved(value):
                raise source.refuse("half a character", "whole ones")
            elif type(value) is int and not -whole < value < whole:
                raise source.refuse(shown(value), f"{whole.bit_length() - 1} bits at most")
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
    return _checked(checker(hint), value, source, place)


def checked_table(
    value: object,
    hints: Mapping[str, Any],
    source: Source,
    place: str = "",
    *,
    needed: Collection[str] = (),
) -> dict[str, Any]:
    """The entries of a table, each as the hint of its name says, and no others.

    - `needed`: names that must be there
    """
    return _checked(
        table({name: checker(h) for name, h in hints.items()}, needed), value, source, place
    )


def _checked(check: Callable[[object], T], value: object, source: Source, place: str) -> T:
    try:
        return check(value)
    except Wrong as wrong:
        at = (place + wrong.place).lstrip(".")
        named = source.part(at) if at else source
        raise named.refuse(wrong.found, wrong.expected) from None


def built(
    make: Callable[..., T],
    given: Mapping[str, Any],
    source: Source,
    name: str,
    *,
    passing: tuple[type[Exception], ...] = (),
) -> T:
    """Call a constructor with checked arguments; what it raises becomes the error of `source`.

    - `name`: of what is built
    - `passing`: errors that are handed on
    """
    try:
        return make(**given)
    except (FileError, *passing):
        raise
    except Exception as error:
        words = one_line(error).rstrip(".") or type(error).__name__
        raise source.refuse(f"no valid {name} ({words})", "one that can be built") from None


def inflated(size: int) -> int:
    """The most bytes that are unpacked from a compressed file of `size` bytes.

    Images of digits shrink to a fifth, one-hot floats to a hundredth, and a bomb to a thousandth.
    """
    return 2**26 + 100 * size


def _halved(text: str) -> bool:
    """True if half a pair of surrogates stands alone, which no text file can hold."""
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("a name is given twice in one table")
    return entries


def _constant(nonfinite: bool) -> Callable[[str], float]:
    def constant(word: str) -> float:
        if not nonfinite:
            raise ValueError(f"{word} is no number of JSON")
        return float(word)

    return constant
