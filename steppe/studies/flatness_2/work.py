"""One cell of the study: what `flatness.work` does, and rivals with a schedule.

Whatever is random in cell s goes by s. Two cells with the same meta-seed are pairs.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp

from ...core.optimizer import AbstractOptimizer
from ..flatness.work import budget, look, search, train, tuned
from .rivals import DECADES, RIVALS, scaled

Maker = Callable[[Any], AbstractOptimizer]


def run_cell(cell: Mapping[str, Any]) -> dict[str, Any]:
    """Run one cell of `stages`; returns plain numbers."""
    parts = {
        "search": search,
        "learned": learned,
        "trials": trials,
        "untuned": untuned,
        "tuned": tuned_rival,
    }
    return parts[cell["part"]](cell)


def learned(cell: Mapping[str, Any]) -> dict[str, Any]:
    """Meta-train, and look at every task."""
    opt, meta = train(cell)
    tasks = {label: look(cell, how, opt, cell["horizon"]) for label, how in cell["tasks"].items()}
    return {"meta": meta, "tasks": tasks}


def trials(cell: Mapping[str, Any]) -> dict[str, Any]:
    """Meta-train, then tune a factor and a schedule on the validation split of each task."""
    opt, meta = train(cell)
    return {"meta": meta} | each_tuned(cell, lambda steps: scaled(opt, steps))


def each_tuned(
    cell: Mapping[str, Any], makers: Callable[[int], Mapping[Any, Maker]]
) -> dict[str, Any]:
    """Tune an optimizer on each task of the cell, and look at it there.

    - `makers`: steps of a training → setting → what makes the optimizer of a rate, or of a factor
    """
    found = {
        label: _tuned(cell, how, makers(steps_on(cell, how)), steps_on(cell, how))
        for label, how in cell["tasks"].items()
    }
    return _apart(found)


def untuned(cell: Mapping[str, Any]) -> dict[str, Any]:
    """Tune the rate on the task of meta-training, and look at every task with it."""
    rival, how = RIVALS[cell["optimizer"]], cell["meta_task"]
    make = lambda steps: lambda lr: rival.make(lr, rival.usual, steps)
    steps = steps_on(cell, how)
    grid = {"grid": list(DECADES)}
    _, told = tuned({**cell, **grid}, how, {rival.usual: make(steps)}, steps)
    rate = jnp.asarray(told["lr"])
    tasks = {
        label: look(cell, other, make(steps_on(cell, other))(rate), steps_on(cell, other))
        for label, other in cell["tasks"].items()
    }
    return {"told": told, "tasks": tasks}


def tuned_rival(cell: Mapping[str, Any]) -> dict[str, Any]:
    """Tune on the validation split of each task, and look at it."""
    rival = RIVALS[cell["optimizer"]]
    cost = rival.make(1.0, rival.usual, 1).gradients_per_step
    assert cost is not None  # no line search is among them
    own = {**cell, "grid": list(rival.rates)}

    def of(how: Mapping[str, Any]) -> dict[str, Any]:
        steps = budget(cell, how, cost)
        make = lambda setting: lambda lr: rival.make(lr, setting, steps)
        return _tuned(own, how, {setting: make(setting) for setting in rival.settings}, steps)

    return _apart({label: of(how) for label, how in cell["tasks"].items()})


def _tuned(
    cell: Mapping[str, Any], how: Mapping[str, Any], makers: Mapping[Any, Maker], steps: int
) -> dict[str, Any]:
    opt, told = tuned(cell, how, makers, steps)
    return {"told": told, "look": look(cell, how, opt, steps)}


def _apart(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What was tried, and what was found with it, each by task."""
    return {
        "told": {label: each["told"] for label, each in found.items()},
        "tasks": {label: each["look"] for label, each in found.items()},
    }


def steps_on(cell: Mapping[str, Any], how: Mapping[str, Any]) -> int:
    """Steps of a training on a task."""
    return how.get("horizon", cell["horizon"])
