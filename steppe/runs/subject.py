"""An optimizer by its name or file, and the task it is looked at on. No JAX until `prepare`."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..core.entry import SEE
from ..core.messages import did_you_mean
from ..optimizers.names import OPTIMIZERS
from ..store.manifest import verify
from ..store.untrusted import shown
from ..tasks.names import TASKS
from ..zoo.registry import HUB, PRETRAINED, WEIGHTS, learned, tunable
from ..zoo.resolve import resolve
from .folder import MODEL, BadInput

if TYPE_CHECKING:
    from ..core.optimizer import AbstractOptimizer
    from ..core.task import AbstractTask
    from ..core.types import Key

LARGEST_OPTION = 2**20


class Subject(NamedTuple):
    """An optimizer, the task it is looked at on, and how it was trained."""

    optimizer: str | Path  # name, or checkpoint
    name: str  # as shown
    task: str
    task_options: Mapping[str, Any]
    horizon: int | None  # of its meta-training

    @property
    def task_name(self) -> str:
        """The task as shown: "digits-relu, start he"."""
        return ", ".join([self.task, *(f"{name} {x}" for name, x in self.task_options.items())])

    def build_task(self) -> "AbstractTask":
        from ..tasks import suite

        known = suite.options(self.task)
        for name, x in self.task_options.items():
            if name in known and not alike(x, known[name]):
                raise BadInput(
                    f"The option {name} of the task {self.task} is by default {known[name]!r}, and "
                    f"{shown(x)} is given; give one of that type."
                )
        return suite.build(self.task, **self.task_options)


def alike(x: object, default: object) -> bool:
    """True if an option, which may be from a file, has the type and not much over the size of it.

    - `default`: the value where nothing is said; None: any number or word may stand there
    """
    if isinstance(default, list | tuple):
        return isinstance(x, list | tuple) and all(alike(y, default[0]) for y in x if default)
    if default is None:
        return x is None or isinstance(x, str) or alike(x, 0) or alike(x, 0.0)
    if isinstance(x, bool) or isinstance(default, bool | str):
        return type(x) is type(default)
    small = isinstance(x, int | float) and abs(x) <= LARGEST_OPTION
    return small and (isinstance(x, int) or isinstance(default, float))


class Prepared(NamedTuple):
    """An optimizer that is ready to run."""

    opt: "AbstractOptimizer"
    lr: float | None  # None: it was meta-trained
    tuning: dict[str, Any]  # how the rate was found, {} where it was given


def check(name: str, known: Collection[str], what: str) -> None:
    """Refuse a name that is in no table.

    - `what`: the word for one of them, e.g. "task"
    """
    if name not in known:
        raise BadInput(f"There is no {what} {name!r}; {did_you_mean(name, known, see=SEE)}")


def subject(source: str, task: str | None) -> Subject:
    """The optimizer of this name or file, on this task or that of its training."""
    optimizer, name, recipe = source, source, {}
    if source not in tunable():
        optimizer = checkpoint(source)
        manifest = verify(optimizer).manifest
        if not isinstance(manifest, dict) or "kind" not in manifest:
            what = manifest.get("what", "something else") if isinstance(manifest, dict) else "?"
            raise BadInput(
                f"{optimizer} is a checkpoint of {what}, not of an optimizer; give {MODEL} of a "
                "finished run."
            )
        recipe = manifest.get("recipe") or {}
        name = optimizer.stem if optimizer.parent == WEIGHTS else str(manifest["kind"])
    trained_on, horizon, task_options = recipe.get("task"), recipe.get("horizon"), {}
    if isinstance(trained_on, Mapping):  # of `runs.session`; else of 0.1, or a user's own words
        trained_on, horizon = trained_on.get("name"), recipe.get("estimator", {}).get("horizon")
    if task is None:
        task, task_options = trained_on, recipe.get("task_options", {})
    if task is None:
        raise BadInput(f"{name} names no task it was trained on; add `task NAME`.")
    check(task, TASKS, "task")
    horizon = horizon if isinstance(horizon, int) else None
    return Subject(optimizer, name, task, task_options, horizon)


def checkpoint(source: str) -> Path:
    """The file of a trained optimizer; words that name an untrained one get their own answer."""
    path = Path(source)
    if source.startswith(HUB) or path.exists() or path.suffix or source in PRETRAINED:
        return resolve(source)
    if source in learned():
        raise BadInput(
            f"The optimizer {source} has to be trained before it can be judged; use `steppe "
            "train`, or a trained one of `steppe list pretrained`."
        )
    if source in OPTIMIZERS:
        raise BadInput(f"{source} has no learning rate to tune; use one of {', '.join(tunable())}.")
    raise BadInput(
        f"There is no file and no optimizer {source!r}; give a checkpoint, or "
        f"{did_you_mean(source, [*tunable(), *PRETRAINED], see=SEE)}"
    )


def prepare(
    optimizer: str | Path,
    task: "AbstractTask",
    *,
    horizon: int,
    lr: float | None,
    key: "Key",
    say: Callable[[str], None],
) -> Prepared:
    """The optimizer of a file, or a hand-made one with its learning rate.

    - `horizon`: steps for which a rate is tuned on the validation split, where none is given
    - `lr`: learning rate of a hand-made one; None: tuned
    """
    from ..evaluation.run import tune
    from ..zoo.io import load
    from ..zoo.registry import build

    if isinstance(optimizer, Path):
        return Prepared(load(optimizer), None, {})
    if lr is not None:
        return Prepared(build(optimizer, lr=lr), lr, {})
    say(f"tuning the learning rate of {optimizer}…")
    found = tune(task, lambda lr: build(optimizer, lr=lr), horizon=horizon, key=key)
    if found.edge:
        say(f"{optimizer}: the best learning rate, {found.best:g}, is the {found.edge} tried")
    return Prepared(build(optimizer, lr=found.best), found.best, dataclasses.asdict(found))


def check_rate(about: Subject, lr: float | None) -> None:
    """Refuse a learning rate for an optimizer that has learned its steps; needs no JAX."""
    if lr is not None and isinstance(about.optimizer, Path):
        raise BadInput(
            f"`lr` is for hand-made optimizers, but {about.name} has learned its steps and has no "
            "learning rate to give; leave `lr` out."
        )
