"""A meta-training from its recipe to the saved optimizer, in a folder.

    how = recipe("dm-cl-il", task="digits-mlp", steps=2000)
    result = train(how, "runs/a")        result.opt, result.history, result.findings
    result = resume("runs/a", steps=4000)

The folder gets config.json, env.json, metrics.jsonl, checkpoints, findings.json, and at the end
model.safetensors: the optimizer with the best validation score, or what `run.keep` says. A run that
was stopped, in whatever way, goes on exactly where it was.
"""

import contextlib
import importlib.metadata
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.random as jr
import jax.tree_util as jtu
import numpy as np

from ..core.optimizer import AbstractOptimizer
from ..core.task import AbstractTask
from ..core.types import Key
from ..store import checkpoint
from ..store.files import check_name
from ..store.manifest import STEPS, read_manifest
from ..tasks import suite
from ..train.environment import environment
from ..train.loop import History, MetaTrainingError, meta_train
from ..train.mesh import use_cores
from ..train.sinks import Console, Row, Sink, TensorBoard, flatness, read_rows
from ..zoo.assemble import assemble, populated
from ..zoo.io import load, save
from ..zoo.recipe import Penalty, Recipe, change
from ..zoo.recipe_json import from_json, to_json
from . import config, diagnostics
from . import folder as folders
from .diagnostics import logarithmic
from .findings import Finding
from .folder import Failed
from .probe import LONGER, examine

LINES = 20  # progress lines of a run that has no live line


class Result(NamedTuple):
    """A finished run."""

    opt: AbstractOptimizer  # by `run.keep`: the best by validation, the last, or an average
    history: History
    findings: list[Finding]  # of the doctor, good and bad
    folder: Path

    @property
    def model(self) -> Path:
        return self.folder / folders.MODEL


def train(
    recipe: Recipe,
    folder: str | os.PathLike,
    *,
    probe: bool = True,
    say: Callable[[str], None] = print,
    live: bool = False,
    about: Mapping[str, Any] = {},
) -> Result:
    """Meta-train by a recipe, or go on with the run that the folder holds.

    - `recipe`: with a task of `tasks.build` by its name
    - `folder`: new, empty, or with a run of the same recipe
    - `probe`: try the new optimizer on a few problems for the findings
    - `say`: takes each line of progress
    - `live`: one line on the terminal that changes, instead of lines now and then
    - `about`: what else `config.json` is to say

    Raises BadInput where the folder cannot be used, Failed where the run failed, TooLargeError
    where it takes more memory than there is.
    """
    if recipe.task.name is None:
        raise ValueError("`task.name` is missing; give the name of a task (`steppe list tasks`).")
    check_name(folder)
    with config.opened(Path(folder), recipe):
        return train_opened(recipe, Path(folder), probe=probe, say=say, live=live, about=about)


def resume(folder: str | os.PathLike, **free: Any) -> Result:
    """Go on with the run of a folder, with its own recipe.

    - `free`: changes of settings that do not change what it computes, e.g. `steps`
    """
    return train(change(config.read(Path(folder)), **free), folder)


def train_opened(
    recipe: Recipe,
    folder: Path,
    *,
    probe: bool,
    say: Callable[[str], None],
    live: bool,
    about: Mapping[str, Any],
) -> Result:
    """Train a recipe in a folder that `config.opened` holds open; see `train`."""
    new = not folders.begun(folder)
    run, cores = recipe.run, use_cores(recipe.run.cores, threads=True)
    version, devices = importlib.metadata.version("steppe"), jax.devices()
    say(f"steppe {version} · {len(devices)} × {devices[0].device_kind} · compiling…")

    key_opt, key_run = jr.split(jr.key(run.seed))
    key_doctor = jr.fold_in(key_run, run.steps)
    task = suite.build(str(recipe.task.name))
    opt, how = assemble(recipe, task, key=key_opt)
    with contextlib.ExitStack() as stack:
        sinks = _sinks(recipe, folder, say, live)
        for sink in sinks:
            stack.callback(sink.close)
        _write_environment(folder)
        # Whoever resumes elsewhere gets the same numbers.
        config.write(folder, change(recipe, cores=cores), steppe=version, **about)
        try:
            best, history = meta_train(
                how.pop("task"),
                opt,
                **how,
                key=key_run,
                sinks=sinks,
                folder=folder,
                checkpoint_every=run.checkpoint_every,
                recipe=_kept(folder, recipe),
            )
        except MetaTrainingError as error:
            raise Failed(f"{error}{_remedy(recipe.penalty)}") from error
        except Exception:
            if new and not folders.done_steps(folder):  # other settings may go there
                _forget(folder)
            raise
    path = folder / folders.MODEL
    known = {"best_step": history.best_step, "valid_loss": history.best}
    known |= {"averaged": history.averaged} if history.averaged else {}
    save(path, best, **to_json(recipe), **known)
    check_identity(path, best)
    seen = populated(recipe, task)
    return Result(
        best, history, _examine(best, seen, recipe, folder, key_doctor, probe, say), folder
    )


def _kept(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """The recipe as checkpoints have it: in a run of 0.1, word for word as it stood there."""
    path, _ = checkpoint.newest(folder, STEPS)
    if path is not None:
        found = read_manifest(path).get("recipe")
        # In a file that is not ours it may be anything, which is no recipe then.
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
            if found and not config.differences(from_json(found, type(recipe)), recipe):
                return dict(found)
    return to_json(recipe, free=False)


def _forget(folder: Path) -> None:
    """Take back what a run wrote that has made no step."""
    for name in (folders.CONFIG, folders.ENVIRONMENT, folders.METRICS):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / folders.TENSORBOARD, ignore_errors=True)


def _remedy(penalty: Penalty) -> str:
    """Another thing to try if it was the measure that was not finite."""
    if penalty.kind == "none":
        return ""
    if penalty.normalise != "none":
        return (
            f" Or it is `penalty.normalise {penalty.normalise}`, which has no value where the "
            "measure is not positive: take `penalty.normalise none`, or a measure that cannot be "
            "negative."
        )
    if penalty.kind == "log-det":
        return (
            f" Or it is log-det, which has no value where an eigenvalue is below −γ = "
            f"{-penalty.gamma:g}: raise `penalty.gamma`."
        )
    return ""


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
        words += [f"gain of adaptation {row['adapted_gain']:.3g}"] if "adapted_gain" in row else []
        words += [f"validation loss {row['valid_loss']:.4g}"] if "valid_loss" in row else []
        words += [f"{row['nonfinite']} non-finite episodes"] if row["nonfinite"] else []
        self._say(" · ".join([*words, f"{row['inner_steps_per_s']:,.0f} inner steps/s"]))

    def say(self, text: str) -> None:
        self._say(text)

    def close(self) -> None:
        pass


def _sinks(
    recipe: Recipe, folder: Path, say: Callable[[str], None], live: bool
) -> tuple[Sink, ...]:
    steps = recipe.run.steps
    place, done = folder / folders.TENSORBOARD, folders.done_steps(folder)
    sinks: list[Sink] = [TensorBoard(place, step=done)] if recipe.run.log else []
    return (*sinks, Console(steps) if live else Lines(max(1, steps // LINES), say))


def _write_environment(folder: Path) -> None:
    here = environment()
    first = folders.read_json(folder / folders.ENVIRONMENT)
    before = first.get("resumed")
    before = before if isinstance(before, list) else []
    content = first | {"resumed": [*before, here]} if first else here
    folders.write_json(folder / folders.ENVIRONMENT, content)


def _examine(
    opt: AbstractOptimizer,
    task: AbstractTask,
    recipe: Recipe,
    folder: Path,
    key: Key,
    probe: bool,
    say: Callable[[str], None],
) -> list[Finding]:
    """The doctor's findings, which are also left in the folder."""
    horizon = (recipe.estimator.horizon, *recipe.curriculum.horizons)[-1]
    if probe:
        say(f"doctor: trying the optimizer for {LONGER * horizon} steps…")
    rows = read_rows(folder / folders.METRICS)
    how = {"horizon": horizon if probe else None, "logarithmic": logarithmic(recipe)}
    found = examine(task, opt, rows, key=key, **how)
    diagnostics.keep(folder, found)
    return found


def check_identity(path: Path, opt: AbstractOptimizer) -> None:
    """Fail unless the saved optimizer comes back with the same bits."""
    again = load(path)
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
