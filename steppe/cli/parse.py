"""Options from the command line and from files, told by frozen dataclasses.

    values = scan(Train, ["--steps", "50"])      {"steps": 50}, what was said and no more
    values = overlay(Train, path) | values       the same from a file, which yields to the line
    options = build(Train, values)               a Train, checked, with its defaults

A field is an option, a nested dataclass a group of them (`--objective.weights`). What a type
cannot say stands in the field's metadata: `PLACE`, `short` ("-o"), `nothing` (the word for
None). Help is read from the lines "- `name`: …" of the class docstring.

Written by hand and not with a library, because every answer has to come at once and every
mistake, in a file or on the line, is to be one sentence that names the option.
"""

import dataclasses
import inspect
import re
import textwrap
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from ..core.messages import did_you_mean
from ..runs.errors import BadInput

T = TypeVar("T")

WIDTH = 96  # columns of help
LAST = ("json", "quiet")  # in help
PLACE = {"place": True}  # metadata of what is given by its place on the line, without --name


@dataclasses.dataclass(frozen=True, kw_only=True)
class Option:
    """One field of an options class."""

    name: str  # "objective.weights"
    kind: type  # str, int, float, bool or Path
    many: bool
    choices: tuple[str, ...]
    nothing: str | None  # the word for None, e.g. "all"
    default: object  # MISSING if it must be given
    place: bool  # given by its place on the line
    short: str  # "-o"
    text: str

    @property
    def flag(self) -> str:
        return self.name.upper() if self.place else "--" + self.name.replace("_", "-")

    @property
    def sort(self) -> str:
        """What goes there, in one word."""
        if self.choices:
            return "|".join(self.choices)
        word = {int: "N", float: "X", Path: "PATH", str: "NAME"}.get(self.kind, "")
        word = self.name.upper() if self.place else word
        shown = self.nothing == "all" or (self.nothing is not None and self.default is not None)
        several = (" …" if self.place else ",…") if self.many else ""
        return word + several + (f"|{self.nothing}" if shown else "")


def options_of(cls: type, prefix: str = "") -> dict[str, Option]:
    """The options of a class by their dotted names."""
    hints = typing.get_type_hints(cls)
    texts = dict(re.findall(r"^\s*- `(\w+)`: (.+(?:\n\s{6,}.+)*)", cls.__doc__ or "", re.M))
    found = {}
    for field in dataclasses.fields(cls):
        name, hint = prefix + field.name, hints[field.name]
        if dataclasses.is_dataclass(hint):
            found |= options_of(typing.cast(type, hint), name + ".")
            continue
        inner = [h for h in typing.get_args(hint) if h is not type(None)]
        union = typing.get_origin(hint) in (types.UnionType, typing.Union)
        hint = inner[0] if union else hint
        many, choices = typing.get_origin(hint) is tuple, ()
        if many:
            hint = typing.get_args(hint)[0]
        if typing.get_origin(hint) is typing.Literal:
            hint, choices = str, typing.get_args(hint)
        found[name] = Option(
            name=name,
            kind=hint,
            many=many,
            choices=choices,
            nothing=field.metadata.get("nothing", "none") if union else None,
            default=field.default,
            place=field.metadata.get("place", False),
            short=field.metadata.get("short", ""),
            text=" ".join(texts.get(field.name, "").split()),
        )
    return found


def scan(cls: type, argv: Sequence[str]) -> dict[str, object]:
    """What the line says, by dotted name: no defaults, nothing checked but the types."""
    options = options_of(cls)
    flags = {option.flag: option for option in options.values() if not option.place}
    shorts = {option.short: option for option in options.values() if option.short}
    words, rest, values = list(argv), [], {}
    while words:
        word = words.pop(0)
        if not re.match(r"--?[A-Za-z]", word):
            rest.append(word)
            continue
        flag, equals, text = word.partition("=")
        flag = flag.replace("_", "-")
        no = flag.startswith("--no-") and flag not in flags
        option = {**flags, **shorts}.get("--" + flag[5:] if no else flag)
        if option is None or (no and option.kind is not bool):
            raise BadInput(
                f"There is no option {word.partition('=')[0]}; {did_you_mean(flag, flags)}"
            )
        if option.kind is bool:
            if equals:
                raise BadInput(f"{flag} takes no value, got {text!r}; write {flag} alone.")
            values[option.name] = not no
            continue
        if not equals:
            if not words or words[0].startswith("--"):
                raise BadInput(f"{flag} needs a value; write {flag} {option.sort}.")
            text = words.pop(0)
        texts = text.split(",") if option.many else [text]
        while option.many and option.kind is int and words and words[0].isdecimal():
            texts.append(words.pop(0))
        values[option.name] = _all(option, texts)
    return values | _placed([o for o in options.values() if o.place], rest)


def _placed(places: list[Option], words: list[str]) -> dict[str, object]:
    """Words without a flag, in order; an option that takes many takes all that are left."""
    values = {}
    for option in places:
        if words:
            given, words = (words, []) if option.many else (words[:1], words[1:])
            values[option.name] = _all(option, given)
    if words:
        expected = " ".join(o.sort for o in places) or "options only"
        raise BadInput(f"Did not expect {words[0]!r} here; expected {expected}.")
    return values


def _all(option: Option, texts: Sequence[object]) -> object:
    if option.many and list(texts) == [option.nothing]:
        return None
    values = [convert(option, text) for text in texts]
    return tuple(values) if option.many else values[0]


def convert(option: Option, value: object) -> object:
    """A word of the line, or a value of a file, as the option's type."""
    kind = option.kind
    if option.nothing is not None and value == option.nothing and not option.many:
        return None
    if option.choices:
        if value not in option.choices:
            near = did_you_mean(str(value), option.choices)
            raise BadInput(f"{option.flag} cannot be {value!r}; {near}")
        return value
    accepted = {float: (int, float)}.get(kind, (kind,))
    try:
        if isinstance(value, str) and kind is not bool:
            return kind(value)
        if type(value) in accepted:
            return kind(value)  # pyright: ignore[reportCallIssue]
    except ValueError:
        pass
    wanted = {int: "a whole number", float: "a number", bool: "true or false"}.get(kind, "text")
    either = f" or {option.nothing!r}" if option.nothing is not None else ""
    raise BadInput(f"{option.flag} must be {wanted}{either}, got {value!r}.")


def overlay(cls: type, path: Path) -> dict[str, object]:
    """The options that a TOML or YAML file sets, by dotted name."""
    read = _yaml if path.suffix in (".yaml", ".yml") else tomllib.loads
    try:
        table = read(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInput(f"--config {path} does not exist; check the name.") from error
    except OSError as error:
        raise BadInput(f"--config {path} cannot be read ({error.strerror}).") from error
    except ValueError as error:  # also what is not UTF-8
        words = " ".join(str(error).split())
        raise BadInput(
            f"--config {path} is not {'YAML' if read is _yaml else 'TOML'} ({words}); mend it."
        ) from error
    return from_table(cls, table, str(path))


def _yaml(text: str) -> dict:
    try:
        import yaml
    except ImportError as error:
        raise BadInput("A YAML file needs PyYAML: pip install pyyaml, or use TOML.") from error
    try:
        table = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    if not isinstance(table, Mapping):
        raise ValueError("expected names and values")
    return dict(table)


def from_table(cls: type, table: Mapping[str, object], source: str) -> dict[str, object]:
    """A (nested) table by dotted name, its keys and types checked."""
    options = {n: o for n, o in options_of(cls).items() if n not in ("config", "resume")}
    values = {}
    for name, value in _flat(table):
        option = options.get(name)
        if option is None:
            raise BadInput(f"{source}: there is no option {name!r}; {did_you_mean(name, options)}")
        if value is None and option.nothing is not None:
            values[name] = None
            continue
        if option.many != isinstance(value, (list, tuple)):
            wanted = "a list" if option.many else "a single value"
            raise BadInput(f"{source}: {name} must be {wanted}, got {value!r}.")
        try:
            parts = value if isinstance(value, (list, tuple)) else [value]
            values[name] = _all(option, parts)
        except BadInput as error:
            raise BadInput(f"{source}: {error}") from error
    return values


def _flat(table: Mapping[str, object], prefix: str = "") -> list[tuple[str, object]]:
    pairs = []
    for key, value in table.items():
        name = prefix + str(key).replace("-", "_")
        pairs += _flat(value, name + ".") if isinstance(value, Mapping) else [(name, value)]
    return pairs


def build(cls: type[T], values: Mapping[str, object]) -> T:
    """The options object: defaults fill in, the class itself refuses impossible values."""
    options = options_of(cls)
    for option in options.values():
        if option.default is dataclasses.MISSING and option.name not in values:
            missing = option.sort if option.place else f"{option.flag} {option.sort}"
            raise BadInput(f"{missing} is missing; add it (see --help).")
    try:
        return _make(cls, values)
    except ValueError as error:
        raise BadInput(str(error)) from error


def _make(cls: type[T], values: Mapping[str, object], prefix: str = "") -> T:
    hints, given = typing.get_type_hints(cls), {}
    for field in dataclasses.fields(cls):  # pyright: ignore[reportArgumentType]
        name = prefix + field.name
        if dataclasses.is_dataclass(hints[field.name]):
            given[field.name] = _make(hints[field.name], values, name + ".")
        elif name in values:
            given[field.name] = values[name]
    return cls(**given)


def help_text(command: str, cls: type) -> str:
    """What `steppe COMMAND --help` prints."""
    options = options_of(cls).values()
    places = [o for o in options if o.place]
    others = sorted((o for o in options if not o.place), key=lambda o: o.name in LAST)
    line = " ".join(o.sort if _required(o) else f"[{o.sort}]" for o in places)
    needed = " ".join(f"{o.flag} {o.sort}" for o in others if _required(o))
    about = inspect.cleandoc(cls.__doc__ or "").partition("\n\n- ")[0]
    usage = " ".join(part for part in (command, line, needed, "[options]") if part)
    rows = [(o.sort if o.place else _shown(o), _about(o)) for o in [*places, *others]]
    wide = min(26, max(len(left) for left, _ in rows)) + 2
    lines = [f"usage: steppe {usage}", "", about, ""]
    for left, right in rows:
        body = textwrap.wrap(right, WIDTH - wide - 2) or [""]
        if len(left) + 2 > wide:
            lines += _broken(left)
        else:
            lines.append(f"  {left:<{wide}}{body.pop(0)}")
        lines += [" " * (wide + 2) + part for part in body]
    return "\n".join(line.rstrip() for line in lines)


def _broken(left: str) -> list[str]:
    """Lines of at most WIDTH columns, broken between choices."""
    lines = textwrap.wrap(left.replace("|", "| "), WIDTH - 2, subsequent_indent="    ")
    return ["  " + line.replace("| ", "|") for line in lines]


def _required(option: Option) -> bool:
    return option.default is dataclasses.MISSING


def _shown(option: Option) -> str:
    short = f"{option.short}, " if option.short else ""
    return f"{short}{option.flag} {option.sort}".rstrip()


def _about(option: Option) -> str:
    default = option.nothing if option.default is None else option.default
    silent = option.default in (None, ()) and option.nothing != "all"
    if _required(option) or option.kind is bool or silent:
        return option.text
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    return f"{option.text} (default: {default})"
