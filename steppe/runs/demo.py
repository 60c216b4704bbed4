"""The demo: meta-train an optimizer on handwritten digits, then let it meet tuned rivals.

    meta-train   RNNProp on digits-mlp (64-20-10 sigmoid network, batches of 64)
    case 1       the same task, starts never seen
    case 2       the same, five times as many steps as in meta-training
    case 3       a network never seen: deeper, ReLU, another law of the weights
    rivals       SGD, momentum, Adam, each with its learning rate tuned for each case

All choices (rates, the optimizer kept) are made on the validation split; the test split is
looked at once, for the table. Nothing is downloaded.
"""

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax.random as jr
import optax

from ..core.optimizer import AbstractOptimizer
from ..core.task import AbstractTask
from ..core.types import Key
from ..estimators.bptt import BPTT
from ..evaluation.compare import sentences, text_table
from ..evaluation.records import Record, write_records
from ..evaluation.run import evaluate, time_step
from ..evaluation.tuning import tune
from ..evaluation.update_curve import UpdateCurve, update_curve
from ..objectives.trajectory import Trajectory
from ..optimizers.classic.from_optax import adam, momentum, sgd
from ..optimizers.learned.rnnprop import RNNProp
from ..report.page import report_from_folders
from ..store.files import to_json, write_atomically
from ..tasks.suite import build
from ..train.environment import environment
from ..train.loop import History, meta_train
from ..train.sinks import Sink
from ..train.validate import Validation
from ..zoo.io import save

NAME = "RNNProp"
TASK = "digits-mlp"
UNSEEN = "digits-deeper, ReLU"
RIVALS = {"SGD": sgd, "momentum": momentum, "Adam": adam}


@dataclasses.dataclass(frozen=True)
class Settings:
    """All numbers of the demo. The meta-training ones were chosen on the validation split."""

    meta_steps: int = 100
    episodes: int = 8
    length: int = 20  # inner steps differentiated through at once
    horizon: int = 200
    rows: int = 384  # coordinates sampled for each meta-gradient, of 1510
    meta_lr: float = 5e-3  # at the start, a tenth of it at the end (cosine)
    clip: float = 1.0
    hidden: tuple[int, ...] = (20,)
    scale: float = 0.03  # the largest step of a coordinate
    validate_every: int = 10  # often: windows of 20 steps teach greed, which a whole training shows
    batch_size: int = 64
    longer: int = 5
    seeds: int = 10
    tuning_seeds: int = 4


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The findings of the demo."""

    records: list[Record]
    table: str  # the headline tables as text
    sentences: list[str]  # where the learned optimizer wins and where it loses
    history: History | None  # of the meta-training, if there was one
    seconds: dict[str, float]  # by part, compilation included
    folder: Path
    report: Path


def demo(
    folder: str | os.PathLike,
    *,
    seed: int = 0,
    command: str = "",
    say: Callable[[str], None] = print,
    sinks: Sequence[Sink] = (),
    settings: Settings = Settings(),
) -> Verdict:
    """Run the demo and leave everything in `folder`.

    records.jsonl, metrics.jsonl, config.json, env.json, rule.json, report.html, the optimizer
    in rnnprop.safetensors and the checkpoints of meta-training. A second call on the same
    folder finds meta-training done and only evaluates again.

    - `seed`: of everything random
    - `command`: the line that asks for the same, for config.json and the report
    - `say`, `sinks`: take lines of progress, and the rows of meta-training
    - `settings`: the numbers of the demo
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    where, seconds, clock = environment(), {}, Clock()
    say(f"steppe {where['versions']['steppe']} on {where['device']}, seed {seed}")
    write(folder / "config.json", config(settings, seed, command))

    key_opt, key_train, key_cases = jr.split(jr.key(seed), 3)
    task = build(TASK, batch_size=settings.batch_size)
    opt, history = _meta_train(task, settings, key_opt, key_train, folder, seed, sinks)
    save(folder / "rnnprop.safetensors", opt, task=TASK, steps=history.best_step, seed=seed)
    seconds["meta-training"] = clock.lap()
    say(
        f"meta-trained in {seconds['meta-training']:.0f} s "
        f"({history.compile_seconds:.0f} s of it compiling); kept the optimizer of meta-step "
        f"{history.best_step}. Tuning and training the rivals…"
    )

    records: list[Record] = []
    unseen = build("digits-deeper", activation="relu", start="he", batch_size=settings.batch_size)
    speeds: dict[tuple[str, str], float] = {}
    for name, case, horizon in (
        (TASK, task, settings.horizon),
        (TASK, task, settings.horizon * settings.longer),
        (UNSEEN, unseen, settings.horizon),
    ):
        records += contest(case, name, opt, horizon, settings, key_cases, speeds)
    rules = _rules(opt, records)
    seconds["tuning and evaluation"] = clock.lap()

    return finish(folder, records, rules, where, seconds, clock, say, history)


def finish(
    folder: Path,
    records: list[Record],
    rules: list[UpdateCurve],
    where: dict[str, Any],
    seconds: dict[str, float],
    clock: "Clock",
    say: Callable[[str], None],
    history: History | None = None,
) -> Verdict:
    """Write the measurements into the folder, then the report and the words.

    - `records`, `rules`: of the comparison, and the update rules to draw
    - `where`: the environment; `seconds`: by part, the whole is added
    - `clock`: started with the demo
    - `history`: of the meta-training, if there was one
    """
    write_records(folder / "records.jsonl", records, where)
    write(folder / "rule.json", [dataclasses.asdict(rule) for rule in rules])
    seconds["in all"] = clock.total()
    write(folder / "env.json", where | {"seconds": seconds})
    report = report_from_folders([folder], folder / "report.html")
    verdict = Verdict(
        records, text_table(records), sentences(records), history, seconds, folder, report
    )
    say(f"\n{verdict.table}\n")
    for sentence in verdict.sentences:
        say(sentence)
    say(f"\n{clock.total():.0f} s in all. The report: {report}")
    return verdict


def contest(
    task: AbstractTask,
    name: str,
    opt: AbstractOptimizer,
    horizon: int,
    settings: Settings,
    key: Key,
    speeds: dict[tuple[str, str], float],
) -> list[Record]:
    """The learned optimizer and its rivals on one task, from the same starts.

    - `name`: of the task, as shown
    - `horizon`: inner steps of each training
    - `speeds`: milliseconds a step by task and optimizer, filled in; the horizon does not change
      them
    """
    runners: list[tuple[str, AbstractOptimizer, dict[str, Any]]] = [(NAME, opt, {})]
    for rival, make in RIVALS.items():
        found = tune(task, make, horizon=horizon, key=key, seeds=settings.tuning_seeds)
        runners.append((rival, make(found.best), dataclasses.asdict(found)))
    records = []
    for runner, rule, tuning in runners:
        if (name, runner) not in speeds:
            speeds[name, runner] = time_step(task, rule, key=key)
        records.append(
            evaluate(
                task,
                rule,
                name=runner,
                task_name=name,
                horizon=horizon,
                seeds=settings.seeds,
                key=key,
                tuning=tuning,
                ms_per_step=speeds[name, runner],
            )
        )
    return records


def config(settings: Settings, seed: int, command: str) -> dict[str, Any]:
    """config.json: what was asked for."""
    inner = settings.meta_steps * settings.episodes * settings.length
    return {
        "title": "A learned optimizer against tuned rivals",
        "command": command or f"steppe.runs.demo.demo(folder, seed={seed})",
        "seed": seed,
        "optimizer": f"{NAME}, an LSTM of {' and '.join(map(str, settings.hidden))} cells",
        "meta-trained on": f"{TASK}, {settings.horizon} steps an episode",
        "meta-training cost": f"{settings.meta_steps} meta-steps, {inner:,} inner steps",
        "settings": dataclasses.asdict(settings),
    }


def _meta_train(
    task: AbstractTask,
    settings: Settings,
    key_opt: Key,
    key_train: Key,
    folder: Path,
    seed: int,
    sinks: Sequence[Sink],
) -> tuple[AbstractOptimizer, History]:
    rate = optax.cosine_decay_schedule(settings.meta_lr, settings.meta_steps, 0.1)
    return meta_train(
        task,
        RNNProp(hidden=settings.hidden, scale=settings.scale, key=key_opt),
        estimator=BPTT(settings.episodes, settings.length, settings.horizon, rows=settings.rows),
        objective=Trajectory("uniform", "log", "valid"),
        meta_tx=optax.chain(optax.clip_by_global_norm(settings.clip), optax.adam(rate)),
        steps=settings.meta_steps,
        key=key_train,
        validation=Validation(settings.validate_every, settings.horizon, 8),
        sinks=sinks,
        folder=folder,
        recipe={"demo": dataclasses.asdict(settings), "seed": seed},
    )


def _rules(opt: AbstractOptimizer, records: Sequence[Record]) -> list[UpdateCurve]:
    """The learned rule beside SGD and Adam with the rates found in the first case."""
    rates = {r.optimizer: r.tuning["best"] for r in reversed(records) if r.tuning}
    rules = [update_curve(opt, name=NAME, learned=True)]
    for rival in ("SGD", "Adam"):
        rules.append(update_curve(RIVALS[rival](rates[rival]), name=rival, learned=False))
    return rules


class Clock:
    """Seconds since the last lap, and since the beginning."""

    def __init__(self):
        self._began = self._mark = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        lap, self._mark = now - self._mark, now
        return round(lap, 1)

    def total(self) -> float:
        return round(time.perf_counter() - self._began, 1)


def write(path: Path, content: object) -> None:
    """One JSON document in a file."""
    write_atomically(path, to_json(content, indent=1, ensure_ascii=False), "\n")
