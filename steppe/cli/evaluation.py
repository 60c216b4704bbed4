"""The part of `steppe eval` that needs JAX: tune, evaluate, compare, draw the table."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import jax.random as jr

from ..bench.records import Record, environment, write_records
from ..bench.run import evaluate
from ..bench.stats import Interval, interval, paired
from ..bench.tune import tune
from ..core.optimizer import AbstractOptimizer
from ..core.task import AbstractTask
from ..core.types import Key
from ..tasks import suite
from ..train.mesh import use_cores
from ..zoo import kinds
from .evaluate import RECORDS, Plan
from .options import Eval

# For --no-tune: customary starting points, not good ones for any particular task.
RATES = {"sgd": 0.1, "momentum": 0.01, "adam": 1e-3, "rmsprop": 1e-3}


def compare(options: Eval, plan: Plan, say: Callable[[str], None]) -> dict:
    """Evaluate the optimizer and the baselines at every horizon."""
    use_cores(options.cores)
    devices = jax.devices()
    say(f"{len(devices)} × {devices[0].device_kind} · compiling…")
    task, key = suite.build(plan.task), jr.key(options.seed)
    records: list[Record] = []
    ours: list[Record] = []
    for horizon in plan.horizons:
        for name in (plan.optimizer, *plan.baselines):
            shown = plan.name if name == plan.optimizer else str(name)
            say(f"{shown}, {horizon} steps…")
            opt, tuning = _prepared(name, task, horizon, options, key, say)
            known = [r.ms_per_step for r in records if r.optimizer == shown]
            record = evaluate(
                task,
                opt,
                name=shown,
                task_name=plan.task,
                horizon=horizon,
                seeds=options.seeds,
                key=key,
                tuning=tuning,
                ms_per_step=known[0] if known else None,
            )
            records.append(record)
            if name == plan.optimizer:
                ours.append(record)
    if options.out is not None:
        write_records(options.out / RECORDS, records, environment())
    rows = [row(r, next(o for o in ours if o.horizon == r.horizon)) for r in records]
    where = None if options.out is None else str(options.out / RECORDS)
    result = {"task": plan.task, "optimizer": plan.name, "seeds": options.seeds}
    return result | {"rows": rows, "records": where}


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


def row(record: Record, ours: Record) -> dict:
    """One line of the table: means with 95 % intervals over the seeds."""
    finals = {m: dataclasses.asdict(interval(record.final(m))) for m in record.metrics}
    same = record is ours
    against = paired(ours.final("test_loss"), record.final("test_loss"))
    return {
        "optimizer": record.optimizer,
        "horizon": record.horizon,
        "lr": record.tuning.get("best"),
        **finals,
        "ours_is": None if same else against.verdict,
        "diverged": len(record.diverged),
        "ms_per_step": record.ms_per_step,
        "state_bytes_per_param": record.state_bytes_per_param,
    }


def show(result: dict) -> None:
    """The table on stdout."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    rows, ours = result["rows"], result["optimizer"]
    metrics = [name for name in rows[0] if name.startswith(("train_loss", "test_"))]
    title = f"{result['task']}, {result['seeds']} seeds: mean and 95 % interval"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    heads = ["steps", *(name.replace("_", " ") for name in metrics)]
    table.add_column("optimizer", no_wrap=True)
    for head in [*heads, "ms/step", "state B/param", f"{ours} is"]:
        table.add_column(head, justify="right", no_wrap=True)
    before = rows[0]["horizon"]
    for r in rows:
        if r["horizon"] != before:
            table.add_section()
        before = r["horizon"]
        lr = "" if r["lr"] is None else f", lr {r['lr']:g}"
        numbers = [f"{r['ms_per_step']:.3g}", f"{r['state_bytes_per_param']:g}"]
        means = [_mean(r[name]) for name in metrics]
        table.add_row(r["optimizer"] + lr, str(before), *means, *numbers, r["ours_is"] or "")
    terminal = Console()
    if terminal.is_terminal:
        terminal.print(table)
    else:
        Console(width=160).print(table)
    if result["records"]:
        print(f"records  {result['records']}")


def _mean(found: dict) -> str:
    """ "0.231 ± 0.012", and how many seeds had no value."""
    measured = Interval(**found)
    if measured.mean is None:
        return "diverged"
    half = "" if measured.half is None else f" ± {measured.half:.2g}"
    missing = f" ({measured.missing} diverged)" if measured.missing else ""
    return f"{measured.mean:.4g}{half}{missing}"
