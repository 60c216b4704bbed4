"""The whole study: its cells, and what follows from them as text, tables and a page."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...evaluation.engines import Row
from ...zoo.recipe_json import from_json
from ..study import Conclusion, Study
from . import summary
from .design import WORK, Cell, Scale, cells
from .findings import findings
from .outcome import tables
from .picture import picture
from .report import write_report
from .rivals import further

REPORT, TABLES, PICTURE = "report.html", "tables.md", "flatness.svg"
SIZES = {"digits": 1_500, "mnist5k": 16_000, "mnist": 16_000, "cifar10": 13_600}  # coordinates
PER_COORDINATE = 0.4e-6  # core-seconds of an inner step, forward, of the learned optimizers
BACKWARD = 3.0  # times that


def conclude(scale: Scale, rows: Sequence[Row]) -> Conclusion:
    found = findings(scale, rows)
    files: dict[str, Callable[[Path], object]] = {
        REPORT: lambda path: write_report(path, scale, found, rows),
        PICTURE: lambda path: path.write_text(picture(found), encoding="utf-8"),
    }
    if scale.ablation:
        told = lambda: tables(scale, rows, found) + "\n"
        files[TABLES] = lambda path: path.write_text(told(), encoding="utf-8")
    return Conclusion(
        summary.text(scale, found),
        summary.content(scale, found),
        summary.verdicts(scale, found),
        files,
    )


def cost(scale: Scale) -> str:
    """Time and memory in words."""
    if scale.promised:
        return scale.promised
    planned = estimate(scale)
    return (
        f"about {planned['core_hours']:,g} core-hours and {planned['gigabytes']} GB of memory a "
        "worker"
    )


def estimate(scale: Scale) -> dict[str, Any]:
    """Cells, inner steps and core-hours, from the sizes alone: right within a factor of three."""
    planned = list(cells(scale))
    seconds = sum(core_seconds(cell) for cell in planned)
    return {
        "cells": len(planned),
        "inner_steps": float(f"{sum(inner_steps(cell) for cell in planned):.2g}"),
        "core_hours": float(f"{seconds / 3600:.2g}"),
        "gigabytes": 4 if scale.name != "paper" else 8,  # a worker's, of memory
    }


def inner_steps(cell: Cell) -> float:
    tasks = cell["tasks"].values() if cell["part"] == "learned" else [cell["task"]]
    looked = sum(
        how.get("horizon", cell["horizon"]) * how.get("runs", cell["runs"]) for how in tasks
    )
    if cell["part"] != "learned":
        return looked * len(cell["meta_seeds"])
    recipe = from_json(cell["recipe"])
    run, how = recipe.run, recipe.estimator
    judged = run.validation_episodes * (run.validate_every and run.steps // run.validate_every)
    tasks_at_once = 1 + len(cell.get("others") or ())
    made = run.steps * how.episodes * how.unroll * tasks_at_once
    return looked + made + judged * how.horizon


def core_seconds(cell: Cell) -> float:
    task = cell["meta_task"] if cell["part"] == "learned" else cell["task"]
    coordinates = SIZES.get(task["name"].split("-")[0], 16_000)
    return inner_steps(cell) * coordinates * PER_COORDINATE * BACKWARD


STUDY = Study(cells, WORK, conclude, cost=cost, keep_programs=True, further=further)
