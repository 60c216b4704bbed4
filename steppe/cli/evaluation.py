"""The part of `steppe eval` that needs JAX: tune, evaluate, compare."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import jax.random as jr

from ..core.optimizer import AbstractOptimizer
from ..core.task import AbstractTask
from ..core.types import Key
from ..evaluate import compare
from ..evaluate.records import Record, write_records
from ..evaluate.run import evaluate
from ..evaluate.tune import tune
from ..tasks import suite
from ..train.environment import environment
from ..train.mesh import use_cores
from ..zoo import io as kinds
from .evaluate import RECORDS, Plan
from .options import Eval

# For --no-tune: customary starting points, not good ones for any particular task.
RATES = {"sgd": 0.1, "momentum": 0.01, "adam": 1e-3, "rmsprop": 1e-3}


def measure(options: Eval, plan: Plan, say: Callable[[str], None]) -> list[Record]:
    """Evaluate the optimizer and the baselines at every horizon."""
    use_cores(options.cores)
    about = plan.about
    devices = jax.devices()
    say(f"{len(devices)} × {devices[0].device_kind} · compiling…")
    task, key = suite.build(about.task, **about.task_options), jr.key(options.seed)
    records: list[Record] = []
    speeds: dict[str, float] = {}
    for horizon in plan.horizons:
        for name in (about.optimizer, *plan.baselines):
            shown = about.name if name == about.optimizer else str(name)
            say(f"{shown}, {horizon} steps…")
            opt, tuning = _prepared(name, task, horizon, options, key, say)
            record = evaluate(
                task,
                opt,
                name=shown,
                task_name=about.task_name,
                horizon=horizon,
                seeds=options.seeds,
                key=key,
                learned=name == about.optimizer,
                tuning=tuning,
                ms_per_step=speeds.get(shown),
            )
            speeds[shown] = record.ms_per_step
            records.append(record)
    if options.out is not None:
        write_records(options.out / RECORDS, records, environment())
    return records


def _prepared(
    name: str | Path,
    task: AbstractTask,
    horizon: int,
    options: Eval,
    key: Key,
    say: Callable[[str], None],
) -> tuple[AbstractOptimizer, dict]:
    """The optimizer to evaluate, and how its learning rate was tuned."""
    if isinstance(name, Path):
        return kinds.load_optimizer(name)[0], {}
    if options.no_tune:
        return kinds.build(name, lr=RATES[name]), {}
    tuning = tune(task, lambda lr: kinds.build(name, lr=lr), horizon=horizon, key=key)
    if tuning.edge:
        say(f"{name}: the best learning rate, {tuning.best:g}, is the {tuning.edge} tried")
    return kinds.build(name, lr=tuning.best), dataclasses.asdict(tuning)


def text(records: list[Record]) -> str:
    """The tables, and in words where the optimizer wins and where it loses."""
    title = f"mean ± half of the 95 % interval over {len(records[0].seeds)} seeds"
    return "\n".join([compare.text_table(records), "", title, *compare.sentences(records)])


def content(records: list[Record]) -> dict:
    """The same for machines."""
    rows = [
        dataclasses.asdict(row) | {"horizon": case.horizon}
        for case in compare.cases(records)
        for row in compare.table(case)
    ]
    return {"task": records[0].task, "seeds": records[0].seeds, "rows": rows}
