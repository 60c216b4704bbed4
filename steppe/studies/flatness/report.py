"""The study as one HTML page that opens offline."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ...evaluation.engines import Row
from ...report.page import render, safe, write_page
from . import figures, summary
from .design import COSTLY, NONE, NORM, Scale
from .findings import Findings
from .lines import Line, key
from .posthoc import TITLES

TASKS = 2  # drawn: the task of meta-training, and one more
RIVALS = ("adam", "sam")  # drawn beside the arms
STYLE = {"flat": 0, NONE: 1, NORM: 2, "adam": 3, "sam": 4}


def write_report(
    path: str | os.PathLike, scale: Scale, found: Findings, rows: Iterable[Row]
) -> Path:
    """Write the page and return its path."""
    rows = [row for row in rows if row.result is not None]
    page = render(
        __package__ or "",
        "report.html.j2",
        title="Flat minima, learned",
        facts=facts(scale, rows),
        answer=summary.answer(scale, found),
        verdicts=summary.verdicts(scale, found),
        tables=tables(scale, found),
        panels=[
            panel(scale, rows, optimizer, label)
            for optimizer in scale.recipes
            for label in list(scale.tasks)[:TASKS]
            if any(matches(row, optimizer, scale.flat[optimizer]) for row in rows)
        ],
        winners=summary.winners(found),
        losses=losses(found),
        fairness=fairness(scale, rows),
        row=summary.cells_of,
        command=f"steppe reproduce flatness --scale {scale.name}",
    )
    return write_page(path, page)


def losses(found: Findings) -> list[tuple[str, Line]]:
    """(task, line) of what is worse in both intervals with the penalty, or than a tuned one."""
    flat = (*found.flatness, *found.generalisation, *found.control, *found.held_out)
    general = (*flat, *found.rivals)
    found_in = [("all", line) for line in general]
    found_in += [(task, line) for task, lines in found.by_task.items() for line in lines]
    return [(task, line) for task, line in found_in if line.worse]


def tables(scale: Scale, found: Findings) -> list[tuple[str, str, list[Any], list[Line]]]:
    """(title, what it shows, figures, lines)"""
    drawn = lambda lines, name, *metrics: [
        safe(figures.forest(lines, metric, name)) for metric in metrics if lines
    ]
    general = ("ln test_loss", "test_accuracy")
    best = [
        line for line in found.rivals if (line.optimizer, line.ours) == summary.leader(scale, found)
    ]
    return [
        (
            "Are the minima flatter?",
            "Curvature with the penalty less without, where both have brought the training loss "
            "equally far. Mean over tasks of the logarithm, shown as a ratio.",
            drawn(found.flatness, "flatness", "ln trace", "ln top_eigenvalue"),
            found.flatness,
        ),
        (
            "Do they generalise?",
            "Test loss and accuracy at the end of training, on tasks that meta-training never saw.",
            drawn(found.generalisation, "generalisation", *general),
            found.generalisation,
        ),
        (
            "Would small weights have done as well?",
            "The same against a penalty on ‖θ‖² in place of flatness.",
            drawn(found.control, "control", *general),
            found.control,
        ),
        (
            "Would held-out data have done as well?",
            "The same against meta-training that is given held-out data: to choose the optimizer "
            "that is kept (early), or as its objective (valid). Plain technique.",
            drawn(found.held_out, "held_out", *general),
            found.held_out,
        ),
        (
            "Every measure",
            "Few meta-seeds, no correction: to find what to look at next, not to claim anything.",
            drawn(found.ablation, "ablation", "ln trace", *general),
            found.ablation,
        ),
        (
            "Against tuned optimizers",
            "With the penalty less the tuned optimizer, on tasks that meta-training never saw, "
            "each rival tuned for each of them. Drawn: the flat optimizer of the lowest test loss.",
            drawn(best, "rivals", *general),
            found.rivals,
        ),
        *(
            (
                f"Post hoc: {title}",
                "Nobody registered this: it was looked at after the numbers were known.",
                [],
                getattr(found.post_hoc, name),
            )
            for name, title in TITLES.items()
        ),
    ]


def matches(row: Row, optimizer: str, arm: str) -> bool:
    cell = row.cell
    return cell["part"] == "learned" and key(row)[:3] == (optimizer, "plain", arm)


def panel(scale: Scale, rows: Sequence[Row], optimizer: str, label: str) -> dict[str, Any]:
    """One learned optimizer on one task: its arms and two tuned rivals."""
    paths: dict[str, dict[str, Any]] = {}
    points = {}
    for name, arm in (("flat", scale.flat[optimizer]), (NONE, NONE), (NORM, NORM)):
        results = [row.result for row in rows if matches(row, optimizer, arm) and row.result]
        if not results:
            continue
        seen = [result["tasks"][label] for result in results]
        paths[name] = {
            "steps": seen[0]["steps"],
            "path": {
                metric: [one["path"][metric][0] for one in seen] for metric in seen[0]["path"]
            },
            "gradients": 1,
            "ms": sum(result["meta"]["ms_per_step"] for result in results) / len(results),
        }
        if "trace" in seen[0]["at"]["end"]:
            points[name] = [one["at"] for one in seen]
    for row in rows:
        cell, result = row.cell, row.result or {}
        budget = "gradients" if cell.get("optimizer") in COSTLY else "steps"
        if (
            cell["part"] == "classic"
            and cell["optimizer"] in RIVALS
            and cell["task"] == scale.tasks[label]
            and cell["budget"] == budget
        ):
            paths[cell["optimizer"]] = result["task"] | {
                "gradients": result["gradients"] / result["steps"],
                "ms": result["ms_per_step"],
            }
    by = lambda how: safe(figures.curves(paths, STYLE, "test_loss", how))
    return {
        "optimizer": optimizer,
        "task": label,
        "style": {shown(scale, optimizer, name): STYLE[name] for name in paths},
        "curves": {how: by(how) for how in figures.AXES},
        "train_test": safe(figures.train_test(paths, STYLE)),
        "flatness": safe(figures.flatness(points, STYLE)) if points else None,
    }


def shown(scale: Scale, optimizer: str, name: str) -> str:
    words = {"flat": scale.flat[optimizer], NONE: "no penalty", NORM: "‖θ‖² penalty"}
    return words.get(name, f"{name}, tuned")


def facts(scale: Scale, rows: Sequence[Row]) -> dict[str, str]:
    environments = [row.environment for row in rows if row.environment]
    listed = lambda name: ", ".join(
        dict.fromkeys(str(e[name]) for e in environments if e.get(name) is not None)
    )
    hours = sum(row.seconds or 0.0 for row in rows) / 3600
    return {
        name: value
        for name, value in {
            "scale": scale.name,
            "cells": f"{len(rows)} with a result",
            "meta-seeds": str(len(scale.meta_seeds)),
            "time": f"{hours:.1f} worker-hours",
            "processor": listed("processor"),
            "commit": listed("commit"),
            "date": listed("date").split("T")[0],
        }.items()
        if value
    }


def fairness(scale: Scale, rows: Sequence[Row]) -> list[tuple[bool, str]]:
    """Points in favour of the fairness of the comparison (True), and against it (False)."""
    learned = [row for row in rows if row.cell["part"] == "learned" and row.result]
    classic = [row for row in rows if row.cell["part"] == "classic" and row.result]
    first, *others = scale.tasks
    said = [
        (True, "With and without penalty: same weights at the start, same problems, same budget."),
        (
            True,
            "Meta-training sees training data alone, also in the choice of the optimizer that is "
            "kept; but for the controls that are given held-out data.",
        ),
        (
            True,
            f"Tasks never seen in meta-training: {', '.join(others)}. Their images "
            "are those of meta-training where they are 8×8 digits; their networks are not.",
        ),
        (False, f"“{first}” is the task of meta-training, with new starts; it counts in flatness."),
    ]
    if classic:
        trials = sum(row.result["trials"] for row in classic if row.result)
        said.append(
            (
                True,
                f"Every rival is tuned for each task and budget on the validation split: "
                f"{len(classic)} searches, {trials:,} trainings in all. Learned optimizers have "
                "nothing tuned for a task.",
            )
        )
        edges = [
            f"{row.cell['optimizer']} on {row.cell['task']['name']}"
            for row in classic
            if row.result and row.result["edge"]
        ]
        if edges:
            said.append((False, f"Best rate at the end of its grid: {', '.join(edges)}."))
    if learned:
        hours = sum(row.result["meta"]["seconds"] for row in learned if row.result) / 3600
        said.append(
            (False, f"Meta-training took {hours:.1f} hours in all, which no rival has to spend.")
        )
    return said
