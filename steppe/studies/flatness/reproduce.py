"""The whole study: do the cells, tell what they say.

rows.jsonl       one line a cell (`evaluate.grid`); what is in it is not done again
findings.json    tables and verdicts
table.txt        the same for a reader
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from ...evaluate.grid import Grid, read_rows, run_grid
from ...zoo.recipe_json import from_json
from . import summary as telling
from .design import WORK, Cell, Scale, cells
from .findings import Findings, findings
from .report import write_report

ROWS, FINDINGS, TABLE, REPORT = "rows.jsonl", "findings.json", "table.txt", "report.html"
SIZES = {"digits": 1_500, "mnist5k": 16_000, "mnist": 16_000, "cifar10": 13_600}  # coordinates
PER_COORDINATE = 0.4e-6  # core-seconds of an inner step, forward, of the learned optimizers
BACKWARD = 3.0  # times that


def reproduce(
    scale: Scale,
    folder: str | os.PathLike,
    *,
    engine: Literal["serial", "processes", "ray"] = "processes",
    workers: int = 2,
    say: Callable[[str], None] = print,
) -> tuple[Findings, Grid]:
    """Do what is not done yet in `folder`, then write the findings there.

    Compiled programs are kept in the folder as well, for the workers to share.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str((folder / ".compiled").resolve()))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
    grid = run_grid(cells(scale), WORK, out=folder / ROWS, engine=engine, workers=workers, say=say)
    return conclude(scale, folder), grid


def conclude(scale: Scale, folder: str | os.PathLike) -> Findings:
    """The findings of the rows there are, written beside them."""
    folder = Path(folder)
    rows = read_rows(folder / ROWS)
    found = findings(scale, rows)
    document = json.dumps(telling.content(scale, found), indent=1, allow_nan=False)
    (folder / FINDINGS).write_text(document + "\n", encoding="utf-8")
    (folder / TABLE).write_text(telling.text(scale, found) + "\n", encoding="utf-8")
    write_report(folder / REPORT, scale, found, rows)
    return found


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
    judged = run.steps // max(1, run.validate_every) * run.validation_episodes
    return looked + run.steps * how.episodes * how.unroll + judged * how.horizon


def core_seconds(cell: Cell) -> float:
    task = cell["meta_task"] if cell["part"] == "learned" else cell["task"]
    coordinates = SIZES.get(task["name"].split("-")[0], 16_000)
    return inner_steps(cell) * coordinates * PER_COORDINATE * BACKWARD
