"""Rows of a study whose answer is known, made up without running anything."""

import math
import random
from collections.abc import Callable

from steppe.evaluation.engines import Row, cell_id
from steppe.studies.flatness import design
from steppe.studies.flatness.rivals import further
from steppe.studies.flatness.scales import SMALL

# Small, with two techniques and a task less.
SCALE = design.change(
    SMALL,
    techniques={name: SMALL.techniques[name] for name in ("plain", "cl")},
    tasks={name: SMALL.tasks[name] for name in ("same task", "sigmoid", "MNIST")},
    ablation=("jacobian",),
    later={},
    levels=(0.2, 0.05),
    meta_seeds=tuple(range(10)),
    runs=2,
)
CELLS = list(design.cells(SCALE))
Effect = Callable[[str, str, str, str], float]  # optimizer, technique, arm, metric → ln ratio


def row(cell: dict, result: dict | None, error: str | None = None) -> Row:
    return Row(cell_id(cell), cell, result, error, 1.0, 1, {})


def rows(effect: Effect, scale: design.Scale = SCALE, noise: float = 0.02) -> list[Row]:
    """Every cell of `scale`, its numbers shifted by `effect`; pairs share most of their noise."""
    cells = CELLS if scale is SCALE else design.cells(scale)
    made = [row(cell, result(cell, effect, noise)) for cell in cells]
    return made + [row(cell, result(cell, effect, noise)) for cell in further(scale, made)]


def result(cell: dict, effect: Effect, noise: float = 0.02) -> dict:
    own = random.Random(cell_id(cell))
    if cell["part"] != "learned":
        seeds = len(cell["meta_seeds"])
        worse = 0.3 if cell["part"] == "classic" else 0.6
        shift = lambda metric: worse if metric == "test_loss" else -0.02
        task = look(own, own, shift, cell["runs"] * seeds, noise, seeds)
        if cell["part"] == "untuned":
            return {"task": task}
        lr = {"digits-relu": 0.1, "digits-mlp": 0.1}.get(cell["task"]["name"], 0.01)
        told = {"lr": lr, "edge": "", "setting": 0.0, "trials": 60, "steps": 500}
        return told | {"gradients": 500, "ms_per_step": 0.2, "task": task}
    shared = random.Random(str((cell["optimizer"], cell["technique"], cell["meta_seed"])))
    shift = lambda metric: effect(cell["optimizer"], cell["technique"], cell["arm"], metric)
    tasks = {name: look(shared, own, shift, cell["runs"], noise) for name in cell["tasks"]}
    return {"meta": {"ms_per_step": 1.0, "seconds": 60.0}, "tasks": tasks}


def run_cell(cell: dict) -> dict:
    """In place of `work.run_cell`."""
    return result(cell, works)


def look(shared, own, shift, runs: int, noise: float, seeds: int = 1) -> dict:
    """What `descend` says; level 0.05 is never reached."""

    def values(metric: str, typical: float) -> list[float]:
        spread = lambda: shared.gauss(0, 0.3) + own.gauss(0, noise)
        if metric == "test_accuracy":
            return [0.9 + shift(metric) + 0.1 * spread() / 10 for _ in range(runs)]
        return [typical * math.exp(shift(metric) + spread()) for _ in range(runs)]

    typical = {"train_loss": 0.15, "test_loss": 0.2, "test_accuracy": 0.9, "size": 100.0,
               "trace": 10.0, "top_eigenvalue": 2.0, "adaptive_trace": 5.0,
               "rise": 0.1}  # fmt: skip
    point = lambda: {metric: values(metric, x) for metric, x in typical.items()}
    never = {metric: [None] * runs for metric in typical}
    along = lambda metric: [values(metric, typical[metric])[:1] * 3 for _ in range(seeds)]
    path = {metric: along(metric) for metric in ("train_loss", "test_loss", "test_accuracy")}
    at = {"0.2": point(), "0.05": never, "end": point()}
    return {"steps": [100, 300, 500], "path": path, "at": at, "runs": runs // seeds}


def nothing(*_: str) -> float:
    return 0.0


def works(optimizer: str, technique: str, arm: str, metric: str) -> float:
    """The flat arm halves curvature and is better in test by more than the norm penalty is."""
    if arm == SCALE.flat[optimizer]:
        flat = {"trace": -0.7, "top_eigenvalue": -0.7, "test_loss": -0.3, "test_accuracy": 0.02}
        return flat.get(metric, 0.0)
    return -0.05 if (arm, metric) == (design.NORM, "test_loss") else 0.0


def breaks(cell: dict) -> dict:
    """A cell in ten fails."""
    if cell_id(cell).startswith("0"):
        raise RuntimeError("no such luck")
    return run_cell(cell)


def process(of):
    """The process that this runs in."""
    import os

    return {"of": of, "pid": os.getpid()}
