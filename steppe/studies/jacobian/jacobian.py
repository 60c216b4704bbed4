"""Does HALO's regularizer, λ Σ ‖∇ℓ‖² over the steps of an unroll, keep gradients small?

RNNProp and L2O-Scale are meta-trained without it and with it on an MLP 64-20-10 on 8×8 digits, and
then train fresh networks of the kind for 100 steps: once each step with all tensors, once with
sparse updates (`SparseUpdates`, shares 0.1, 0.3, 0.5).

    steppe reproduce jacobian --scale small

What is expected: `expectations.toml`, there before the run; what came out: `README.md`.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.random as jr
import numpy as np

from ...core import tree
from ...core.episode import Episode, Step
from ...core.optimizer import AbstractOptimizer
from ...core.rollout import episodes
from ...core.task import AbstractTask
from ...core.types import Key
from ...evaluation.engines import Row
from ...evaluation.records import number
from ...optimizers.sparse_updates import SparseUpdates
from ...tasks import build
from ...train.loop import meta_train
from ...zoo.assemble import assemble
from ...zoo.penalty import Penalty
from ...zoo.presets import recipe
from ...zoo.recipe import Recipe
from .. import cost
from ..study import Cell, Conclusion, Study, records
from ..suite import concluded, own
from . import summary
from .settings import Jacobian

LETTER = "J1"
EXPECTATIONS = Path(__file__).with_name("expectations.toml")
TASK, START = "digits-relu", "he"
UNROLL = 20
JUDGED = 0x71  # key
LAST = 10  # steps whose mean is the loss at the end
BINS = 20  # points of a curve that are kept
WAYS = {"all": lambda opt: opt, "sparse": SparseUpdates}

# The mean loss, as in the paper; episodes, rates and first rates of L2O-Scale as for the optimizers
# that are shipped.
CHANGES: dict[str, Any] = {
    "episodes": 4, "unroll": UNROLL, "second_order": False, "objective.transform": "identity",
    "objective.weights": "uniform", "meta_opt": "adam", "meta_decay": "cosine", "clip": 1.0,
    "clip_each": None, "validate_by": "objective", "validation_episodes": 4,
}  # fmt: skip
OWN: dict[str, dict[str, Any]] = {
    "rnnprop": {"meta_lr": 2e-3, "optimizer.options": {"scale": 0.03}},
    "l2o-scale": {
        "meta_lr": 1e-3, "optimizer.options": {"lr_range": (1e-3, 1e-1), "max_log_lr": 0.0},
    },
}  # fmt: skip


def cells(settings: Jacobian) -> Iterator[Cell]:
    sizes = {name: getattr(settings, name) for name in ("updates", "horizon", "runs")}
    for optimizer in settings.optimizers:
        for weight in settings.weights:
            for seed in range(settings.seeds):
                yield {"suite": LETTER, "optimizer": optimizer, "weight": weight, "seed": seed,
                       **sizes}  # fmt: skip


def run(cell: Cell) -> dict[str, Any]:
    began, task = time.process_time(), build(TASK, start=START)
    key_opt, key_train = jr.split(jr.key(cell["seed"]))
    opt, options = assemble(how(cell), task, key=key_opt)
    best, history = meta_train(options.pop("task"), opt, **options, key=key_train)
    about = {
        "training_s": round(time.process_time() - began, 1),
        "best_step": history.best_step,
        "parameters": cost.numbers(best),
    }
    return {"rows": [{"way": way, **about, **judged(task, make(best), cell)}
                     for way, make in WAYS.items()]}  # fmt: skip


def how(cell: Cell) -> Recipe:
    """The recipe of a cell. λ counts the sum over the steps of an unroll, a penalty their mean."""
    name, weight, updates = cell["optimizer"], cell["weight"], cell["updates"]
    sizes = {"steps": updates, "horizon": cell["horizon"], "validate_every": max(updates // 5, 1)}
    given = CHANGES | OWN[name] | sizes
    if weight:
        penalty = Penalty(kind="gradient-norm", weight=weight * UNROLL, where="steps")
        given |= {"penalty": penalty}
    return recipe(name, **given)


def judged(task: AbstractTask, opt: AbstractOptimizer, cell: Cell) -> dict[str, Any]:
    """Means over trainings of the loss and ‖∇ℓ‖² on the way, and accuracy at the end."""
    keys, steps = jr.split(jr.key(JUDGED), cell["runs"]), cell["horizon"]
    (accuracy, counts), (loss, square) = _trained(task, opt, keys, steps)
    loss, square = np.asarray(loss, np.float64), np.asarray(square, np.float64)
    parts = np.array_split(np.arange(loss.shape[1]), BINS)
    binned = lambda x: [number(float(x[:, part].mean())) for part in parts]
    return {
        "gradient": number(float(square.mean())),
        "loss": number(float(loss[:, -LAST:].mean())),
        "accuracy": number(float(np.mean(accuracy))),
        "moved_share": number(float(np.mean(counts.get("full_updates", steps))) / steps),
        "at": [float(part.mean()) for part in parts],
        "losses": binned(loss),
        "squares": binned(square),
        "lost": int(np.sum(~np.isfinite(loss[:, -1]))),
        "gradients": opt.gradients_per_step,
    }


@eqx.filter_jit
def _trained(task: AbstractTask, opt: AbstractOptimizer, keys: Key, horizon: int) -> tuple:
    counts = getattr(opt, "counts", lambda state: {})

    def end(episode: Episode, _: object) -> tuple:
        batch = task.full_batch(episode.instance, split="test")
        found = task.metrics(episode.params, episode.instance, batch, episode.key)
        return found["accuracy"], counts(episode.opt_state)

    def seen(step: Step) -> tuple:
        return step.value, tree.squared_norm(step.problem.grad(step.before.params))

    found = episodes(task, opt, keys, horizon, end, observe=seen)
    return found.looks, found.steps


def conclude(settings: Jacobian, rows: Sequence[Row]) -> Conclusion:
    mine = own(rows, (LETTER,))
    content = {"records": records(mine)}
    return concluded(EXPECTATIONS, summary.quantities(mine), [summary.table(mine)], **content)


def budget(settings: Jacobian) -> str:
    return "hours" if settings.updates > 1000 else ""


STUDY = Study(cells, f"{__name__}:run", conclude, budget, keep_programs=True)
