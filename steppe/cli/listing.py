"""`steppe list`: the tables of names."""

import dataclasses
import textwrap
from collections.abc import Mapping

from ..core.settings import setting
from ..tasks.names import SUITES
from ..zoo.registry import TABLES
from .parse import document, make

TABLE_NAMES = ("tasks", "suites", *(what for what in TABLES if what != "tasks"))
WIDTH = 96


@dataclasses.dataclass(frozen=True, kw_only=True)
class List:
    """Name the tasks, optimizers, presets, data sets and measures that the other commands take.

    Suites are named lists of tasks; a pretrained optimizer can be used wherever a checkpoint can.
    """

    what: str | None = setting(
        None,
        f"{', '.join(TABLE_NAMES[:-1])} or {TABLE_NAMES[-1]} (default: all)",
        choices=TABLE_NAMES,
        positional=True,
    )
    json: bool = setting(False, "print them as one JSON document")


def run(values: dict) -> int:
    options = make(List, values)
    tables = {what: lines(what) for what in ([options.what] if options.what else TABLE_NAMES)}
    if options.json:
        document(tables)
        return 0
    for what, table in tables.items():
        print(what)
        wide = max(map(len, table)) + 4
        for name, about in table.items():
            words = about if isinstance(about, str) else ", ".join(about)
            wrapped = textwrap.wrap(words, WIDTH - wide, break_on_hyphens=False)
            print(f"  {name:<{wide - 2}}" + ("\n" + " " * wide).join(wrapped))
    return 0


def lines(what: str) -> Mapping[str, str | tuple[str, ...]]:
    """A table: name → the line about it; of a suite, its tasks."""
    return SUITES if what == "suites" else {n: e.line for n, e in TABLES[what].items()}
