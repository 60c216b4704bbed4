"""Flatness in symbols: two teachers in the same form, and rules between them.

    u = a · gn95 + b · mn95        gradient, and its average over 20 steps, in units of √v95

Both RNNProps that are shipped, the plain one and its flat twin, are fitted by this form on their
own runs. The steps are made as large as the teacher's (in mean square), since a fit is smaller.
Rules between: the plain formula with one coefficient taken from the flat one. Models are
trained by all of them from equal starts on equal batches, on another task and on the teachers' own.
Along the way tr H, λ_max and losses are measured, at the end and, by interpolation in ln loss,
where all have come to the same training loss.
"""

from typing import Any

import equinox as eqx
import jax.random as jr
import numpy as np
from jaxtyping import Array

from ...core.episode import Episode
from ...core.optimizer import AbstractOptimizer
from ...core.rollout import episodes
from ...core.task import AbstractTask, Problem
from ...core.types import Key
from ...distillation.fit import r2, ridge
from ...distillation.record import record
from ...distillation.table import tabulate
from ...flatness.hessian import HessianTrace, TopEigenvalue
from ...optimizers.learned.symbolic import Symbolic
from ...tasks import build
from ...zoo import load

PAIR = {"plain": "rnnprop-v1", "flat": "rnnprop-flat-v1"}
FORM, INPUTS = "c0 * gn95 + c1 * mn95", (("gn95", 0), ("mn95", 0))
TRAINED = "digits-relu"  # with He start
JUDGED = ("digits-mlp", TRAINED)  # tasks whose models are measured
LOOKS, PROBES = 20, 8
NUMBERS = ("train", "test", "accuracy", "trace", "top")


def coefficients(name: str, runs: int, steps: int) -> tuple[tuple[float, float], float]:
    """(a, b) of a teacher, as large as its steps, and R² on held-out runs."""
    task = build(TRAINED, start="he")
    rows = tabulate(record(load(name), task, runs=runs, steps=steps, key=jr.key(11)), "gn95 + mn95")
    split = rows.split()
    x = np.stack([split.fit.inputs[k] for k in INPUTS], 1)
    w = ridge(x, split.fit.target, 0.0)
    w = w * np.sqrt(np.mean(split.fit.target**2) / np.mean((x @ w) ** 2))
    held = np.stack([split.test.inputs[k] for k in INPUTS], 1) @ w
    return (float(w[0]), float(w[1])), float(r2(split.test.target, held) or 0.0)


def arms(numbers: dict[str, tuple[float, float]]) -> dict[str, AbstractOptimizer]:
    """Rules by name: the teachers, their formulas, and those between."""
    (a, b), (a_flat, b_flat) = numbers["plain"], numbers["flat"]
    pairs = {
        "plain": (a, b),
        "flat": (a_flat, b_flat),
        "plain, g of flat": (a_flat, b),
        "plain, m of flat": (a, b_flat),
    }
    teachers = {f"{twin} teacher": load(name) for twin, name in PAIR.items()}
    return {**teachers, **{arm: Symbolic(FORM, pair) for arm, pair in pairs.items()}}


def measured(judged: str, seeds: int, steps: int, runs: int, recorded: int) -> dict[str, Any]:
    """Numbers of the models of all arms, on the task `judged`."""
    fitted = {twin: coefficients(name, runs, recorded) for twin, name in PAIR.items()}
    numbers = {twin: found[0] for twin, found in fitted.items()}
    start = {"start": "he"} if judged == TRAINED else {}
    task, keys = build(judged, **start), jr.split(jr.key(12), seeds)
    paths = {arm: trained(task, opt, keys, steps) for arm, opt in arms(numbers).items()}
    # the highest of the final losses: the level that all come down to, seed by seed
    level = np.max([path["train"][:, -1] for path in paths.values()], axis=0)
    models = {}
    for arm, path in paths.items():
        end = {name: plain(path[name][:, -1]) for name in NUMBERS}
        matched = {
            f"{name}_matched": plain(at_level(path["train"], path[name], level))
            for name in ("trace", "top", "test")
        }
        models[arm] = end | matched
    return {
        "coefficients": {twin: list(pair) for twin, pair in numbers.items()},
        "r2": {twin: found[1] for twin, found in fitted.items()},
        "models": models,
        "level": plain(level),
    }


def trained(
    task: AbstractTask, opt: AbstractOptimizer, keys: Key, steps: int
) -> dict[str, np.ndarray]:
    """Losses, accuracy, tr H and λ_max of each model along the way, (seeds, looks) each."""

    def look(episode: Episode, _) -> dict[str, Array]:
        def at(part) -> Problem:
            batch = task.full_batch(episode.instance, split=part)
            return Problem(task, episode.instance, batch, episode.key)

        train, test, x = at("train"), at("test"), episode.params
        metrics = task.metrics(x, episode.instance, test.batch, episode.key)
        key = jr.key(0)
        return {
            "train": train.value(x),
            "test": test.value(x),
            "accuracy": metrics["accuracy"],
            "trace": HessianTrace(PROBES)(train.loss(), x, key=key),
            "top": TopEigenvalue(products=10)(train.loss(), x, key=key),
        }

    gap = max(steps // LOOKS, 1)
    at = tuple(range(gap, steps + 1, gap))
    run = eqx.filter_jit(
        lambda task, opt, keys: episodes(task, opt, keys, at[-1], look, at=at, batch_size=1).looks
    )
    return {name: np.asarray(x, np.float64) for name, x in run(task, opt, keys).items()}


def at_level(loss: np.ndarray, values: np.ndarray, level: np.ndarray) -> list[float]:
    """Values where the loss first comes down to a level, linear in the logarithms between looks."""
    found = []
    for curve, seen, goal in zip(np.log(loss), values, np.log(level), strict=True):
        k = int(np.argmax(curve <= goal + 1e-12))
        if k == 0:
            found.append(float(seen[0]))
            continue
        share = (curve[k - 1] - goal) / (curve[k - 1] - curve[k])
        with np.errstate(invalid="ignore"):
            ends = np.log(np.maximum(seen[k - 1 : k + 1], 1e-12))
        found.append(float(np.exp(ends[0] + share * (ends[1] - ends[0]))))
    return found


def plain(values) -> list[float | None]:
    return [float(f"{x:.6g}") if np.isfinite(x) else None for x in values]
