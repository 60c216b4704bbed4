"""The quick demo: optimizers that come trained, against tuned rivals on handwritten digits.

    shipped    RNNProp and its flat twin (`zoo.registry.PRETRAINED`)
    task       the one they were meta-trained on, starts never seen
    rivals     SGD, momentum, Adam, each with its learning rate tuned on the validation split

Nearly all of its time is compiling. So an optimizer has one program, with which it is tuned,
judged and timed, and twins share theirs.
"""

import dataclasses
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PyTree

from ..core.optimizer import AbstractOptimizer
from ..core.task import AbstractTask, Problem
from ..core.types import Key, Scalar
from ..evaluation.compare import enumeration
from ..evaluation.records import Record
from ..evaluation.run import Train, evaluate, seed_keys, trainer
from ..evaluation.tuning import Tuning, choose
from ..evaluation.update_curve import update_curve
from ..tasks.suite import build
from ..train.environment import environment
from ..zoo.io import Card, card, load
from .demo import RIVALS, Clock, Verdict, finish, write

NAMES = ("rnnprop-v1", "rnnprop-flat-v1")  # twins: the same program does for both


@dataclasses.dataclass(frozen=True)
class Settings:
    """All numbers of the quick demo."""

    horizon: int = 200
    points: int = 10
    seeds: int = 4
    grid: tuple[float, ...] = (3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0)
    repeats: int = 3  # of a timing


def demo(
    folder: str | os.PathLike,
    *,
    seed: int = 0,
    command: str = "",
    say: Callable[[str], None] = print,
    settings: Settings = Settings(),
) -> Verdict:
    """Run the quick demo and leave records, config, environment, rules and report in `folder`.

    Arguments as of `runs.demo.demo`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    where, seconds, clock = environment(), {}, Clock()
    say(f"steppe {where['versions']['steppe']} on {where['device']}, seed {seed}")
    cards = [card(name) for name in NAMES]
    write(folder / "config.json", config(settings, seed, command, cards))
    say(
        f"The weights of {enumeration(NAMES)} are shipped with steppe; nothing is meta-trained "
        f"here, but was beforehand in {enumeration([f'{c.seconds:.0f} s' for c in cards])}. "
        "`steppe demo` does that, `steppe info NAME` tells more."
    )
    records = contest(cards[0].meta_task, settings, jr.key(seed))
    rates = {r.optimizer: r.tuning["best"] for r in records if r.tuning}
    rules = [update_curve(load(NAMES[0]), name=NAMES[0], learned=True)]
    rules += [
        update_curve(RIVALS[name](rates[name]), name=name, learned=False)
        for name in ("SGD", "Adam")
    ]
    seconds["tuning and evaluation"] = clock.lap()

    return finish(folder, records, rules, where, seconds, clock, say)


def contest(how: dict[str, Any], settings: Settings, key: Key) -> list[Record]:
    """The shipped optimizers and their rivals, from the same starts."""
    options = {name: x for name, x in how.items() if name != "name"}
    task, title = build(how["name"], **options), task_name(how)
    keys = seed_keys(key, range(settings.seeds), "tune")
    kinds = {"learned": load(NAMES[0])} | {
        rival: make(settings.grid[0]) for rival, make in RIVALS.items()
    }
    programs = {
        kind: trainer(task, opt, horizon=settings.horizon, points=settings.points)
        for kind, opt in kinds.items()
    }

    entries = [(name, load(name), "learned", {}) for name in NAMES]
    for rival, make in RIVALS.items():
        found = tune(task, make, programs[rival], keys, settings)
        entries.append((rival, make(found.best), rival, dataclasses.asdict(found)))
    speeds = {kind: speed(programs[kind], opt, keys, settings) for kind, opt in kinds.items()}
    return [
        evaluate(
            task,
            opt,
            name=name,
            task_name=title,
            horizon=settings.horizon,
            seeds=settings.seeds,
            key=key,
            points=settings.points,
            tuning=tuning,
            ms_per_step=speeds[kind],
            train=programs[kind],
        )
        for name, opt, kind, tuning in entries
    ]


def tune(
    task: AbstractTask,
    make: Callable[[float], AbstractOptimizer],
    train: Train,
    keys: Key,
    settings: Settings,
) -> Tuning:
    """Tune as `evaluation.tuning`, rate after rate with a program that is there already.

    - `make`: a learning rate → the optimizer
    - `train`: the program, compiled for that optimizer
    - `keys`: one a training
    - `settings`: has the grid of rates and the horizon
    """
    losses = [valid_losses(task, *train(make(lr), keys)[1:4]) for lr in settings.grid]
    return choose(settings.grid, np.asarray(losses, np.float64), settings.horizon)


@eqx.filter_jit
def valid_losses(
    task: AbstractTask, instances: PyTree, paths: PyTree, keys: Key
) -> Float[Array, " seeds"]:
    """At the last point of each path."""

    def one(x: tuple[PyTree, PyTree, Key]) -> Scalar:
        instance, path, key = x
        last = jax.tree.map(lambda points: points[-1], path)
        return Problem(task, instance, task.full_batch(instance, split="valid"), key).value(last)

    return jax.lax.map(one, (instances, paths, keys))


def speed(train: Train, opt: AbstractOptimizer, keys: Key, settings: Settings) -> float:
    """Milliseconds a step of one episode takes, each device busy with one of its own."""
    times = []  # the first one may have compiling in it
    for _ in range(settings.repeats):
        began = time.perf_counter()
        jax.block_until_ready(train(opt, keys)[0])
        times.append(time.perf_counter() - began)
    waves = -(-settings.seeds // len(jax.devices()))
    return 1e3 * statistics.median(times) / (waves * settings.horizon)


def task_name(how: dict[str, Any]) -> str:
    """ "digits-relu, start he" """
    return ", ".join([how["name"], *(f"{name} {x}" for name, x in how.items() if name != "name")])


def config(settings: Settings, seed: int, command: str, cards: Sequence[Card]) -> dict[str, Any]:
    """config.json: what was asked for."""
    return {
        "title": "Shipped learned optimizers against tuned rivals",
        "command": command or f"steppe.runs.shipped.demo(folder, seed={seed})",
        "seed": seed,
        "optimizers": enumeration([f"{c.name} ({c.summary})" for c in cards]),
        "meta-trained": "beforehand: " + enumeration([f"{c.seconds:.0f} s" for c in cards]),
        "settings": dataclasses.asdict(settings),
    }
