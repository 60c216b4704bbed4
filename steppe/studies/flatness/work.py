"""One cell of the study: train an optimizer, or tune one, and let it train networks never seen.

    "learned"   recipe, meta-seed → meta-train → `descend` on every task
    "search"    the same, but scored on the validation split of the validation tasks alone
    "classic"   tune on the validation split of a task → `descend` on it
    "untuned"   `descend` on a task at a given rate

Whatever is random in cell s goes by s: starts of the optimizer, meta-training, starts and batches
of the networks. Two cells with the same s are pairs, whatever else differs between them.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import jax.random as jr
import numpy as np

from ...core.optimizer import AbstractOptimizer
from ...core.task import AbstractTask
from ...core.types import Key, Split
from ...evaluation.levels import HELD_OUT, descend, plain
from ...evaluation.records import number
from ...evaluation.run import time_step
from ...evaluation.tuning import tune_all
from ...optimizers.classic.entropy_sgd import EntropySGD
from ...optimizers.classic.from_optax import adam, momentum, rmsprop, sgd
from ...optimizers.classic.sam import SAM
from ...runs.steadiness import tail
from ...tasks.suite import build
from ...train.loop import History, meta_train
from ...zoo.assemble import assemble
from ...zoo.recipe_json import from_json

TRAINING, EVALUATION, TUNING = 0, 1, 2  # streams of keys
LOOKING = ("curved", "runs", "every", "horizon")  # of a task's table: not options of the task
LOOKS = 20  # of a path that are kept
ENTROPY_STEPS = 5  # gradients of Entropy-SGD a step
Maker = Callable[[Any], AbstractOptimizer]  # from a rate

# optimizer: (settings besides the rate, (rate, setting) → optimizer)
CLASSIC: dict[str, tuple[tuple[float, ...], Callable[..., AbstractOptimizer]]] = {
    "sgd": ((0.0,), lambda lr, _: sgd(lr)),
    "momentum": ((0.0,), lambda lr, _: momentum(lr)),
    "adam": ((0.0,), lambda lr, _: adam(lr)),
    "rmsprop": ((0.0,), lambda lr, _: rmsprop(lr)),
    "sam": ((0.01, 0.05, 0.1, 0.5), lambda lr, rho: SAM(momentum(lr), rho)),
    "entropy-sgd": (
        (1e-4, 1e-2, 3e-2),
        lambda lr, gamma: EntropySGD(lr, gamma, ENTROPY_STEPS),
    ),
}


def run_cell(cell: Mapping[str, Any]) -> dict[str, Any]:
    """Run one cell of `design.cells`; returns plain numbers."""
    parts = {"learned": learned, "search": search, "classic": classic, "untuned": untuned}
    return parts[cell["part"]](cell)


def learned(cell: Mapping[str, Any]) -> dict[str, Any]:
    opt, meta = train(cell)
    found = {label: look(cell, how, opt, cell["horizon"]) for label, how in cell["tasks"].items()}
    task, key = build_task(cell["meta_task"]), jr.key(EVALUATION)
    return {"meta": meta | {"ms_per_step": number(time_step(task, opt, key=key))}, "tasks": found}


def search(cell: Mapping[str, Any]) -> dict[str, Any]:
    opt, meta = train(cell)
    found = {
        label: look(cell, how, opt, cell["horizon"], held_out=("valid",))
        for label, how in cell["tasks"].items()
    }
    return {"meta": meta, "tasks": found}


def classic(cell: Mapping[str, Any]) -> dict[str, Any]:
    settings, make = CLASSIC[cell["optimizer"]]
    cost = make(1.0, settings[-1]).gradients_per_step
    assert cost is not None  # no line search is among them
    how = cell["task"]
    steps = budget(cell, how, cost)
    opt, told = tuned(cell, how, {setting: partial(make, setting) for setting in settings}, steps)
    return told | {
        "task": look(cell, how, opt, steps),
        "gradients": steps * cost,
        "ms_per_step": number(time_step(build_task(how), opt, key=jr.key(TUNING))),
    }


def partial(make: Callable[..., AbstractOptimizer], setting: Any) -> Maker:
    """The optimizer of a rate, at one setting."""
    return lambda lr: make(lr, setting)


def budget(cell: Mapping[str, Any], how: Mapping[str, Any], cost: int) -> int:
    """Steps on a task, of `cost` gradients each: as many as others, or for as many gradients."""
    every, steps = every_of(cell, how), how.get("horizon", cell["horizon"])
    return steps if cell["budget"] == "steps" else max(1, steps // cost // every) * every


def tuned(
    cell: Mapping[str, Any], how: Mapping[str, Any], makers: Mapping[Any, Maker], steps: int
) -> tuple[AbstractOptimizer, dict[str, Any]]:
    """The optimizer with the best of the settings and of the cell's grid, and what was tried."""
    setting, found = tune_all(
        build_task(how),
        makers,
        horizon=steps,
        key=jr.key(TUNING),
        grid=cell["grid"],
        seeds=cell["tuning_seeds"],
    )
    return makers[setting](jnp.asarray(found.best)), {
        "lr": found.best,
        "edge": found.edge,
        "setting": setting,
        "trials": found.trials,
        "steps": steps,
    }


def untuned(cell: Mapping[str, Any]) -> dict[str, Any]:
    [setting], make = CLASSIC[cell["optimizer"]]
    opt = make(jnp.asarray(cell["lr"]), setting)
    return {"task": look(cell, cell["task"], opt, cell["horizon"])}


def train(cell: Mapping[str, Any]) -> tuple[AbstractOptimizer, dict[str, Any]]:
    """Meta-train by the cell's recipe; the optimizer, and how it went."""
    began = time.perf_counter()
    opt, how, key = start(cell)
    best, history = meta_train(how.pop("task"), opt, **how, key=key)
    return best, summary(history) | {"seconds": round(time.perf_counter() - began, 2)}


def start(cell: Mapping[str, Any]) -> tuple[AbstractOptimizer, dict[str, Any], Key]:
    """The optimizer as meta-training finds it, the arguments of `meta_train`, and its key."""
    key_opt, key_train = jr.split(jr.fold_in(jr.key(TRAINING), cell["meta_seed"]))
    others = cell.get("others")
    opt, how = assemble(
        from_json(cell["recipe"]),
        build_task(cell["meta_task"]),
        key=key_opt,
        others=others and {label: build_task(other) for label, other in others.items()},
    )
    return opt, how, key_train


def summary(history: History) -> dict[str, Any]:
    rows, late = history.rows, tail(history.rows)
    judged = [row for row in rows if "valid_loss" in row]
    known = ("valid_loss", "flatness", "flatness_share")
    series = {name: [number(float(row[name])) for row in judged if name in row] for name in known}
    return series | {
        "best": None if history.best is None else number(history.best),
        "best_step": history.best_step,
        "meta_steps": int(rows[-1]["step"]),
        "nonfinite": sum(int(row["nonfinite"]) for row in rows),
        "episodes": sum(int(row["episodes"]) for row in rows),
        "tail_mean": number(late.mean),
        "tail_sd": number(late.sd),
    }


def look(
    cell: Mapping[str, Any],
    how: Mapping[str, Any],
    opt: AbstractOptimizer,
    steps: int,
    held_out: tuple[Split, ...] = HELD_OUT,
) -> dict[str, Any]:
    """`descend` on a task; of each run's path the mean over the runs of a meta-seed is kept."""
    seeds = cell.get("meta_seeds", [cell.get("meta_seed")])
    runs = how.get("runs", cell["runs"])
    found = descend(
        build_task(how),
        opt,
        horizon=min(steps, how.get("horizon", steps)),
        every=every_of(cell, how),
        levels=cell["levels"],
        keys=jnp.concatenate([run_keys(seed, runs) for seed in seeds]),
        curved=how.get("curved", True),
        held_out=held_out,
    )
    kept = range(-1, -len(found["steps"]) - 1, -max(1, len(found["steps"]) // LOOKS))
    kept = sorted(kept)
    path = {
        name: plain(np.array(rows, float)[:, kept].reshape(len(seeds), runs, -1).mean(axis=1))
        for name, rows in found["path"].items()
    }
    return found | {"steps": [found["steps"][k] for k in kept], "path": path, "runs": runs}


def every_of(cell: Mapping[str, Any], how: Mapping[str, Any]) -> int:
    return how.get("every", cell["every"])


def build_task(how: Mapping[str, Any]) -> AbstractTask:
    """The task of {"name": …, its options, how it is looked at}."""
    options: dict[str, Any] = {
        name: tuple(x) if isinstance(x, list) else x
        for name, x in how.items()
        if name not in ("name", *LOOKING)
    }
    return build(how["name"], **options)


def run_keys(seed: int, runs: int) -> Key:
    """(runs,), the networks that optimizers of this seed are looked at with."""
    return jr.split(jr.fold_in(jr.key(EVALUATION), seed), runs)
