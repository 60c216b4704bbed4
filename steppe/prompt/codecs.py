"""Codecs: from parameters to text and back, which a language model reads and writes.

    numeric = Numeric(("lr", "decay"), (1e-4, 0.0), (1.0, 1.0), log=(True, False))
    numeric.encode(np.array([np.log(0.01), 0.9]))      '{"lr": 0.01, "decay": 0.9}'

`encode` says of a point what text can say: it rounds, and takes the nearest. `decode` gives the
point of a text; what it cannot read is a `CodecError`, a sentence that a model may be shown. Text
comes from a model: it is read and never run.
"""

import abc
import dataclasses
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..core.arguments import expect_kind, real, whole
from .parse import fold


class CodecError(ValueError):
    """A text stands for no parameters, or parameters for no text."""


class AbstractCodec(abc.ABC):
    """A way from an array of parameters to text, and back."""

    @abc.abstractmethod
    def encode(self, leaf: Any) -> str:
        """The text that comes nearest to these parameters. CodecError if they are not finite."""

    @abc.abstractmethod
    def decode(self, text: str, like: Any) -> Any:
        """The parameters of a text, in shape and dtype of `like`, which is not changed.

        - `like`: the parameters now, of which a text may leave some as they are

        Raises CodecError.
        """

    @abc.abstractmethod
    def describe(self) -> str:
        """The kind of text, in words that go on "Each is …"."""

    @abc.abstractmethod
    def schema(self) -> dict[str, Any]:
        """The JSON schema of one text: of a string, or of a table that stands in its place."""

    @abc.abstractmethod
    def draw(self, rng: np.random.Generator) -> str:
        """A text drawn at random from all that are possible."""

    @property
    @abc.abstractmethod
    def words(self) -> int | None:
        """The most words of a text; None if they are not counted."""


@dataclasses.dataclass(frozen=True)
class Numeric(AbstractCodec):
    """A few numbers, each with a name and bounds, as a table of JSON.

    - `names`, `low`, `high`: one for each coordinate, in the order of the raveled array
    - `log`: True for a coordinate that is the natural logarithm of what the text says
    - `decimals`: digits after the point; of logarithmic ones, after the first
    """

    names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    log: tuple[bool, ...] = ()
    decimals: int = 3

    def __post_init__(self):
        expect_kind("Numeric: names", self.names, tuple, "a tuple of names")
        log = self.log or (False,) * len(self.names)
        object.__setattr__(self, "log", log)
        whole("Numeric: decimals", self.decimals, least=0, most=15)
        if not self.names or len(set(map(fold, self.names))) < len(self.names):
            raise ValueError(f"Numeric: names must differ, one at least, got {self.names}.")
        for name in self.names:
            if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][\w.\-]*", name):
                raise ValueError(f"Numeric: a name must be a word such as 'lr', got {name!r}.")
        for what in (self.low, self.high, log):
            if len(what) != len(self.names):
                raise ValueError(f"Numeric: {len(self.names)} names need as many bounds and logs.")
        for name, low, high, by_log in zip(self.names, self.low, self.high, log, strict=True):
            if not real("Numeric: low", low) < real("Numeric: high", high):
                raise ValueError(
                    f"Numeric: {name} has the bounds {low} and {high}, which are none."
                )
            if by_log and low <= 0:
                raise ValueError(f"Numeric: {name} is logarithmic, so that low must be positive.")

    @property
    def words(self) -> int | None:
        return None

    def encode(self, leaf: Any) -> str:
        found = np.ravel(np.asarray(leaf)).astype(float)
        self._check_size(found.size)
        if not np.isfinite(found).all():
            raise CodecError(f"{', '.join(self.names)} are not all finite.")
        return self._text([_exp(x) if log else x for x, log in zip(found, self.log, strict=True)])

    def decode(self, text: str, like: Any) -> np.ndarray:
        like = np.asarray(like)
        self._check_size(like.size)
        table = self._table(text)
        found = []
        for name, low, high, log in zip(self.names, self.low, self.high, self.log, strict=True):
            value = table[name]
            if not low <= value <= high:
                raise CodecError(f"{name} must lie from {low:g} to {high:g}, got {value:g}.")
            found.append(math.log(value) if log else value)
        return np.asarray(found).reshape(like.shape).astype(like.dtype)

    def describe(self) -> str:
        powers = " (think in powers of ten)"
        parts = [
            f"{name} from {low:g} to {high:g}{powers if log else ''}"
            for name, low, high, log in zip(self.names, self.low, self.high, self.log, strict=True)
        ]
        return f"a JSON table with {', '.join(parts)}"

    def schema(self) -> dict[str, Any]:
        ranges = zip(self.names, self.low, self.high, strict=True)
        number = {n: {"type": "number", "minimum": a, "maximum": b} for n, a, b in ranges}
        return _table_schema(number)

    def draw(self, rng: np.random.Generator) -> str:
        found = []
        for low, high, log in zip(self.low, self.high, self.log, strict=True):
            if log:
                found.append(_exp(rng.uniform(math.log(low), math.log(high))))
            else:
                found.append(rng.uniform(low, high))
        return self._text(found)

    def _text(self, values: Sequence[float]) -> str:
        """The values within their bounds, rounded to so many digits that they stay there."""
        said = {}
        for name, value, low, high, log in zip(
            self.names, values, self.low, self.high, self.log, strict=True
        ):
            value, kind = min(max(float(value), low), high), "e" if log else "f"
            rounded = (float(f"{value:.{digits}{kind}}") for digits in range(self.decimals, 18))
            said[name] = next((x for x in rounded if low <= x <= high), value) + 0.0  # no -0.0
        return json.dumps(said, allow_nan=False)

    def _table(self, text: str) -> dict[str, float]:
        """The numbers of a text by name: of a table, a list, or "a = 1, b = 2"."""
        given = _json(text)
        if not isinstance(given, dict | list):
            pairs = re.findall(
                r"([A-Za-z_][\w.\-]*)\W{0,3}[:=]\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)", text
            )
            given = {name: _number(value) for name, value in pairs}
        if isinstance(given, list):
            given = (
                dict(zip(self.names, given, strict=False)) if len(given) == len(self.names) else {}
            )
        known = {fold(name): name for name in self.names}
        found = {known.get(fold(str(name)), ""): value for name, value in given.items()}
        if set(found) != set(self.names):
            raise CodecError(f"It must give {', '.join(self.names)} and no others.")
        return {name: _real(name, value) for name, value in found.items()}

    def _check_size(self, size: int) -> None:
        if size != len(self.names):
            raise ValueError(
                f"Numeric names {len(self.names)} numbers, but the parameters are {size}; give "
                "`where` the leaf that is meant, or a name for each number."
            )


@dataclasses.dataclass(frozen=True)
class Choice(AbstractCodec):
    """One of several points, each by its name; a point is that which lies nearest.

    - `options`: name: array, all of the shape of the parameters
    """

    options: Mapping[str, Any]

    def __post_init__(self):
        expect_kind("Choice: options", self.options, Mapping, "a table of names and arrays")
        shapes = {np.shape(value) for value in self.options.values()}
        if len(shapes) != 1 or len(set(map(fold, self.options))) < len(self.options):
            raise ValueError("Choice: options must have names that differ and arrays of one shape.")
        if not all(np.isfinite(np.asarray(x, float)).all() for x in self.options.values()):
            raise ValueError("Choice: options must be finite.")

    @property
    def words(self) -> int | None:
        return None

    def encode(self, leaf: Any) -> str:
        found = np.asarray(leaf).astype(float)
        distances = [float(np.sum((found - np.asarray(x, float)) ** 2)) for x in self._values]
        if not all(map(math.isfinite, distances)):
            raise CodecError("The parameters are not all finite.")
        return list(self.options)[int(np.argmin(distances))]

    def decode(self, text: str, like: Any) -> np.ndarray:
        known = {fold(name): value for name, value in self.options.items()}
        if (name := fold(text).strip("\"'` ")) not in known:
            raise CodecError(f"It must be one of {', '.join(self.options)}.")
        like = np.asarray(like)
        return np.asarray(known[name]).reshape(like.shape).astype(like.dtype)

    def describe(self) -> str:
        return f"one of {', '.join(map(json.dumps, self.options))}"

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.options)}

    def draw(self, rng: np.random.Generator) -> str:
        return list(self.options)[int(rng.integers(len(self.options)))]

    @property
    def _values(self) -> list[Any]:
        return list(self.options.values())


@dataclasses.dataclass(frozen=True)
class Composite(AbstractCodec):
    """Several codecs for a tuple of leaves, as one table of JSON.

    - `parts`: name: codec, in the order of the leaves
    """

    parts: Mapping[str, AbstractCodec]

    def __post_init__(self):
        expect_kind("Composite: parts", self.parts, Mapping, "a table of names and codecs")
        for part in self.parts.values():
            expect_kind("Composite: a part", part, AbstractCodec, "a codec such as Numeric")
        if not self.parts:
            raise ValueError("Composite: parts must hold one codec at least.")

    @property
    def words(self) -> int | None:
        return None

    def encode(self, leaf: Any) -> str:
        said = {}
        for (name, part), own in self._with(leaf):
            text = part.encode(own)
            said[name] = json.loads(text) if is_table(part) else text
        return json.dumps(said, ensure_ascii=False, allow_nan=False)

    def decode(self, text: str, like: Any) -> tuple[Any, ...]:
        table = _json(text)
        if not isinstance(table, dict) or set(table) != set(self.parts):
            raise CodecError(f"It must be a JSON table of {', '.join(self.parts)} and no others.")
        found = []
        for (name, part), own in self._with(like):
            value = table[name]
            try:
                inner = value if isinstance(value, str) else json.dumps(value, allow_nan=False)
                found.append(part.decode(inner, own))
            except ValueError as error:  # also of NaN, which is no JSON
                raise CodecError(f"{name}: {error}") from None
        return tuple(found)

    def describe(self) -> str:
        parts = "; ".join(f"{name}, {part.describe()}" for name, part in self.parts.items())
        return f"a JSON table with {parts}"

    def schema(self) -> dict[str, Any]:
        return _table_schema({name: part.schema() for name, part in self.parts.items()})

    def draw(self, rng: np.random.Generator) -> str:
        said = {}
        for name, part in self.parts.items():
            text = part.draw(rng)
            said[name] = json.loads(text) if is_table(part) else text
        return json.dumps(said, ensure_ascii=False, allow_nan=False)

    def _with(self, leaves: Any) -> list[tuple[tuple[str, AbstractCodec], Any]]:
        if not isinstance(leaves, tuple | list) or len(leaves) != len(self.parts):
            raise ValueError(f"Composite: `where` must give a tuple of {len(self.parts)} leaves.")
        return list(zip(self.parts.items(), leaves, strict=True))


def is_table(codec: AbstractCodec) -> bool:
    """True if a text of it is a table of JSON and no sentence."""
    return codec.schema().get("type") == "object"


def _table_schema(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _json(text: str) -> Any:
    """The value that a text is as JSON, None if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _real(name: str, value: Any) -> float:
    if type(value) not in (int, float) or not abs(value) < 1e300:
        raise CodecError(f"{name} must be a number.")
    return float(value)


def _exp(x: float) -> float:
    return math.exp(min(max(float(x), -700.0), 700.0))
