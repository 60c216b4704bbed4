"""Settings declared once: each is a field of a frozen dataclass that says all about itself.

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Meta:
        lr: float = setting(1e-3, "meta-learning rate", above=0, flag="meta-lr")

    settings_of(Recipe)["meta.lr"]                  a `Setting`: type, range, default, words
    values = from_table(Recipe, {"meta": {"lr": 1}}, "run.toml")     {"meta.lr": 1.0}
    build(Recipe, values), to_table(recipe)         an object of them, and back

The command line, files and help derive from this. A setting is known by its path, "meta.lr", and
messages name it so, in backticks; the command line puts its own word in that place. Standard
library only.
"""

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from .messages import brief, did_you_mean

T = TypeVar("T")
REQUIRED = dataclasses.MISSING


def setting(
    default: Any,
    text: str,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    choices: Iterable[str] = (),
    unit: str = "",
    nothing: str = "none",
    flag: str = "",
    metavar: str = "",
    short: str = "",
    positional: bool = False,
    required: bool = False,
    free: bool = False,
) -> Any:
    """Declare a field of a dataclass as a setting.

    - `default`: its value where nothing is said; REQUIRED: there is none
    - `text`: a line of help that stands alone
    - `least`, `above`, `most`: the range of the number, or of each number
    - `choices`: the words that are allowed, where its type does not say (`Literal`)
    - `unit`: of several numbers, for messages, e.g. "steps"
    - `nothing`: the word for None
    - `flag`: its name on the command line, where that is not its path, e.g. "meta-lr"
    - `metavar`: the word that stands for its value in help
    - `short`: one letter for the command line, e.g. "o"
    - `positional`: on the command line it has no name but a place
    - `required`: the command line asks for it, though it may be None
    - `free`: it does not change what a run computes
    """
    about = {
        "text": text, "least": least, "above": above, "most": most, "choices": tuple(choices),
        "unit": unit, "nothing": nothing, "flag": flag, "metavar": metavar, "short": short,
        "positional": positional, "required": required, "free": free,
    }  # fmt: skip
    if isinstance(default, Mapping):
        return dataclasses.field(default_factory=lambda: default, metadata=about)
    return dataclasses.field(default=default, metadata=about)


def group(default: Any, *, flags: str | None = None, inline: bool = False) -> Any:
    """Declare a field that holds settings of its own.

    - `flags`: what the command line puts before their names (default: the path, "objective.")
    - `inline`: their paths do not have the name of this field
    """
    about = {"flags": "" if inline else flags, "inline": inline}
    return dataclasses.field(default=default, metadata=about)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting, as files, messages and the command line know it."""

    path: str  # "meta.lr"
    flag: str  # "meta-lr"
    kind: type  # str, int, float, bool, Path or dict
    many: bool
    choices: tuple[str, ...]
    nothing: str | None  # the word for None; None: it cannot be None
    default: object  # REQUIRED if there is none
    text: str = ""
    metavar: str = ""
    short: str = ""
    positional: bool = False
    required: bool = False
    free: bool = False
    least: float | None = None
    most: float | None = None


@functools.cache
def settings_of(cls: type) -> Mapping[str, Setting]:
    """The settings of a class by their paths, those of its groups with them."""
    return types.MappingProxyType(_settings(cls, "", ""))


def _settings(cls: type, path: str, flags: str) -> dict[str, Setting]:
    hints = typing.get_type_hints(cls)
    found: dict[str, Setting] = {}
    for field in dataclasses.fields(cls):
        about, hint = field.metadata, hints[field.name]
        name = path + field.name
        if dataclasses.is_dataclass(hint):
            inner = path if about.get("inline") else name + "."
            before = about.get("flags")
            flags_of = flags + field.name.replace("_", "-") + "." if before is None else before
            found |= _settings(typing.cast(type, hint), inner, flags_of)
        else:
            flag = about.get("flag") or flags + field.name.replace("_", "-")
            found[name] = _setting(field, hint, name, flag)
    return found


def _setting(field: dataclasses.Field, hint: Any, path: str, flag: str) -> Setting:
    about = field.metadata
    inner = [h for h in typing.get_args(hint) if h is not type(None)]
    union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    hint = inner[0] if union else hint
    many, choices = typing.get_origin(hint) is tuple, about.get("choices", ())
    if many:
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) is typing.Literal:
        hint, choices = str, typing.get_args(hint)
    if typing.get_origin(hint) is not None:  # Mapping[str, Any]
        hint = dict
    return Setting(
        path=path,
        flag=flag,
        kind=hint,
        many=many,
        choices=choices,
        nothing=about.get("nothing", "none") if union else None,
        default={} if hint is dict else field.default,
        **{
            name: about[name]
            for name in (
                "text",
                "metavar",
                "short",
                "positional",
                "required",
                "free",
                "least",
                "most",
            )
            if name in about
        },
    )


def check(settings: object, path: str = "") -> None:
    """Refuse values out of range; an object calls this of itself when it is made.

    - `path`: what stands before the names of its fields, e.g. "meta."
    """
    options = settings_of(type(settings))
    for field in dataclasses.fields(settings):  # pyright: ignore[reportArgumentType]
        about, value, option = (
            field.metadata,
            getattr(settings, field.name),
            options.get(field.name),
        )
        if option is None or value is None or isinstance(value, Mapping):
            continue
        given = value if isinstance(value, tuple) else (value,)
        known = option.choices
        for one in given:
            if known and one not in known:
                raise ValueError(
                    f"`{path}{field.name}` cannot be {brief(one)}; {did_you_mean(one, known)}"
                )
        if "text" in about and not all(_fits(about, one) for one in given):
            wanted = _wanted(about, value, many=given is value)
            shown = ",".join(map(_short, given))
            raise ValueError(f"`{path}{field.name}` must be {wanted}, got {shown:.100}.")


def _fits(about: Mapping[str, Any], value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return True
    least, above, most = about["least"], about["above"], about["most"]
    return (
        math.isfinite(value)
        and (least is None or value >= least)
        and (above is None or value > above)
        and (most is None or value <= most)
    )


def _wanted(about: Mapping[str, Any], value: object, *, many: bool) -> str:
    """The range in words."""
    least, above, most = about["least"], about["above"], about["most"]
    if above is not None and most is not None:
        words = f"above {above:g} and at most {most:g}"
    elif most is not None:
        words = f"from {least:.10g} to {most:.10g}"
    elif above is not None:
        return "positive numbers" if many else "a positive number"
    elif least is None:
        return "finite numbers" if many else "a finite number"
    elif least == 0 and isinstance(value, float):
        return "zero or a positive number"
    else:
        words = f"at least {least:g}"
        return f"{about['unit'] or 'numbers'} of {words}" if many else words
    return f"{about['unit'] or 'numbers'} {words}" if many else words


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def convert(option: Setting, value: object) -> object:
    """A word of the line, or a value of a file, as one value of the setting's type."""
    if option.nothing is not None and value == option.nothing and not option.many:
        return None
    if option.kind is dict:
        if isinstance(value, Mapping):
            return {name: _frozen(x) for name, x in value.items()}
        raise ValueError(f"`{option.path}` must be names and values, got {brief(value)}.")
    if option.choices:
        if value not in option.choices:
            raise ValueError(
                f"`{option.path}` cannot be {brief(value)}; "
                f"{did_you_mean(str(value), option.choices)}"
            )
        return value
    accepted = {float: (int, float)}.get(option.kind, (option.kind,))
    try:
        if option.kind is Path and (value == "" or "\0" in str(value)):
            raise ValueError("no name of a file")
        if isinstance(value, str) and option.kind is not bool:
            return option.kind(value)
        if type(value) in accepted:
            return option.kind(value)  # pyright: ignore[reportArgumentType]
    except ValueError:
        pass
    wanted = {int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}
    either = f" or {option.nothing!r}" if option.nothing and not option.required else ""
    raise ValueError(
        f"`{option.path}` must be {wanted.get(option.kind, 'text')}{either}, got {brief(value)}."
    )


def convert_all(option: Setting, values: Sequence[object]) -> object:
    """The value of a setting from the words, or the entries, that were given for it."""
    if option.many and list(values) == [option.nothing]:
        return None
    found = [convert(option, value) for value in values]
    return tuple(found) if option.many else found[0]


def from_table(
    cls: type, table: Mapping[str, object], source: str, without: Iterable[str] = ()
) -> dict[str, object]:
    """The settings that a table gives, by path, their names and types checked.

    A setting may stand there by its path, {"meta": {"lr": 1}}, or by its name on the command line,
    {"meta_lr": 1}; a group may stand for the word that names it, {"task": "quadratic"}.

    - `table`: as read from JSON or TOML
    - `source`: where it was read, for messages
    - `without`: paths of settings that it cannot give
    """
    options = {path: o for path, o in settings_of(cls).items() if path not in set(without)}
    known: dict[str, Setting] = {}
    for path, option in options.items():
        if option.kind is str and not option.many:
            known.setdefault(path.partition(".")[0], option)
    known |= {option.flag.replace("-", "_"): option for option in options.values()} | options
    values: dict[str, object] = {}
    for name, value in _flat(table, known):
        option = known.get(name)
        if option is None:
            raise ValueError(
                f"{source}: there is no option {brief(name)}; {did_you_mean(name, known)}"
            )
        if value is None and option.nothing is not None:
            values[option.path] = None
            continue
        several = isinstance(value, (list, tuple))
        if option.many != several:
            wanted = "a list" if option.many else "a single value"
            raise ValueError(f"{source}: `{option.path}` must be {wanted}, got {brief(value)}.")
        try:
            values[option.path] = convert_all(option, value if several else [value])  # pyright: ignore[reportArgumentType]
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error
    return values


def _flat(
    table: Mapping[str, object], known: Mapping[str, Setting], prefix: str = ""
) -> Iterable[tuple[str, object]]:
    for key, value in table.items():
        name = prefix + str(key).replace("-", "_")
        whole = name in known and known[name].kind is dict
        if isinstance(value, Mapping) and not whole:
            yield from _flat(value, known, name + ".")
        else:
            yield name, value


def build(cls: type[T], values: Mapping[str, object], path: str = "") -> T:
    """An object of the class; defaults fill in, and the class itself refuses what cannot be.

    - `values`: by path
    """
    groups, given = _groups_of(cls), {}
    for field in dataclasses.fields(cls):  # pyright: ignore[reportArgumentType]
        name = path + field.name
        if field.name in groups:
            inner = path if field.metadata.get("inline") else name + "."
            given[field.name] = build(groups[field.name], values, inner)
        elif name in values:
            given[field.name] = values[name]
        elif field.default is REQUIRED and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"`{name}` is missing.")
    return cls(**given)


@functools.cache
def _groups_of(cls: type) -> dict[str, type]:
    """The fields of a class that are settings of their own."""
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]  # pyright: ignore[reportArgumentType]
    return {name: hints[name] for name in names if dataclasses.is_dataclass(hints[name])}


def values_of(settings: object) -> dict[str, object]:
    """The values of an object's settings, by path."""
    values: dict[str, object] = {}
    for field in dataclasses.fields(settings):  # pyright: ignore[reportArgumentType]
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            before = "" if field.metadata.get("inline") else field.name + "."
            values |= {before + name: x for name, x in values_of(value).items()}
        else:
            values[field.name] = value
    return values


def nested(values: Mapping[str, object]) -> dict[str, Any]:
    """The same values as JSON and TOML have them, a table in a table for each group.

    >>> nested({"task.name": "quadratic", "curriculum.horizons": (1, 2)})
    {'task': {'name': 'quadratic'}, 'curriculum': {'horizons': [1, 2]}}
    """
    table: dict[str, Any] = {}
    for path, value in values.items():
        *groups, name = path.split(".")
        inner = table
        for part in groups:
            inner = inner.setdefault(part, {})
        inner[name] = plain(value)
    return table


def plain(value: object) -> object:
    """The same value as JSON gives it back."""
    if isinstance(value, Mapping):
        return {str(name): plain(x) for name, x in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(x) for x in value]
    return str(value) if isinstance(value, Path) else value


def _frozen(value: object) -> object:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
