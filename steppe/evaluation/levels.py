"""descend: whole trainings, and what the network is like where the training loss passes a level.

    θ₀ → θ_E → θ_2E → … → θ_T          looked at every E steps, on whole splits
    first look with training loss ≤ ℓ   the point of level ℓ, for each ℓ of a list
    look of least validation loss       the validated stop: what early stopping keeps

Flat minima and low training loss go together, and so do overfitting and low training loss: two
optimizers are fairly compared where they have brought the training loss equally far, each
after as many steps as it takes. Looks are E steps apart, so that a point lies a little below its
level; `train_loss` there says how far.
"""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from ..core import tree
from ..core.episode import Episode
from ..core.messages import at_least, reals
from ..core.optimizer import AbstractOptimizer
from ..core.rollout import episodes, map_lanes
from ..core.task import AbstractTask, Problem
from ..core.types import Instance, Key, Params, Scalar, Split
from ..flatness import hutchinson
from ..flatness.hessian import HessianTrace
from ..flatness.hutchinson import normal_like, shift
from ..flatness.lanczos import top_eigenpair
from ..flatness.products import hvp
from ..flatness.units import Adaptive
from .calibration import calibration
from .records import number
from .run import TRAIN_ROWS, rows

HELD_OUT: tuple[Split, ...] = ("valid", "test")
CALIBRATION = ("valid_temperature", "test_ece", "test_scaled_loss")  # at points, of classifiers
MEASURED = ("trace", "top_eigenvalue", "adaptive_trace", "rise")  # at points
PROBES = 10  # of the traces
PRODUCTS = 15  # to find an eigenvalue
SIGMA, DRAWS = 0.03, 8  # of the noise on the weights behind "rise", and how often it is drawn


def descend(
    task: AbstractTask,
    opt: AbstractOptimizer,
    *,
    horizon: int,
    every: int,
    levels: Sequence[float],
    keys: Key,
    curved: bool = True,
    held_out: tuple[Split, ...] = HELD_OUT,
) -> dict[str, Any]:
    """Train `task` with `opt` once for each of `keys` (runs,), `horizon` steps each.

    Plain numbers, None where not finite or a level was not reached:

    - "steps": of the looks; "path": `looked`, each (runs, looks)
    - "at": point → `looked`, the `CALIBRATION` of a classifier, `MEASURED` if `curved`, each
      (runs,). Points are the levels; "stop", the look of least validation loss, with its "step";
      and "end", θ_T

    Equal keys mean equal starts and batches for every optimizer. Losses are on up to 2000 training
    examples, where curvature is measured too, and on the whole splits `held_out`. Without "valid"
    there is no stop, and calibration only with both.
    """
    at_least(1, "descend", horizon=horizon, every=every)
    reals("descend", levels=tuple(levels))
    if horizon % every:
        raise ValueError(
            f"descend: horizon must be a multiple of every, both at least 1, got {horizon} and "
            f"{every}."
        )
    levels = sorted((float(level) for level in levels), reverse=True)
    held_out = tuple(held_out)
    path, reached, stop, points = _run(
        task, opt, jnp.asarray(levels, jnp.float32), keys, horizon, every, curved, held_out
    )
    looks = np.asarray(path, np.float64)  # (runs, looks, names)
    at = {name: np.array(values, np.float64) for name, values in points.items()}  # (runs, points)
    unreached = ~np.asarray(reached)
    for values in at.values():
        values[:, : len(levels)][unreached] = np.nan
    places = [*map(str, levels), *(["stop"] if "valid" in held_out else []), "end"]
    steps = list(range(every, horizon + 1, every))
    found = {
        where: {name: plain(values[:, k]) for name, values in at.items()}
        for k, where in enumerate(places)
    }
    if "stop" in found:
        found["stop"]["step"] = [steps[k] for k in np.asarray(stop)]
    names = looked(held_out)
    return {
        "steps": steps,
        "path": {name: plain(looks[..., i]) for i, name in enumerate(names)},
        "at": found,
    }


def looked(held_out: tuple[Split, ...] = HELD_OUT) -> tuple[str, ...]:
    """Names of what is measured at every look; size: ‖θ‖²."""
    others = (f"{split}_{what}" for split in held_out for what in ("loss", "accuracy"))
    return ("train_loss", *others, "size")


@eqx.filter_jit  # once for all optimizers of one kind on a task
def _run(
    task: AbstractTask,
    opt: AbstractOptimizer,
    levels: Float[Array, " levels"],
    keys: Key,
    horizon: int,
    every: int,
    curved: bool,
    held_out: tuple[Split, ...],
) -> tuple[
    Float[Array, "runs looks names"],
    Bool[Array, "runs levels"],
    Int[Array, " runs"],
    dict[str, Float[Array, "runs points"]],
]:
    begins, measures = jax.vmap(jr.split, out_axes=1)(keys)
    names = looked(held_out)
    judge = names.index("valid_loss") if "valid" in held_out else None

    def training(instance: Instance, key: Key) -> Problem:
        batch = rows(task.full_batch(instance, split="train"), TRAIN_ROWS)
        return Problem(task, instance, batch, key)

    def seen(train: Problem, params: Params) -> Float[Array, " names"]:
        found = [train.value(params)]
        for split in held_out:
            batch = task.full_batch(train.instance, split=split)
            metrics = task.metrics(params, train.instance, batch, train.key)
            loss = Problem(task, train.instance, batch, train.key).value(params)
            found += [loss, metrics.get("accuracy", jnp.nan)]
        found += [tree.dot(params, params)]
        return jnp.stack([jnp.asarray(x, jnp.float32) for x in found])

    def look(episode: Episode, key: Key) -> tuple:
        at = seen(training(episode.instance, key), episode.params)
        return at, episode.instance, episode.params

    def one(_: PyTree, lane: tuple) -> tuple:
        (path, instances, points), key = lane  # looks in front
        train = training(jtu.tree_map(lambda leaf: leaf[0], instances), key)
        below = path[:, :1] <= levels[None]  # (looks, levels)
        reached, first = below.any(0), below.argmax(0)
        stop = _stop(path[:, judge]) if judge is not None else jnp.zeros((), first.dtype)
        kept = [stop] * (judge is not None)
        last = jnp.stack([*first, *kept, jnp.asarray(len(path) - 1, first.dtype)])

        def numbers(params: Params) -> dict[str, Array]:
            found = dict(zip(names, seen(train, params), strict=True))
            if set(held_out) >= set(HELD_OUT):
                found |= calibration(task, train.instance, params, key)
            if curved:
                found |= dict(zip(MEASURED, _curvature(train, params, key), strict=True))
            return {name: jnp.asarray(x, jnp.float32) for name, x in found.items()}

        at = jtu.tree_map(lambda leaf: leaf[last], points)
        return path, reached, stop, jax.lax.map(numbers, at)

    at = range(every, horizon + 1, every)
    found = episodes(task, opt, begins, horizon, look, beside=measures, at=at, batch_size=1)
    return map_lanes(one, (), (found.looks, measures), batch_size=1)


def _stop(losses: Float[Array, " looks"]) -> Int[Array, ""]:
    """The look of least validation loss, the first of equals; what is not finite is no least."""
    return jnp.argmin(jnp.where(jnp.isfinite(losses), losses, jnp.inf))


def _curvature(train: Problem, params: Params, key: Key) -> Float[Array, " 4"]:
    key_trace, key_top, key_adaptive, key_rise = jr.split(key, 4)
    H = lambda v: hvp(train.value, params, v)
    trace = hutchinson.trace(H, params, probes=PROBES, key=key_trace).value
    top = top_eigenpair(H, params, which="algebraic", products=PRODUCTS, key=key_top).value
    adaptive = Adaptive(HessianTrace(PROBES))(train.value, params, key=key_adaptive)

    def rise(key: Key) -> Scalar:
        return train.value(shift(params, jnp.asarray(SIGMA), normal_like(key, params)))

    risen = jax.lax.map(rise, jr.split(key_rise, DRAWS)).mean() - train.value(params)
    return jnp.stack([trace, top, adaptive, risen]).astype(jnp.float32)


def plain(values: np.ndarray) -> list:
    """Nested lists of numbers, None for what is not finite."""
    return [plain(row) if row.ndim else number(row) for row in values]
