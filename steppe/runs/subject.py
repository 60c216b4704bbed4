"""An optimizer by its name or file, and the task it is looked at on. No JAX until `prepare`."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from ..core.entry import SEE
from ..core.messages import brief, did_you_mean
from ..core.settings import plain
from ..optimizers.names import OPTIMIZERS
from ..optimizers.settings import verified
from ..store.hints import Check, Wrong
from ..store.manifest import CheckpointError, described
from ..store.untrusted import Between, Length, Source, built, checked, checked_table, shown
from ..tasks.names import TASKS
from ..zoo.registry import HUB, PRETRAINED, WEIGHTS, learned, ready_made, tunable
from ..zoo.resolve import resolve
from .folder import MODEL, BadInput

if TYPE_CHECKING:
    from ..core.optimizer import AbstractOptimizer
    from ..core.task import AbstractTask
    from ..core.types import Key


def _decimal(value: object) -> object:
    if type(value) is int:
        raise Wrong(shown(value), "a number with a decimal point")
    return value


Horizon = Annotated[int, Between(1, 1_000_000)]
OptionName = Annotated[str, Length(40)]
Small = Annotated[int, Between(-10_000, 10_000)]  # e.g. units of a layer, images of a batch
Decimal = Annotated[float, Check(_decimal)]
Word = Annotated[str, Length(80)]
Sizes = Annotated[tuple[Small | Annotated[tuple[Small, ...], Length(16)], ...], Length(16)]
Option = bool | Small | Decimal | Word | Sizes | None
Options = dict[OptionName, Option]


PARTICLES = {"particles": int}  # an option of `suite.build` for every task


class Training(NamedTuple):
    """The training of an optimizer, as its file tells it."""

    task: str | None
    options: dict[str, Any]
    horizon: int | None


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
        from ..store.describe import hints_of
        from ..tasks import suite

        if not self.task_options:
            return suite.build(self.task)
        source = Source(str(self.optimizer), "name the task yourself", CheckpointError)
        hints = {k: v for make in suite.makers(self.task) for k, v in hints_of(make).items()}
        known = {name: hints.get(name, Any) for name in suite.options(self.task)} | PARTICLES
        options = plain(dict(self.task_options))  # of a checkpoint or a certificate
        checked(options, Options, source, "task options")
        checked_table(options, known, source, "task options")
        given = {"name": self.task, **self.task_options}
        return built(suite.build, given, source, "task", passing=(OSError, ImportError))


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
        raise BadInput(f"There is no {what} {brief(name)}; {did_you_mean(name, known, see=SEE)}")


def subject(source: str, task: str | None, particles: int | None = None) -> Subject:
    """The optimizer of this name or file, on this task or that of its training.

    - `particles`: points that see each problem together; None: as many as it was trained with
    """
    optimizer, name, trained = source, source, Training(None, {}, None)
    if source not in [*tunable(), *ready_made()]:
        optimizer = checkpoint(source)
        header = verified(optimizer)
        if "kind" not in header.manifest:
            what = shown(header.manifest.get("what", "something else")).strip("'")
            raise BadInput(
                f"{optimizer} is a checkpoint of {what}, not of an optimizer; give {MODEL} of a "
                "finished run."
            )
        trained = training(header.manifest.get("recipe"), optimizer, task)
        kind = described(header, optimizer)["kind"]
        name = optimizer.stem if optimizer.parent == WEIGHTS else kind
    task = task or trained.task
    if task is None:
        raise BadInput(f"{name} names no task it was trained on; add `task NAME`.")
    check(task, TASKS, "task")
    options = trained.options if particles is None else trained.options | {"particles": particles}
    return Subject(optimizer, name, task, options, trained.horizon)


def training(recipe: object, path: Path, task: str | None) -> Training:
    """The task, its options and the horizon that the recipe in a file names.

    A recipe may be anyone's own words, and what is in them of another type is not taken for these.
    What is taken is checked: a stranger's file can ask for a task of steppe's in a common size.

    - `task`: named by the user, for whom the file's own and its options do not count
    """
    told = recipe if isinstance(recipe, dict) else {}
    source = Source(str(path), "name the task and its horizons yourself", CheckpointError)
    named, horizon, swarm = told.get("task"), told.get("horizon"), {}
    if isinstance(named, dict):  # of `runs.session`; else of 0.1, or a user's own words
        estimator, particles = told.get("estimator"), named.get("particles")
        swarm = {} if particles is None else {"particles": particles}
        named = named.get("name")
        horizon = estimator.get("horizon") if isinstance(estimator, dict) else None
    known = checked(horizon, Horizon, source, "recipe.horizon") if type(horizon) is int else None
    given = told.get("task_options", {}) if task is None and isinstance(named, str) else {}
    options = checked(given, Options, source, "recipe.task_options")
    # A swarm stays one on any task.
    options = checked(swarm, Options, source, "recipe.task") | options
    if any(name.endswith("folder") for name in options):
        raise source.refuse("a folder of data", "none, since it is for the user to name")
    return Training(named if isinstance(named, str) else None, options, known)


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
        names = ", ".join([*tunable(), *ready_made()])
        raise BadInput(f"{source} has no learning rate to tune; use one of {names}.")
    raise BadInput(
        f"There is no file and no optimizer {source!r}; give a checkpoint, or "
        f"{did_you_mean(source, [*tunable(), *ready_made(), *PRETRAINED], see=SEE)}"
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
    """The optimizer of a file, or a hand-made one, with its learning rate if it has one.

    - `horizon`: steps for which a rate is tuned on the validation split, where none is given
    - `lr`: learning rate of a hand-made one; None: tuned
    """
    from ..evaluation.tuning import tune_all
    from ..zoo.io import load
    from ..zoo.registry import build, check_players, tries, with_rate

    name = optimizer.stem if isinstance(optimizer, Path) else optimizer
    if isinstance(optimizer, Path):
        ready = Prepared(load(optimizer), None, {})
    elif optimizer in ready_made():
        ready = Prepared(build(optimizer), None, {})
    else:
        first = with_rate(optimizer, 1.0 if lr is None else lr, steps=horizon)
        ready = Prepared(first, lr, {})
    check_players(name, ready.opt, task)
    if isinstance(optimizer, Path) or optimizer in ready_made() or lr is not None:
        return ready
    say(f"tuning the learning rate of {optimizer}…")
    makers = {
        tuple(setting.items()): lambda lr, setting=setting: with_rate(
            name, lr, steps=horizon, **setting
        )
        for setting in tries(name)
    }
    setting, found = tune_all(task, makers, horizon=horizon, key=key)
    if found.edge:
        say(f"{optimizer}: the best learning rate, {found.best:g}, is the {found.edge} tried")
    told = dataclasses.asdict(found) | {"setting": dict(setting)}
    return Prepared(makers[setting](found.best), found.best, told)


def check_rate(about: Subject, lr: float | None) -> None:
    """Refuse a learning rate for an optimizer that has learned its steps; needs no JAX."""
    if lr is not None and about.optimizer in ready_made():
        raise BadInput(f"{about.name} takes its step from the problem; leave `lr` out.")
    if lr is not None and isinstance(about.optimizer, Path):
        raise BadInput(
            f"`lr` is for hand-made optimizers, but {about.name} has learned its steps and has no "
            "learning rate to give; leave `lr` out."
        )
