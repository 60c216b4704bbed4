"""The part of `steppe train` that needs JAX: build, meta-train, save, read back."""

import contextlib
import importlib.metadata
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import equinox as eqx
import jax
import jax.random as jr
import jax.tree_util as jtu
import numpy as np

from ..core.optimizer import AbstractOptimizer
from ..core.task import AbstractTask
from ..core.types import Key
from ..runs import folder as folders
from ..runs.errors import Failed
from ..runs.findings import Finding
from ..runs.probe import LONGER, examine
from ..tasks import suite
from ..train.environment import environment
from ..train.loop import History, MetaTrainingError, meta_train
from ..train.mesh import use_cores
from ..train.preflight import TooLargeError
from ..train.sinks import Console, Row, Sink, TensorBoard, flatness, read_rows
from ..zoo import io as kinds
from ..zoo.assemble import assemble
from .diagnose import keep
from .options import Train
from .train import config_of, recipe_from

LINES = 20  # progress lines of a run whose stderr is no terminal


class Lines:
    """Progress as plain lines, every `every` meta-steps."""

    def __init__(self, every: int, say: Callable[[str], None]):
        self._every, self._say, self._next = every, say, 0

    def write(self, row: Row) -> None:
        if int(row["step"]) < self._next and "valid_loss" not in row:
            return
        self._next = int(row["step"]) + self._every
        words = [f"step {row['step']}", f"meta-loss {row['meta_loss']:+.4f}"]
        words += [f"flatness {flat:.4g}"] if (flat := flatness(row)) is not None else []
        words += [f"validation loss {row['valid_loss']:.4g}"] if "valid_loss" in row else []
        words += [f"{row['nonfinite']} non-finite episodes"] if row["nonfinite"] else []
        self._say(" · ".join([*words, f"{row['inner_steps_per_s']:,.0f} inner steps/s"]))

    def say(self, text: str) -> None:
        self._say(text)

    def close(self) -> None:
        pass


def train(options: Train, folder: Path, recipe: dict, say: Callable[[str], None]) -> dict:
    """Meta-train as told; what came of it."""
    cores = use_cores(options.cores)
    version = importlib.metadata.version("steppe")
    devices = jax.devices()
    say(f"steppe {version} · {len(devices)} × {devices[0].device_kind} · compiling…")

    key_opt, key_run = jr.split(jr.key(options.seed))
    key_doctor = jr.fold_in(key_run, options.steps)
    new = not folders.begun(folder)
    task = suite.build(options.task)
    opt, how = assemble(recipe_from(options), task, key=key_opt)
    with contextlib.ExitStack() as stack:
        sinks = _sinks(options, folder, say)
        for sink in sinks:
            stack.callback(sink.close)
        _write_run(folder, options, cores, version)
        try:
            best, history = meta_train(
                how.pop("task"),
                opt,
                **how,
                key=key_run,
                sinks=sinks,
                folder=folder,
                checkpoint_every=options.checkpoint_every,
                recipe=recipe,
            )
        except TooLargeError:
            if new:  # nothing of it is worth keeping, and other settings may go there
                _forget(folder)
            raise
        except MetaTrainingError as error:
            raise Failed(f"{error}{_remedy(options)}") from error
    result = _finish(best, history, options, folder, recipe)
    return result | {"findings": _examined(best, task, options, folder, key_doctor, say)}


def _forget(folder: Path) -> None:
    """Take back what a run wrote that has made no step."""
    for name in (folders.CONFIG, folders.ENVIRONMENT, folders.METRICS):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "tensorboard", ignore_errors=True)


def _remedy(options: Train) -> str:
    """What else to try if it was the measure that was not finite."""
    flat = options.flat
    if flat.kind == "none":
        return ""
    if flat.normalise != "none":
        return (
            f" Or it is --flat.normalise {flat.normalise}, which has no value where the measure is "
            "not positive: take --flat.normalise none, or a measure that cannot be negative."
        )
    if flat.kind == "log-det":
        return (
            f" Or it is log-det, which has no value where an eigenvalue is below −γ = "
            f"{-flat.gamma:g}: raise --flat.gamma."
        )
    return ""


def _sinks(options: Train, folder: Path, say: Callable[[str], None]) -> tuple[Sink, ...]:
    sinks: list[Sink] = [TensorBoard(folder / "tensorboard")] if options.log else []
    if not options.quiet and sys.stderr.isatty():
        return (*sinks, Console(options.steps))
    return (*sinks, Lines(max(1, options.steps // LINES), say))


def _write_run(folder: Path, options: Train, cores: int, version: str) -> None:
    """`env.json`, and `config.json`, which makes the folder a run."""
    config = config_of(options, version)
    config["options"]["cores"] = cores  # whoever resumes elsewhere gets the same numbers
    here = environment()
    first = folders.read_json(folder / folders.ENVIRONMENT)
    content = first | {"resumed": [*first.get("resumed", []), here]} if first else here
    folders.write_json(folder / folders.ENVIRONMENT, content)
    folders.write_json(folder / folders.CONFIG, config)


def _finish(
    opt: AbstractOptimizer, history: History, options: Train, folder: Path, recipe: dict
) -> dict:
    path = folder / folders.MODEL
    known = {"steps": options.steps, "best_step": history.best_step, "valid_loss": history.best}
    kinds.save_optimizer(path, opt, **recipe, **known)
    check_identity(path, opt)
    return {
        "folder": str(folder),
        "model": str(path),
        "task": options.task,
        "opt": options.opt,
        **known,
        "seconds": history.seconds,
        "compile_seconds": history.compile_seconds,
        "memory_bytes": history.memory_bytes,
    }


def _examined(
    opt: AbstractOptimizer,
    task: AbstractTask,
    options: Train,
    folder: Path,
    key: Key,
    say: Callable[[str], None],
) -> list[Finding]:
    """What the doctor finds, which is also left in the folder."""
    horizon = (options.horizon, *options.curriculum.horizons)[-1]
    if not options.no_probe:
        say(f"doctor: trying the optimizer for {LONGER * horizon} steps…")
    found = examine(
        task,
        opt,
        read_rows(folder / folders.METRICS),
        horizon=None if options.no_probe else horizon,
        key=key,
    )
    keep(folder, found)
    return found


def check_identity(path: Path, opt: AbstractOptimizer) -> None:
    """Fail unless the saved optimizer comes back with the same bits."""
    again, _ = kinds.load_optimizer(path)
    before, after = (jtu.tree_leaves(eqx.filter(o, eqx.is_array)) for o in (opt, again))
    same = len(before) == len(after) and all(map(_identical, before, after))
    if not same:
        raise Failed(
            f"{path} does not give back the optimizer that was saved there; keep the folder's "
            "checkpoints and report this as a bug of steppe."
        )


def _identical(a, b) -> bool:
    x, y = np.asarray(a), np.asarray(b)
    return (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes())
