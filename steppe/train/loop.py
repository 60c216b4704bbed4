"""meta_train: meta-steps with checkpoints, exact resume, validation and a log."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import optax

from ..core.arguments import expect_kind
from ..core.estimator import AbstractEstimator, Stats
from ..core.messages import at_least, brief, reals
from ..core.objective import AbstractObjective
from ..core.optimizer import AbstractOptimizer
from ..core.task import AbstractTask
from ..core.types import Key
from ..estimators.adapted import Adapted
from ..objectives.regularized import Regularized, flatness_share
from ..store import checkpoint
from ..store.files import check_name, finite, sweep, to_json
from ..store.hints import printable
from ..store.lock import locked
from ..store.manifest import LISTED, STEPS
from . import mesh as meshes
from . import preflight
from .average import Weights, after_step, averaged
from .curriculum import AbstractCurriculum, Stage
from .sinks import JSONL, Row, Sink
from .step import TrainState, check_parts, meta_step, start
from .stopping import Stop, heeded
from .tally import Tally, kept
from .validate import Run, Validation, begin_run, horizon_of, judged, scored, stage_of

# Fields of a run's state as files of 0.1 name them
RENAMED = {"left": "steps_left", "over": "finished"}


class MetaTrainingError(RuntimeError):
    """Meta-training cannot go on; the message says why and what to change."""


@dataclasses.dataclass(frozen=True)
class History:
    """Record of a run, besides the optimizer."""

    rows: list[Row]  # one per `log_every` meta-steps of this process
    best: float | None  # validation score of the optimizer returned, None without validation
    best_step: int  # the meta-step it stems from, the last one of several
    seconds: float  # of this process, compilation included
    compile_seconds: float
    memory_bytes: int | None = None  # of a meta-step, by XLA's count
    weights: Weights = "best"  # of the optimizer returned
    averaged: int = 0  # meta-steps that they are the mean of, 0: of none


def meta_train(
    task: AbstractTask,
    opt: AbstractOptimizer,
    *,
    estimator: AbstractEstimator,
    objective: AbstractObjective,
    meta_tx: optax.GradientTransformation,
    steps: int,
    key: Key,
    validation: Validation | None = None,
    curriculum: AbstractCurriculum | None = None,
    sinks: Sequence[Sink] = (),
    folder: str | Path | None = None,
    checkpoint_every: int = 100,
    log_every: int = 10,
    keep: int = 3,
    bad_share: float = 0.5,
    weights: Weights = "best",
    recipe: Mapping | None = None,
) -> tuple[AbstractOptimizer, History]:
    """Meta-train `opt` on `task` for `steps` meta-steps.

    Returns the optimizer with the best validation score (the last one without
    `validation`) and the history. With `weights="last"` it is the last one in any case, with
    "average" the mean of its weights over the last quarter of `steps`. A stage of a curriculum
    begins that mean anew; where a curriculum ends before that quarter, the best one is returned.

    With a `folder`, the complete state is saved there every `checkpoint_every` steps,
    the rows go to `metrics.jsonl`, and a call with the same arguments on the same
    folder goes on from the newest intact checkpoint: weights and rows are bit by bit
    (times apart) as if it had never stopped. `recipe` is kept in the checkpoints; a folder
    with another recipe is refused. So is a folder that another run holds, in this process or
    another one of this machine.

    A SIGINT (Ctrl-C) or SIGTERM is then obeyed after the meta-step at hand and a last
    checkpoint: KeyboardInterrupt, or SystemExit with code 143, says how to go on. A second
    signal ends the run at once. Handlers of your own are left in place, and in another thread
    than the main one, or with several processes, signals are left alone.

    With a `curriculum` the horizons of `estimator` and `validation` are those of its stages, and
    the run may end before `steps`.

    With a `Regularized` objective the rows of validation steps have `flatness_share`, the size of
    the measure's part of the meta-gradient relative to the base's.

    Several processes that have joined (`meshes.connect`) call this alike, with equal arguments
    and a folder that all can read; process 0 alone writes to it and to `sinks`.

    Before the first step the memory that it takes is told to the sinks, after the third the time
    that is left.

    Raises FolderInUseError at once where another run holds the folder, TooLargeError before
    the first step where it takes more memory than is available, MetaTrainingError when more than
    `bad_share` of the episodes between two log rows were not finite, LostProcessError when
    another process ended.
    """
    began = time.perf_counter()
    if folder is not None:
        check_name(folder)
    at_least(0, "meta_train", steps=steps)
    every = {"checkpoint_every": checkpoint_every, "log_every": log_every}
    at_least(1, "meta_train", **every, keep=keep)
    reals("meta_train", bad_share=bad_share)
    if not 0 <= bad_share <= 1:
        raise ValueError(f"meta_train: bad_share must be a share from 0 to 1, got {bad_share}.")
    if weights not in get_args(Weights):
        known = ", ".join(get_args(Weights))
        raise ValueError(f"meta_train: weights must be one of {known}, got {brief(weights)}.")
    check_parts("meta_train", task, opt, estimator, objective, meta_tx, key)
    for what, x, kind in (
        ("validation", validation, Validation),
        ("curriculum", curriculum, AbstractCurriculum),
    ):
        expect_kind(f"meta_train: {what}", x, kind | None, f"None or a {what}")
    if curriculum is not None and validation is None:
        raise ValueError("meta_train: a curriculum goes by validation; give validation=….")
    key_start, key_valid = jr.split(key)
    mesh = meshes.episode_mesh()
    recipe = dict(recipe or {})
    sinks = sinks if meshes.leads() else ()
    folder = None if folder is None else Path(folder)
    with _held(folder) as stop, meshes.watched(), meshes.active(mesh):
        meshes.agree(
            "The task, optimizer, estimator, objective or another argument of meta_train",
            (task, opt, estimator, objective, key, steps, validation, curriculum, weights, recipe),
            "Call it with the same arguments everywhere.",
        )
        span = lambda run: horizon_of(run, curriculum, validation)
        at = functools.cache(lambda n: stage_of(curriculum, n, estimator, objective, opt))
        state = start(
            task,
            opt,
            estimator=at(0).estimator,
            objective=at(0).objective,
            meta_tx=meta_tx,
            key=key_start,
        )
        run = begin_run(state, curriculum, averaged=steps if weights == "average" else None)
        if folder is not None:
            run = _resume(folder, run, recipe, sinks)
            if meshes.leads():  # a crash may have come before this was done
                checkpoint.keep_last(folder, STEPS, keep)
        first = int(run.state.step)
        passing = None if folder is None else _passing(folder, first)
        step_fn, state, compile_seconds = compile_step(
            task, run.state, estimator, objective, meta_tx, mesh, stage=at(run.stage)
        )
        say = lambda text: [sink.say(text) for sink in sinks]
        preflight.check(step_fn.memory, estimator, state, say)
        pace = preflight.Pace(say, steps)
        score = _compile_score(task, state.opt, validation, objective, key_valid)
        share = _compile_share(task, state, estimator, objective, key_valid)
        run = eqx.tree_at(lambda r: r.state, run, state)
        if first == 0 and curriculum is not None and curriculum.from_start and score is not None:
            run = scored(run, score, curriculum)
        log = None
        if folder is not None and meshes.leads():
            log = JSONL(folder / "metrics.jsonl", step=first)
            sinks = (*sinks, log)
        rows: list[Row] = []
        tally = Tally(run.pending, began)
        stop.patient = True
        try:
            for step in range(first + 1, steps + 1):
                if run.finished or stop.signal is not None:
                    break
                state, stats = step_fn(run.state, at(run.stage))
                mean = after_step(run.mean, state.opt, step, steps)
                run = dataclasses.replace(run, state=state, mean=mean)
                pace.stepped(state, step)
                tally.add(stats)
                last = step == steps
                validate = validation is not None and (step % validation.every == 0 or last)
                if step % log_every == 0 or validate or last:
                    row = tally.row(step)
                    _check(row, bad_share, estimator)
                    if validate and validation is not None and score is not None:
                        run, found = judged(run, score, curriculum, validation.horizon)
                        row |= found
                    if validate and share is not None:
                        row["flatness_share"] = share(run.state)
                    tally.begin()
                    rows.append(row)
                    for sink in sinks:
                        sink.write(row)
                due = step % checkpoint_every == 0 or last or run.finished
                if folder is not None and (due or stop.signal is not None):
                    run = dataclasses.replace(run, pending=tally.columns())
                    whole = meshes.everywhere(run, mesh)  # a joint act; only one writes
                    if log is not None:
                        log.sync()
                        _save(folder, whole, recipe, keep, passing, stopped=not due)
            stop.patient = False
            if stop.signal is not None:
                stop.end(
                    f"Stopped; {int(run.state.step)} meta-steps are safe in {folder}: the same "
                    "call goes on from there."
                )
            opt, known = _result(run, weights, lambda opt: score and score(opt, span(run)), say)
        finally:
            for sink in sinks:
                sink.close()
    return _on_host(opt), History(
        rows=rows,
        **known,
        seconds=time.perf_counter() - began,
        compile_seconds=compile_seconds,
        memory_bytes=None if step_fn.memory is None else step_fn.memory.whole,
    )


def _result(
    run: Run,
    weights: Weights,
    score: Callable[[AbstractOptimizer], float | None],
    say: Callable[[str], object],
) -> tuple[AbstractOptimizer, dict[str, Any]]:
    """The optimizer that a run ends with, and its fields of the `History`."""
    step = int(run.state.step)
    if weights == "average" and (run.mean is None or not int(run.mean.count)):
        if run.finished:
            say("The curriculum ended before the last quarter of the meta-steps: the best is kept.")
        weights = "best"
    if weights == "best":
        chosen = bool(jnp.isfinite(run.best_score))
        known = {"best": float(run.best_score) if chosen else None}
        known |= {"best_step": int(run.best_step) if chosen else step}
        return run.best if chosen else run.state.opt, known
    opt, count = run.state.opt, 0
    if weights == "average" and run.mean is not None:
        opt, count = averaged(run.mean, opt), int(run.mean.count)
    value = score(opt)
    known = {"best": value if value is not None and math.isfinite(value) else None}
    return opt, known | {"best_step": step, "weights": weights, "averaged": count}


@contextlib.contextmanager
def _held(folder: Path | None) -> Iterator[Stop]:
    """The folder, made if need be, for this run alone, and the signals while it is written to."""
    with contextlib.ExitStack() as stack:
        if folder is not None and meshes.leads():
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder, borrow=True))
            sweep(folder)
        # Several processes could not save together at a signal to one.
        heed = folder is not None and jax.process_count() == 1
        yield stack.enter_context(heeded()) if heed else Stop()


def digest(path: Path) -> str:
    """SHA-256 of a file, which is not kept in memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _resume(folder: Path, run: Run, recipe: dict, sinks: Sequence[Sink]) -> Run:
    """The newest intact checkpoint of the folder, or `run` where there is none."""
    path, skipped = checkpoint.newest(folder, STEPS)
    meshes.agree(
        f"The newest checkpoint in {folder}",
        digest(path) if path else "none",
        "Give a folder that all processes share, or a new one.",
    )
    for sentence in skipped.values():
        for sink in sinks:
            sink.say(f"Skipped a damaged checkpoint. {sentence}")
    if path is None:
        return run
    found = finite(checkpoint.read_manifest(path).get("recipe"))  # NaN is not NaN
    found = found if isinstance(found, dict) else {}
    wanted = json.loads(to_json(recipe))
    if found != wanted:
        differing = sorted(
            k for k in {*found, *wanted} if found.get(k, "absent") != wanted.get(k, "absent")
        )
        differences = ", ".join(
            f"{k}: {str(found.get(k, 'absent'))[:200]} there, {wanted.get(k, 'absent')} asked for"
            for k in differing[:LISTED]
        )
        raise checkpoint.CheckpointError(
            printable(f"{folder} holds a run with other settings ({differences}). ")
            + "Give the settings it was begun with to resume it, or another folder."
        )
    like = lambda header: dataclasses.replace(run, pending=kept(path, header))
    run, _ = checkpoint.load_as(path, like, renamed=RENAMED)
    for sink in sinks:
        sink.say(f"Resumed from {path} at meta-step {int(run.state.step)}.")
    return run


@dataclasses.dataclass(frozen=True)
class MetaStep:
    """A compiled meta-step: (state, stage) → (state, statistics).

    The stage may differ from the one it was compiled for by its arrays, and is that one where
    none is given.
    """

    run: Callable[..., tuple[TrainState, Stats]]
    memory: preflight.Memory | None

    def __call__(self, *arguments) -> tuple[TrainState, Stats]:
        return self.run(*arguments)


def compile_step(
    task, state: TrainState, estimator, objective, meta_tx, mesh, *, stage: Stage | None = None
) -> tuple[MetaStep, TrainState, float]:
    """The one compilation of a run, the state placed where it expects it, and its seconds."""
    began = time.perf_counter()
    arrays = eqx.filter(state, eqx.is_array)
    stage = Stage(estimator, objective) if stage is None else stage
    shared, rest = eqx.partition(task, eqx.is_array)
    numbers, frame = eqx.partition(stage, eqx.is_array)
    places = meshes.shardings(arrays, mesh)
    state = eqx.combine(meshes.place(arrays, places), state)
    # A list in, a list out: of a small network the trees would cost a fifth of the meta-step.
    leaves, tree = jtu.tree_flatten(state)
    where = [i for i, leaf in enumerate(leaves) if eqx.is_array(leaf)]

    def put(leaves: list, arrays: list) -> TrainState:
        for i, leaf in zip(where, arrays, strict=True):
            leaves[i] = leaf
        return jtu.tree_unflatten(tree, leaves)

    def step(arrays, shared, numbers):
        task, now = eqx.combine(shared, rest), eqx.combine(numbers, frame)
        how = {"mask": now.mask, "scale": now.scale}
        state = put(list(leaves), arrays)
        after, stats = meta_step(task, state, now.estimator, now.objective, meta_tx, **how)
        return [jtu.tree_leaves(after)[i] for i in where], stats

    arrays = [leaves[i] for i in where]
    spread = None if places is None else jtu.tree_leaves(places)
    compiled = jax.jit(step, out_shardings=(spread, None)).lower(arrays, shared, numbers).compile()

    def run(state: TrainState, at: Stage = stage) -> tuple[TrainState, Stats]:
        own = numbers if at is stage else eqx.filter(at, eqx.is_array)
        leaves = jtu.tree_leaves(state)
        after, stats = compiled([leaves[i] for i in where], shared, own)
        return put(leaves, after), stats

    whole = MetaStep(run, preflight.memory(compiled, (arrays, shared, numbers)))
    return whole, state, time.perf_counter() - began


def _compile_score(task, opt, validation: Validation | None, objective, key: Key):
    """(opt, horizon) → validation score, of an optimizer like `opt`; None without validation."""
    if validation is None:
        return None

    def score(shared, at):
        task, objective, key = shared  # a key that is given, not built in: one program for all
        opt, horizon = at
        return validation.score(task, opt, key, horizon, objective)

    length = lambda horizon: jnp.asarray(horizon, jnp.int32)
    objective = objective if validation.needs_objective else None  # else not looked at
    compiled = _compile_number(score, (task, objective, key), (opt, length(1)))
    return lambda opt, horizon: compiled((opt, length(horizon)))


def _compile_share(task, state: TrainState, estimator, objective, key: Key):
    """`flatness_share` of a state like `state`; None if the objective is not regularized."""
    if not isinstance(objective, Regularized):
        return None

    def share(shared, state: TrainState):
        task, estimator, objective, key = shared
        key_share = jr.fold_in(key, state.step)
        return flatness_share(estimator, task, state.opt, state.est_state, objective, key=key_share)

    return _compile_number(share, (task, estimator, objective, key), state)


def _compile_number(f: Callable, shared, like) -> Callable[..., float]:
    """f(shared, x) of any x that differs from `like` by its arrays; compiled at the first call."""
    shared, rest = eqx.partition(shared, eqx.is_array)
    static = eqx.filter(like, eqx.is_array, inverse=True)

    def number(arrays, shared):
        return f(eqx.combine(shared, rest), eqx.combine(arrays, static))

    compiled = jax.jit(number)
    return lambda x: float(compiled(eqx.filter(x, eqx.is_array), shared))


def _check(row: dict, bad_share: float, estimator: AbstractEstimator | None = None) -> None:
    share = row["nonfinite"] / row["episodes"]
    if share > bad_share:
        parts = jtu.tree_leaves(estimator, is_leaf=lambda x: isinstance(x, Adapted))
        adapts = any(isinstance(part, Adapted) for part in parts)
        lower = "learning rate" + (" or the rate of adaptation" if adapts else "")
        raise MetaTrainingError(
            f"At meta-step {row['step']}, {share:.0%} of the latest episodes were not finite "
            f"(at most {bad_share:.0%} allowed). The optimizer makes its problems diverge: lower "
            f"the meta {lower}, clip the meta-gradient, or shorten the unroll."
        )


def _checkpoint(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}.safetensors"


def _passing(folder: Path, step: int) -> Path | None:
    """The checkpoint of a step if a signal made it, which an undisturbed run would not have."""
    path = _checkpoint(folder, step)
    made = path.exists() and checkpoint.read_manifest(path).get("stopped") is True
    return path if made else None


def _save(
    folder: Path, run: Run, recipe: dict, keep: int, passing: Path | None, *, stopped: bool
) -> None:
    """Save a run; the checkpoint `passing` has had its day.

    - `stopped`: a signal asked for it
    """
    step = int(run.state.step)
    manifest = {"what": "meta-training", "step": step, "recipe": recipe}
    manifest |= {"stopped": True} if stopped else {}
    checkpoint.save(_checkpoint(folder, step), run, manifest=manifest)
    if passing is not None:
        passing.unlink(missing_ok=True)
    checkpoint.keep_last(folder, STEPS, keep)


def _on_host(opt: AbstractOptimizer) -> AbstractOptimizer:
    """Arrays on the default device again, not spread over a mesh."""
    return jtu.tree_map(lambda x: jnp.asarray(np.asarray(x)) if eqx.is_array(x) else x, opt)
