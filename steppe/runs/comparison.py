"""One optimizer against tuned baselines on a task, at several horizons.

plan = decide(subject("runs/a", None), horizons=(), baselines=("sgd", "adam"))
records = compare(plan, seeds=10, seed=0)
"""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.messages import did_you_mean
from ..evaluation.records import read_records
from ..tasks.names import TASKS
from ..zoo.registry import by_needs, ready_made, tunable
from . import folder as folders
from .folder import BadInput
from .subject import Prepared, Subject, check, prepare
from .trials import WORDS, tuned_equally

if TYPE_CHECKING:
    from ..core.task import AbstractTask
    from ..core.types import Key
    from ..evaluation.records import Record

HORIZONS = (100, 500)  # for optimizers that were never meta-trained
LONGER = 5  # × the horizon of meta-training
USUAL = ("sgd", "momentum", "adam")  # baselines
OF_GAMES = ("gda", "optimistic-gda", "extragradient")
# Customary starting points, not good ones for any particular task.
RATES = {
    "sgd": 0.1,
    "momentum": 0.01,
    "nesterov": 0.01,
    "adam": 1e-3,
    "rmsprop": 1e-3,
    "adam-cosine": 1e-3,
    "adamw-cosine": 1e-3,
    "momentum-cosine": 0.05,
    "sam-cosine": 0.05,
    "sam-cosine-half": 0.05,
    "schedule-free-adamw": 2.5e-3,
    **dict.fromkeys(by_needs("Saddle"), 0.1),
}


@dataclasses.dataclass(frozen=True)
class Plan:
    """A comparison with everything decided.

    - `trials`: who has trials on the task, of `trials.WORDS`, one comparison after the other
    - `home`: the optimizer on the task of its meta-training, whose rates the baselines of 0-0 have;
      None: they have customary ones
    """

    about: Subject
    horizons: tuple[int, ...]
    baselines: tuple[str, ...]
    trials: tuple[str, ...] = ("0-k",)
    home: Subject | None = None


def usual(task: str) -> tuple[str, ...]:
    """The baselines of a named task where none are given."""
    return OF_GAMES if TASKS[task].family == "games" else USUAL


def decide(
    about: Subject,
    horizons: tuple[int, ...],
    baselines: tuple[str, ...],
    trials: tuple[str, ...] = ("0-k",),
    home: Subject | None = None,
) -> Plan:
    """Fill in the rest; no JAX.

    - `horizons`: inner steps; (): as in meta-training, and LONGER times that
    - `baselines`: hand-made optimizers
    - `trials`, `home`: as in `Plan`
    """
    for word in trials:
        if word not in WORDS:
            raise BadInput(f"There is no comparison {word!r}; {did_you_mean(word, WORDS)}")
    if not horizons:
        trained = about.horizon
        horizons = HORIZONS if trained is None else (trained, LONGER * trained)
    for baseline in baselines:
        check(baseline, [*tunable(), *ready_made()], "baseline")
    # Twice the same is measured once.
    others = tuple(b for b in dict.fromkeys(baselines) if b != about.optimizer)
    return Plan(about, tuple(dict.fromkeys(horizons)), others, tuple(dict.fromkeys(trials)), home)


def place(about: Subject, out: Path | None) -> Path | None:
    """The file for the records of a comparison, None where they are not kept.

    - `out`: folder that somebody asked for; None: the run folder of the optimizer, if it has one
    """
    if out is not None:
        return out / folders.RECORDS
    folder = about.optimizer.parent if isinstance(about.optimizer, Path) else None
    if folder is None or not folders.is_training(folder):
        return None
    if not os.access(folder, os.W_OK):
        raise BadInput(
            f"{folder} cannot be written, where the records are kept; give another folder as `out`."
        )
    return folder / folders.RECORDS


def compare(
    plan: Plan,
    *,
    seeds: int,
    seed: int,
    tuned: bool = True,
    cores: int | None = None,
    out: Path | None = None,
    say: Callable[[str], None] = print,
) -> "list[Record]":
    """Evaluate the optimizer and the baselines at every horizon, seed by seed on equal problems.

    - `seeds`: inner trainings of each optimizer
    - `seed`: of everything random
    - `tuned`: tune the learning rate of each baseline for each horizon; else take RATES, except in
      k-k
    - `cores`: to spread seeds over; None: all
    - `out`: file for the records; what it has of other tasks and horizons stays in it
    """
    import jax
    import jax.random as jr

    from ..evaluation.records import write_records
    from ..evaluation.run import evaluate
    from ..train.environment import environment
    from ..train.mesh import use_cores

    earlier = [] if out is None or not out.exists() else read_records(out)[0]
    use_cores(cores)
    about, devices = plan.about, jax.devices()
    say(f"{len(devices)} × {devices[0].device_kind} · compiling…")
    task, key = about.build_task(), jr.key(seed)
    prepared = sides(plan, task, key=key, tuned=tuned, say=say)
    records: list[Record] = []
    speeds: dict[str, float] = {}
    same: dict[tuple, Record] = {}  # runs that several comparisons have in common
    for trials in plan.trials:
        for horizon in plan.horizons:
            for name in (about.optimizer, *plan.baselines):
                shown = about.name if name == about.optimizer else str(name)
                say(f"{shown}, {horizon} steps…")
                ready = prepared(trials, name, horizon)
                numbers = tuple(ready.tuning.get("setting", {}).items())
                run = (shown, horizon, ready.lr, numbers)
                if run not in same:
                    same[run] = evaluate(
                        task,
                        ready.opt,
                        name=shown,
                        task_name=about.task_name,
                        horizon=horizon,
                        seeds=seeds,
                        key=key,
                        learned=name == about.optimizer,
                        ms_per_step=speeds.get(shown),
                    )
                comparison = trials if WORDS[trials] else ""
                record = dataclasses.replace(same[run], tuning=ready.tuning, comparison=comparison)
                speeds[shown] = record.ms_per_step
                records.append(record)
    if out is not None:
        at = lambda record: (record.task, record.horizon, record.comparison)
        done = {at(record) for record in records}
        others = [record for record in earlier if at(record) not in done]
        write_records(out, [*others, *records], environment())
    return records


def sides(
    plan: Plan, task: "AbstractTask", *, key: "Key", tuned: bool, say: Callable[[str], None]
) -> Callable[[str, str | Path, int], Prepared]:
    """f(comparison, optimizer, horizon) → the optimizer with the trials that it is allowed."""
    home = None if plan.home is None else plan.home.build_task()

    def ready(trials: str, name: str | Path, horizon: int) -> Prepared:
        if trials == "k-k":
            return tuned_equally(name, task, horizon=horizon, key=key, say=say)
        customary = not tuned or (trials == "0-0" and plan.home is None)
        lr = RATES.get(name) if customary and not isinstance(name, Path) else None
        on = home if trials == "0-0" and home is not None else task
        found = prepare(name, on, horizon=horizon, lr=lr, key=key, say=say)
        if trials != "0-0" or not found.tuning or plan.home is None:
            return found
        return found._replace(tuning=found.tuning | {"task": plan.home.task_name})

    return ready
