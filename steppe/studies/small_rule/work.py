"""One cell of the study: an optimizer on its tasks, with or without trials."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from ...core.optimizer import AbstractOptimizer
from ...zoo.io import load
from ..flatness.work import look, start
from ..flatness_2.rivals import RIVALS, scaled
from ..flatness_2.work import each_tuned, steps_on, tuned_rival
from ..shipped_weights.tries import trained
from ..shipped_weights.tries_design import TRIES, Tries
from .design import CANDIDATES


def run_cell(cell: Mapping[str, Any]) -> dict[str, Any]:
    """Run one cell of `design.cells`; returns plain numbers."""
    parts = {"look": looked_at, "start": looked_at, "trials": trials, "tuned": tuned_rival}
    return parts[cell["part"]](cell)


def looked_at(cell: Mapping[str, Any]) -> dict[str, Any]:
    """Look at every task with the optimizer as it is, or at the rate of the cell."""
    if "lr" in cell:
        make = RIVALS[cell["optimizer"]].make
        of = lambda steps: make(jnp.asarray(cell["lr"]), cell["setting"], steps)
    else:
        name = cell["optimizer"]
        opt = candidate(name) if cell["part"] == "look" else untrained(name)
        of = lambda steps: opt
    tasks = {}
    for label, how in cell["tasks"].items():
        steps = steps_on(cell, how)
        tasks[label] = look(cell, how, of(steps), steps)
    return {"tasks": tasks}


def candidate(name: str) -> AbstractOptimizer:
    """A learned optimizer that is judged."""
    return load(Path(__file__).with_name(f"{name}.safetensors"))


def untrained(name: str) -> AbstractOptimizer:
    """A learned optimizer as its meta-training found it."""
    return start(trained(TRIES[CANDIDATES[name]], Tries().steps))[0]


def trials(cell: Mapping[str, Any]) -> dict[str, Any]:
    """A factor and a schedule are tuned on the validation split of each task."""
    opt = candidate(cell["optimizer"])
    return each_tuned(cell, lambda steps: scaled(opt, steps))
