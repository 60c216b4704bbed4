"""The whole study: its cells as far as their data are here, and what follows from them."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from ...data.images import load
from ...evaluation.engines import Row
from ...store.untrusted import FileError
from ...tasks.names import TASKS
from ..flatness.design import Cell, Tasks
from ..flatness.reproduce import core_seconds
from ..study import Study
from . import stages
from .design import FIRST, GRID, WORK, Scale, learned
from .outcome import conclude


def present(scale: Scale) -> Scale:
    """The scale without the tasks whose data are not on this machine."""
    groups: dict[str, Any] = {
        name: {label: how for label, how in getattr(scale, name).items() if there(how)}
        for name in ("validation", "digits", "elsewhere", "short")
    }
    return dataclasses.replace(scale, **groups)


def there(how: Tasks | dict[str, Any]) -> bool:
    try:
        load(str(TASKS[str(how["name"])].arguments["dataset"]), None)
    except (FileError, ImportError, OSError, ValueError):
        return False
    return True


def cells(scale: Scale) -> Iterator[Cell]:
    return stages.cells(present(scale))


def further(scale: Scale, rows: Sequence[Row]) -> Iterator[Cell]:
    return stages.further(present(scale), rows)


def cost(scale: Scale) -> str:
    """Time and memory in words."""
    if scale.promised:
        return scale.promised
    cell = learned(scale, scale.rule, "none", {}, scale.meta_seeds[0])
    arms = len(scale.arms) + (len(scale.recipes) - 1) * len(FIRST)
    trainings = arms * (len(scale.meta_seeds) + len(scale.search_seeds) * len(GRID))
    hours = core_seconds(cell) * trainings / 3600
    return f"about {hours:,.0f} core-hours and 8 GB of memory a worker"


STUDY = Study(cells, WORK, conclude, cost=cost, keep_programs=True, further=further)
