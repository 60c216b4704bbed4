"""The command line: words to settings, and help from settings.

    values = parse_argv(Train, ["--steps", "50"])     {"run.steps": 50}, what was said and no more
    options = make(Train, values)                     a `Train`, checked, with its defaults
    reword("`run.steps` must be at least 1.", Train)  "--steps must be at least 1."

Progress goes to stderr, results to stdout; with --json nothing else goes there.

Options are declared as the settings of a dataclass (`core/settings.py`).

Written by hand: cyclopts and tyro take 0.2 to 0.4 s to import, and `steppe --help` has 0.4 s in
all; and every mistake, on the line or in a file, is to be one sentence that names the option.
"""

import inspect
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from ..core.messages import did_you_mean
from ..core.settings import REQUIRED, Setting, build, convert_all, settings_of
from ..runs.folder import BadInput
from ..store.files import to_json

T = TypeVar("T")

WIDTH = 96  # columns of help at most
NARROW = 40  # columns of help at least
ROOM = 30  # columns that words need beside their option
LAST = ("json", "quiet")  # in help


def width() -> int:
    """Columns of help and lists: those of the terminal, within bounds."""
    return max(NARROW, min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns))


def flag(option: Setting) -> str:
    """The option as it stands on the line: --meta-lr, or CKPT where its place says which it is."""
    return option.flag.upper() if option.positional else "--" + option.flag


def metavar(option: Setting) -> str:
    """The word that stands for the value of an option, e.g. N or adam|rmsprop."""
    word = {int: "N", float: "X", Path: "PATH", str: "NAME", dict: "TABLE"}.get(option.kind, "")
    if option.metavar:
        word = option.metavar
    elif option.choices:
        word = "|".join(option.choices)
    elif option.positional:
        word = option.flag.upper()
    shown = option.nothing == "all" or (option.nothing is not None and option.default is not None)
    several = (" …" if option.positional else ",…") if option.many else ""
    return word + several + (f"|{option.nothing}" if shown else "")


def parse_argv(cls: type, argv: Sequence[str]) -> dict[str, object]:
    """The values that the line gives, by path: no defaults, nothing checked but the types."""
    options = {o.path: o for o in settings_of(cls).values() if o.kind is not dict}
    flags = {flag(option): option for option in options.values() if not option.positional}
    shorts = {"-" + option.short: option for option in options.values() if option.short}
    words, rest, values = list(argv), [], {}
    while words:
        word = words.pop(0)
        if not re.match(r"--?[A-Za-z]", word):
            rest.append(word)
            continue
        name, equals, text = word.partition("=")
        name = name.replace("_", "-")
        no = name.startswith("--no-") and name not in flags
        option = {**flags, **shorts}.get("--" + name[5:] if no else name)
        if option is None or (no and option.kind is not bool):
            near = did_you_mean(name, flags, see="--help")
            raise BadInput(f"There is no option {word.partition('=')[0]}; {near}")
        if option.kind is bool:
            if equals:
                raise BadInput(f"{name} takes no value, got {text!r}; write {name} alone.")
            values[option.path] = not no
            continue
        if not equals:
            if not words or words[0].startswith("--"):
                raise BadInput(f"{name} needs a value; write {name} {metavar(option)}.")
            text = words.pop(0)
        texts = text.split(",") if option.many else [text]
        while option.many and option.kind is int and words and words[0].isdecimal():
            texts.append(words.pop(0))
        values[option.path] = convert_all(option, texts)
    return values | _placed([o for o in options.values() if o.positional], rest)


def _placed(places: list[Setting], words: list[str]) -> dict[str, object]:
    """Words without a flag, in order; an option that takes many takes all that are left."""
    values = {}
    for option in places:
        if words:
            given, words = (words, []) if option.many else (words[:1], words[1:])
            values[option.path] = convert_all(option, given)
    if words:
        expected = " ".join(map(metavar, places)) or "options only"
        raise BadInput(f"Did not expect {words[0]!r} here; expected {expected}.")
    return values


def make(cls: type[T], values: Mapping[str, object]) -> T:
    """The options object of a verb; what is missing is named as on the line."""
    for option in settings_of(cls).values():
        if _required(option) and values.get(option.path) is None:
            missing = metavar(option) if option.positional else f"{flag(option)} {metavar(option)}"
            raise BadInput(f"{missing} is missing; add it (see --help).")
    return build(cls, values)


def reword(text: str, cls: type) -> str:
    """The same text with options in the place of settings: `meta.lr 0.1` is --meta-lr 0.1."""
    options = settings_of(cls)

    def word(match: re.Match) -> str:
        if match[1] == "resume":  # said by all that look at runs, done by one verb
            return f"`steppe train --resume{match[2]}`"
        option = options.get(match[1]) or options.get(match[1].removeprefix("task."))
        return match[0] if option is None else flag(option) + match[2]

    return re.sub(r"`([\w.]+)((?: [^`]*)?)`", word, text)


def help_text(command: str, cls: type) -> str:
    """The text of `steppe COMMAND --help`."""
    options = [option for option in settings_of(cls).values() if option.kind is not dict]
    places = [option for option in options if option.positional]
    others = [option for option in options if not option.positional]
    others = sorted(others, key=lambda option: option.path in LAST)
    line = " ".join(metavar(o) if _required(o) else f"[{metavar(o)}]" for o in places)
    needed = " ".join(f"{flag(o)} {metavar(o)}" for o in others if _required(o))
    usage = " ".join(part for part in (command, line, needed, "[options]") if part)
    rows = [(_shown(option), reword(_about(option), cls)) for option in [*places, *others]]
    lines = textwrap.wrap(f"usage: steppe {usage}", width(), subsequent_indent="    ")
    lines += ["", *paragraphs(inspect.cleandoc(cls.__doc__ or "")), ""]
    return "\n".join([*lines, *columns(rows, most=26)])


def columns(rows: Sequence[tuple[str, str]], *, most: int = WIDTH) -> list[str]:
    """Lines of two columns, wrapped to the terminal.

    - `rows`: left and right words
    - `most`: width of the left column; longer words have a line of their own, as all have where
      the terminal is too narrow for two columns
    """
    wide = min(most, max((len(left) for left, _ in rows), default=0)) + 2
    stacked = width() - wide - 2 < ROOM
    indent = 6 if stacked else wide + 2
    lines = []
    for left, right in rows:
        body = textwrap.wrap(right, width() - indent, break_on_hyphens=False) or [""]
        if stacked or len(left) + 2 > wide:
            lines += _broken(left)
        else:
            lines.append(f"  {left:<{wide}}{body.pop(0)}")
        lines += [" " * indent + part for part in body]
    return [line.rstrip() for line in lines]


def paragraphs(text: str) -> list[str]:
    """Lines of a text, wrapped to the terminal; indented lines are a table in two columns."""
    lines = []
    for block in text.split("\n\n"):
        rows = [line.strip().partition("  ") for line in block.splitlines()]
        if block.startswith(" "):
            lines += columns([(left, right.strip()) for left, _, right in rows])
        else:
            lines += textwrap.wrap(" ".join(block.split()), width(), break_on_hyphens=False)
        lines.append("")
    return lines[:-1]


def _broken(left: str) -> list[str]:
    """Lines no longer than the terminal is wide, broken between choices."""
    lines = textwrap.wrap(left.replace("|", "| "), width() - 2, subsequent_indent="    ")
    return ["  " + line.replace("| ", "|") for line in lines]


def _required(option: Setting) -> bool:
    return option.required or option.default is REQUIRED


def _shown(option: Setting) -> str:
    if option.positional:
        return metavar(option)
    short = f"-{option.short}, " if option.short else ""
    return f"{short}{flag(option)} {metavar(option)}".rstrip()


def _about(option: Setting) -> str:
    default = option.nothing if option.default is None else option.default
    silent = option.default in (None, ()) and option.nothing != "all"
    if _required(option) or option.kind is bool or silent:
        return option.text
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    return f"{option.text} (default: {default})"


def speaker(quiet: bool) -> Callable[[str], None]:
    """A function for progress notes; with `quiet` it says nothing."""

    def say(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr, flush=True)

    return say


def document(content: object) -> None:
    """One JSON document on stdout."""
    text = to_json(content, indent=2, ensure_ascii=False, default=str)
    print(text)
