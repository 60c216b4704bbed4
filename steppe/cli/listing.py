"""`steppe list`: the tables of names."""

import textwrap
from collections.abc import Mapping

from ..core.messages import did_you_mean
from ..data.names import NAMES as DATA
from ..flatness.names import NAMES as MEASURES
from ..runs.errors import BadInput
from ..tasks.names import NAMES as TASKS
from ..tasks.names import SUITES
from ..zoo.names import NAMES as OPTIMIZERS
from ..zoo.names import PRESETS, PRETRAINED
from .options import List
from .output import document
from .parse import build

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


def run(values: dict) -> int:
    options = build(List, values)
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


def check(name: str, known: Mapping[str, str], what: str) -> None:
    """Refuse a name that is in no table."""
    if name not in known:
        raise BadInput(f"There is no {what} {name!r}; {did_you_mean(name, known)}")


def learned() -> dict[str, str]:
    """The optimizers that have a network to train."""
    return {name: about for name, about in OPTIMIZERS.items() if about.startswith("learned")}


def tunable() -> dict[str, str]:
    """The hand-made optimizers with one learning rate to tune."""
    return {name: about for name, about in OPTIMIZERS.items() if ": lr" in about}
