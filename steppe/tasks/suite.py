"""The named tasks, `build("mnist5k-mlp", hidden=(50,))`, and lists of them, `suite("digits")`.

`build("mnist-conv", relu_logits=True)` is the published network, `build("rastrigin-shifted",
particles=4)` the task for a swarm of four.
"""

import inspect
from collections.abc import Callable
from typing import Any

from ..core.entry import SEE, find
from ..core.messages import did_you_mean
from ..core.task import AbstractTask
from ..data.images import load
from ..data.names import DATA, LOCAL
from ..data.variants import varied
from .classify import Classify
from .names import SUITES, TASKS
from .wrappers.population import Population


def suite(name: str) -> tuple[str, ...]:
    """The names of the tasks in this list.

    >>> suite("l2o-scale-large")
    ('quadratic-784', 'quadratic-1024', 'quadratic-2048')
    """
    if name not in SUITES:
        raise ValueError(f"There is no suite {name!r}; {did_you_mean(name, SUITES, see=SEE)}")
    return SUITES[name]


def build(name: str, *, particles: int | None = None, **overrides) -> AbstractTask:
    """The task of this name, with some of its `options` changed.

    - `particles`: points that see each problem together (`Population`); None: the task itself
    """
    if particles is not None:
        return Population(build(name, **overrides), particles)
    given = options(name)
    for option in overrides:
        if option not in given:
            raise ValueError(
                f"The task {name} has no option {option!r}; {did_you_mean(option, given)}"
            )
    given |= overrides
    entry = TASKS[name]
    if entry.load() is not Classify:
        return entry.load()(**given)
    dataset = load(entry.arguments["dataset"], given.pop("folder", None))
    dataset = varied(dataset, **{option: given.pop(option) for option in VARIED})
    around = {option: given.pop(option) for option in ("batch_size", "report")}
    return Classify(dataset, entry.arguments["network"].load()(**given), **around)


def defaults(cls: Callable) -> dict[str, Any]:
    """The arguments that have a default, with it."""
    given = inspect.signature(cls).parameters.values()
    return {each.name: each.default for each in given if each.default is not each.empty}


VARIED = defaults(varied)  # options of every task on a data set


def makers(name: str) -> list[Callable]:
    """The classes and functions whose arguments are the options of this task."""
    entry = find("task", TASKS, name)
    network = entry.arguments.get("network") if entry.load() is Classify else None
    return [entry.load()] + ([network.load()] if network else [])


def options(name: str) -> dict[str, Any]:
    """Options of `build` for this task, with their values where nothing is said.

    Of a task on images or tables, its own options, those of its data (`data.variants`) and those
    of its network.

    >>> options("quadratic-dm")["instances"]
    128
    """
    entry = find("task", TASKS, name)
    if entry.load() is not Classify:
        return defaults(entry.load()) | entry.made()
    arguments = dict(entry.arguments)
    data, network = arguments.pop("dataset"), arguments.pop("network")
    folder = {"folder": None} if DATA[data].family == LOCAL else {}
    return folder | VARIED | defaults(Classify) | defaults(network.load()) | arguments
