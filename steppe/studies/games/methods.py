"""The optimizers of the study: rivals by hand, tuned on one grid, and trained Twins."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
from jaxtyping import Array

from ...core.optimizer import AbstractOptimizer
from ...core.rollout import episodes
from ...core.task import AbstractTask
from ...core.types import Key, Scalar
from ...evaluation.tuning import tune
from ...optimizers.classic.games import GDA, Anchored, Extragradient, OptimisticGDA
from ...optimizers.classic.resolvent import Halpern
from ...optimizers.learned.twin import Twin
from ...tasks.names import TASKS
from ...train.loop import meta_train
from ...zoo.assemble import assemble
from ...zoo.presets import recipe
from ...zoo.recipe import Recipe, change
from .. import cost

GRID = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0)
TUNED_AT = 300  # steps after which a rate is judged, by the mean of the gradient that is left
SIGNED = 0.2  # share of a run in which the published rule takes steps of scheduled size

By = Callable[[float | Scalar], AbstractOptimizer]
RIVALS: Mapping[str, By] = {
    "GDA": GDA,
    "GDA, alternating": lambda lr: GDA(lr, alternating=True),
    "optimistic GDA": OptimisticGDA,
    "extragradient": Extragradient,
    "anchored": Anchored,
    "anchored, two gradients": lambda lr: Anchored(lr, extra=True),
    "Halpern": Halpern,
}
FIXED: Mapping[str, AbstractOptimizer] = {  # rates of the published figure's caption, about
    "GDA at 0.1": GDA(0.1),
    "GDA, alternating, at 0.1": GDA(0.1, alternating=True),
    "optimistic GDA at 0.1": OptimisticGDA(0.1),
}
TRAIN, TUNE, TEST = range(3)  # streams of keys


def game(name: str) -> AbstractTask:
    """A game by its name in the table of tasks; of "matrix-game-5" those that are no limit cases.

    Of the published law 3 in 10 matrices are singular, where the distance to (0, 0) says nothing:
    only those of a condition number up to 20 are taken.
    """
    options = {"largest_condition": 20.0} if name == "matrix-game-5" else {}
    entry = TASKS[name]
    return entry.load()(**{**entry.arguments, **options})


def tuned(task: AbstractTask, make: By, problems: int, steps: int, key: Key) -> tuple[Any, float]:
    """The rule with the rate of the grid that leaves the least gradient, and the rate."""
    horizon = min(TUNED_AT, steps)
    found = tune(task, make, horizon=horizon, key=key, grid=GRID, seeds=problems)
    return make(found.best), found.best


PLANS: Mapping[str, Recipe] = {
    "Twin": recipe("twin"),
    "Twin, easy first": recipe("twin-cl"),
    # Rewards as they are, without the tricks of the published code.
    "Twin, rewards": change(recipe("twin-published"), **{"optimizer.options": {}}),
    "Twin, published": recipe("twin-published"),
}


def trained(
    task: AbstractTask, method: str, sizes: Mapping[str, Any], key: Key
) -> tuple[AbstractOptimizer, float]:
    """A Twin after its training, and processor seconds of that.

    - `method`: one of `PLANS`
    - `sizes`: "hidden", "epochs", "episodes"
    """
    plan = PLANS[method]
    epoch = -(-plan.estimator.horizon // plan.estimator.unroll)  # meta-steps
    steps = sizes["epochs"] * epoch
    changes: dict[str, Any] = {"hidden": (sizes["hidden"],) * 2, "episodes": sizes["episodes"]}
    changes |= {"steps": steps, "validate_every": min(plan.run.validate_every, steps)}
    if plan.curriculum.easiest is not None:  # all of them after 80 of 200 epochs, as published
        changes["curriculum.easiest_until"] = max(1, 2 * steps // 5)
    key_start, key_run = jr.split(key)
    opt, how = assemble(change(plan, **changes), task, key=key_start)
    began = time.process_time()
    opt, _ = meta_train(how.pop("task"), opt, **how, key=key_run, log_every=steps)
    return opt, time.process_time() - began


def for_run_of(opt: AbstractOptimizer, steps: int) -> AbstractOptimizer:
    """The same rule for a run of so many steps: of a published one the sign steps grow with it."""
    if not isinstance(opt, Twin) or not opt.sign_steps:
        return opt
    names = ("hidden", "other", "scale", "memory", "deviation")
    own = {name: getattr(opt, name) for name in names}
    longer = Twin(**own, sign_steps=round(SIGNED * steps), key=jr.key(0))
    rules = lambda twin: (twin.rule_min, twin.rule_max)
    return eqx.tree_at(rules, longer, rules(opt))


MARKS = (0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 45, 50, 70, 100, 150, 200, 250, 300, 450, 700, 1000)
LAST = 0.1  # share of a run in which a settled problem stays near its solution
NEAR = 0.01


def measured(
    task: AbstractTask, opt: AbstractOptimizer, problems: int, steps: int, key: Key
) -> dict[str, Any]:
    """The gradient that is left and the distances at the marks, over the problems; and the cost."""
    late = range(round((1 - LAST) * steps), steps + 1, max(1, round(LAST * steps / 10)))
    marks = [mark for mark in MARKS if mark <= steps]
    at = sorted({*marks, *late})
    found = looked_at(task, opt, jr.split(key, problems), at)
    found = {name: np.asarray(values, float) for name, values in found.items()}
    here = [at.index(mark) for mark in marks]
    apart = np.maximum(found["distance_min"], found["distance_max"])[:, [at.index(k) for k in late]]
    with np.errstate(all="ignore"):
        settled = np.all(apart <= NEAR, axis=1)
    names = ("merit", "distance_min", "distance_max")
    return {
        "at": marks,
        **{name: spread(found[name][:, here]) for name in names},
        "settled": float(np.mean(settled)),
        "nonfinite": int(np.sum(~np.isfinite(found["merit"][:, -1]))),
        "gradients": opt.gradients_per_step,
        "rejections": float(np.mean(found["rejections"][:, -1])) if "rejections" in found else None,
        "parameters": cost.numbers(opt),
        "problems": problems,
    }


@eqx.filter_jit
def looked_at(
    task: AbstractTask, opt: AbstractOptimizer, keys: Key, at: list[int]
) -> dict[str, Array]:
    """Metrics of every episode at the marks, and the proposals rejected so far."""
    counts = getattr(opt, "counts", lambda state: {})

    def look(episode, _):
        metrics = task.metrics(episode.params, episode.instance, (), jax.random.key(0))
        return metrics | counts(episode.opt_state)

    return episodes(task, opt, keys, at[-1], look, at=at, batch_size=len(keys)).looks


def spread(values: np.ndarray) -> dict[str, list[float | None]]:
    """Mean, median and the 10 and 90 % quantiles over problems, at each mark.

    One that is not finite counts as infinite, and what is infinite is None.
    """
    values = np.where(np.isfinite(values), values, np.inf)
    with np.errstate(all="ignore"):
        parts = {
            "mean": values.mean(axis=0),
            "median": np.median(values, axis=0),
            "low": np.quantile(values, 0.1, axis=0, method="lower"),
            "high": np.quantile(values, 0.9, axis=0, method="higher"),
        }
    number = lambda x: float(f"{x:.5g}") if np.isfinite(x) else None
    return {name: [number(x) for x in part] for name, part in parts.items()}
