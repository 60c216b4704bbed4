"""Tries at the recipe of a second version: meta-trainings judged on tasks that no study judges by.

    steppe reproduce shipped_weights.tries --scale small

Each try changes the recipe `rnnprop-steady` in a few places. It is judged beside rivals that had no
trials either: their settings are those that the second study of flatness found on the task of
meta-training (`flatness_2`, division 0). One meta-seed each, so that a small difference is chance;
two tries have a second. Two of the optimizers that are shipped are looked at, too.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax.numpy as jnp

from ...evaluation.engines import Row
from ...zoo.io import load
from ...zoo.recipe_json import to_flat
from ..flatness import work
from ..flatness.lines import END, STOP, general
from ..flatness_2.design import divided
from ..flatness_2.rivals import RIVALS
from ..flatness_2.scales import SMALL
from ..study import Cell, Conclusion, Study, markdown
from .tries_design import BARE, META_SEED, SETTINGS, SHORT, TASKS, TRIES, Tries, Try

SHOWN = ("train_loss", "test_loss", "test_accuracy")
BESIDE = "adamw-cosine"  # rival of the table by tasks


def cells(settings: Tries) -> Iterator[Cell]:
    tasks = {label: how | BARE for label, how in (TASKS | SHORT).items()}
    looks = {"tasks": tasks, "horizon": settings.horizon, "every": 5, "levels": [0.1], "runs": 4}
    for name, (lr, own) in SETTINGS.items():
        yield {"part": "rival", "name": name, "lr": lr, "setting": own, "meta_seed": META_SEED,
               **looks}  # fmt: skip
    for name in settings.shipped:
        yield {"part": "shipped", "name": name, "meta_seed": META_SEED, **looks}
    for name in settings.names:
        yield {"part": "try", "name": name, **trained(TRIES[name], settings.steps), **looks}


def trained(made: Try, steps: int) -> Cell:
    """The part of a cell that says how it is meta-trained."""
    return {
        "recipe": to_flat(made.recipe(steps)),
        "meta_task": SMALL.meta_task | {"split": 0},
        "others": {**divided(SMALL.others, 0), **made.others},
        "meta_seed": made.meta_seed,
    }


def run(cell: Cell) -> dict[str, Any]:
    """Meta-train, or take what there is, and look at every task with it."""
    meta = {}
    if cell["part"] == "try":
        opt, meta = work.train(cell)
        make = lambda steps: opt
    elif cell["part"] == "shipped":
        opt = load(cell["name"])
        make = lambda steps: opt
    else:
        lr, own = jnp.asarray(cell["lr"]), cell["setting"]
        make = lambda steps: RIVALS[cell["name"]].make(lr, own, steps)
    tasks = {}
    for label, how in cell["tasks"].items():
        steps = min(how.get("horizon", cell["horizon"]), cell["horizon"])
        found = work.look(cell | {"meta_seed": META_SEED}, how, make(steps), steps)["at"]
        kept = {at: {name: found[at][name] for name in SHOWN} for at in ("stop", "end")}
        tasks[label] = {"at": kept}
    return {"meta": meta, "tasks": tasks}


def conclude(settings: Tries, rows: Sequence[Row]) -> Conclusion:
    found = {row.cell["name"]: row for row in rows if row.result is not None}
    order = (*SETTINGS, *settings.shipped, *settings.names)
    made = {name: found[name] for name in order if name in found}
    tries = {name: row for name, row in made.items() if row.cell["part"] != "rival"}
    rivals = {name: row for name, row in made.items() if name not in tries}
    head = ["", *(f"less {name}" for name in rivals), "gate"]
    shown = [
        [name, *(told(row, rival) for rival in rivals.values()), gate(row)]
        for name, row in {**rivals, **tries}.items()
    ]
    parts = [markdown(head, shown)]
    if BESIDE in rivals:
        labels = [*TASKS, *SHORT]
        each = [
            [name, *(f"{ratio(row, rivals[BESIDE], label):.2f}" for label in labels)]
            for name, row in tries.items()
        ]
        parts += [f"Test loss over that of {BESIDE}, task by task:", markdown(["", *labels], each)]
    content = {
        name: {rival: ratio(row, its) for rival, its in rivals.items()}
        for name, row in tries.items()
    }
    return Conclusion("\n\n".join(parts), {"ratios": content})


def told(row: Row, rival: Row) -> str:
    """Ratio of test losses and difference of accuracies, at the validated stop, over the tasks."""
    gain = general(list(TASKS), STOP)["test_accuracy"](row.result or {}, rival.result or {})
    return f"{ratio(row, rival):.2f}, {'–' if gain is None else f'{100 * gain:+.2f}'}"


def ratio(row: Row, rival: Row, label: str = "") -> float:
    """Geometric mean of ratios of test losses over the tasks, or on one; inf where one diverged."""
    tasks, readings = [label] if label else list(TASKS), END if label in SHORT else STOP
    off = general(tasks, readings)["ln test_loss"](row.result or {}, rival.result or {})
    return math.inf if off is None else math.exp(off)


def gate(row: Row) -> str:
    sd = (row.result or {})["meta"].get("tail_sd")
    return "" if sd is None else f"{sd:.1%}"


STUDY = Study(cells, f"{__name__}:run", conclude, keep_programs=True)
