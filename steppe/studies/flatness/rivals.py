"""Learned optimizers against those made by hand, on equal networks."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...evaluation.engines import Row
from .design import COSTLY, Cell, Scale
from .design import untuned as untuned_cell
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


def untuned(scale: Scale, rows: Sequence[Row]) -> Looks:
    """The optimizers at the rate that was best on the task of meta-training, on every other task.

    Where tuning on a task came to the same rate, this is what was found there.
    """
    found: dict[str, dict[str, dict[int, Result]]] = {}
    rates = base_rates(scale, rows)
    for row in rows:
        name, result = row.cell["optimizer"], row.result
        if row.cell["part"] not in ("classic", "untuned") or name not in rates or result is None:
            continue
        label = task_of(scale, row.cell["task"])
        if label in list(scale.tasks)[1:] and row.cell.get("lr", result.get("lr")) == rates[name]:
            looks = by_seed(result["task"], row.cell["meta_seeds"])
            found.setdefault(name, {})[label] = looks
    return found


def further(scale: Scale, rows: Sequence[Row]) -> Iterator[Cell]:
    """The cells that `untuned` needs: tasks for which tuning came to another rate."""
    rates = base_rates(scale, rows)
    for row in rows:
        name = row.cell["optimizer"]
        if row.cell["part"] != "classic" or name not in rates or row.result is None:
            continue
        if row.result["lr"] != rates[name]:
            yield untuned_cell(scale, name, row.cell["task"], rates[name])


def base_rates(scale: Scale, rows: Sequence[Row]) -> dict[str, float]:
    """Rates that were tuned on the task of meta-training."""
    return {
        row.cell["optimizer"]: row.result["lr"]
        for row in rows
        if row.cell["part"] == "classic"
        and row.result is not None
        and row.cell["optimizer"] in scale.untuned
        and row.cell["task"] == scale.meta_task
    }


def task_of(scale: Scale, how: Mapping[str, Any]) -> str:
    """The label of a task, "" if it is none of the scale's; curved or not."""
    bare = lambda task: {name: x for name, x in task.items() if name != "curved"}
    return next((label for label, x in scale.tasks.items() if bare(x) == bare(how)), "")


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
    """Numbers found on a task, for each meta-seed its runs."""
    runs = found["runs"]
    of = lambda i, point: {x: values[i * runs : (i + 1) * runs] for x, values in point.items()}
    return {
        seed: {
            "at": {level: of(i, point) for level, point in found["at"].items()},
            "path": {metric: [rows[i]] for metric, rows in found["path"].items()},
        }
        for i, seed in enumerate(seeds)
    }
