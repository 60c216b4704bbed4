"""`steppe list`: the tables of names."""

import dataclasses
import textwrap
from collections.abc import Mapping
from typing import Literal

from ..core.settings import setting
from ..data.names import NAMES as DATA
from ..flatness.names import NAMES as MEASURES
from ..tasks.names import NAMES as TASKS
from ..tasks.names import SUITES
from ..zoo.names import NAMES as OPTIMIZERS
from ..zoo.names import PRESETS, PRETRAINED
from .output import document
from .parse import make

TABLES: dict[str, Mapping[str, str | tuple[str, ...]]] = {
    "tasks": TASKS,
    "suites": SUITES,
    "optimizers": OPTIMIZERS,
    "presets": PRESETS,
    "pretrained": PRETRAINED,
    "data": DATA,
    "measures": MEASURES,
}
WIDTH = 96


@dataclasses.dataclass(frozen=True, kw_only=True)
class List:
    """Name the tasks, optimizers, presets, data sets and measures that the other commands take.

    Suites are named lists of tasks; a pretrained optimizer can be used wherever a checkpoint can.
    """

    what: (
        Literal["tasks", "suites", "optimizers", "presets", "pretrained", "data", "measures"] | None
    ) = setting(
        None,
        "tasks, suites, optimizers, presets, pretrained, data or measures (default: all)",
        positional=True,
    )
    json: bool = setting(False, "print them as one JSON document")


def run(values: dict) -> int:
    options = make(List, values)
    tables = {what: TABLES[what] for what in ([options.what] if options.what else TABLES)}
    if options.json:
        document(tables)
        return 0
    for what, table in tables.items():
        print(what)
        wide = max(map(len, table)) + 4
        for name, about in table.items():
            words = about if isinstance(about, str) else ", ".join(about)
            lines = textwrap.wrap(words, WIDTH - wide, break_on_hyphens=False)
            print(f"  {name:<{wide - 2}}" + ("\n" + " " * wide).join(lines))
    return 0
