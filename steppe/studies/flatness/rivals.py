"""Learned optimizers against those made by hand, on equal networks."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...evaluation.engines import Row
from .design import COSTLY, Scale
from .lines import END, Arm, Learned, Line, Number, Place, Readings, Result, every, family, minus

Looks = Mapping[str, Mapping[str, Mapping[int, Result]]]  # rival → task → meta-seed → what it found


def tuned(scale: Scale, rows: Sequence[Row], tasks: Sequence[str]) -> Looks:
    """The optimizers that were tuned on each of `tasks`."""
    found: dict[str, dict[str, dict[int, Result]]] = {}
    for row in rows:
        if row.cell["part"] == "classic" and row.result is not None:
            label = next((x for x in tasks if scale.tasks[x] == row.cell["task"]), None)
            if label is not None:
                looks = by_seed(row.result["task"], row.cell["meta_seeds"])
                found.setdefault(rival(row.cell), {})[label] = looks
    return found


def untuned(rows: Sequence[Row]) -> Looks:
    """The optimizers whose settings are those that were best on the task of meta-training."""
    return {
        rival(row.cell): {
            label: by_seed(look, row.cell["meta_seeds"])
            for label, look in row.result["tasks"].items()
        }
        for row in rows
        if row.cell["part"] == "untuned" and row.result is not None
    }


def against(
    scale: Scale,
    learned: Learned,
    theirs: Looks,
    arms: Sequence[Arm],
    tasks: Sequence[str],
    readings: Readings = END,
) -> list[Line]:
    """Learned less hand-made, mean over `tasks`; one family a rival, one unit a meta-seed."""
    lines: list[Line] = []
    for name, looks in theirs.items():
        found: dict[Place, list[Number]] = {}
        for o, t, arm in arms:
            results = {s: learned.get((o, t, arm, s)) for s in scale.meta_seeds}
            for metric, read in readings.items():
                found[o, t, arm, name, metric] = [
                    None
                    if result is None or set(tasks) - set(looks)
                    else every([minus(read(result["tasks"][x]), read(looks[x][s])) for x in tasks])
                    for s, result in results.items()
                ]
        lines += family(found)
    return lines


def rival(cell: Mapping[str, Any]) -> str:
    """Its name in a table: one that takes several gradients a step has two budgets."""
    name = cell["optimizer"]
    return f"{name}, equal {cell['budget']}" if name in COSTLY else name


def by_seed(found: Result, seeds: Sequence[int]) -> dict[int, Result]:
    """What was found on a task, for each meta-seed its runs."""
    runs = found["runs"]
    of = lambda i, point: {x: values[i * runs : (i + 1) * runs] for x, values in point.items()}
    return {
        seed: {
            "at": {level: of(i, point) for level, point in found["at"].items()},
            "path": {metric: [rows[i]] for metric, rows in found["path"].items()},
        }
        for i, seed in enumerate(seeds)
    }
