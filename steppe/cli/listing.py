"""`steppe list`: the tables of names."""

import dataclasses
from collections.abc import Mapping

from ..core.settings import setting
from ..studies.names import STUDIES
from ..tasks.names import SUITES
from ..zoo.registry import TABLES
from .parse import columns, document, make

TABLE_NAMES = ("tasks", "suites", *(what for what in TABLES if what != "tasks"), "studies")


@dataclasses.dataclass(frozen=True, kw_only=True)
class List:
    """Name the tasks, optimizers, presets, data sets and measures that the other commands take.

    Suites are named lists of tasks; a pretrained optimizer can be used wherever a checkpoint can; a
    study is done again by `steppe reproduce`.
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
        rows = [
            (n, about if isinstance(about, str) else ", ".join(about)) for n, about in table.items()
        ]
        print("\n".join([what, *columns(rows)]))
    return 0


def lines(what: str) -> Mapping[str, str | tuple[str, ...]]:
    """A table: name → the line about it; of a suite, its tasks."""
    if what == "studies":
        return {name: study.question for name, study in STUDIES.items()}
    return SUITES if what == "suites" else {n: e.line for n, e in TABLES[what].items()}
