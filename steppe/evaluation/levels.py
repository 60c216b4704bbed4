"""descend: whole trainings, and what the network is like where the training loss passes a level.

    θ₀ → θ_E → θ_2E → … → θ_T          looked at every E steps, on whole splits
    first look with training loss ≤ ℓ   the point of level ℓ, for each ℓ of a list

Flat minima and low training loss go together, and so do overfitting and low training loss: two
optimizers are fairly compared where they have brought the training loss equally far, each
after as many steps as it takes. Looks are E steps apart, so that a point lies a little below its
level; `train_loss` there says how far.
"""

from collections.abc import Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

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
from .records import number
from .run import TRAIN_ROWS, rows

LOOKED = ("train_loss", "{}_loss", "{}_accuracy", "size")  # at every look; size: ‖θ‖²
MEASURED = ("trace", "top_eigenvalue", "adaptive_trace", "rise")  # at levels and at the end
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
    held_out: Literal["test", "valid"] = "test",
) -> dict[str, Any]:
    """Train `task` with `opt` once for each of `keys` (runs,), `horizon` steps each.

    Plain numbers, None where not finite or a level was not reached:

    - "steps": of the looks; "path": `LOOKED`, each (runs, looks)
    - "at": level → `LOOKED`, and `MEASURED` if `curved`, each (runs,); "end" → the same at θ_T

    Equal keys mean equal starts and batches for every optimizer. Losses are on up to 2000 training
    examples, where curvature is measured too, and on the whole split `held_out`, which stands for
    {}.
    """
    at_least(1, "descend", horizon=horizon, every=every)
    reals("descend", levels=tuple(levels))
    if horizon % every:
        raise ValueError(
            f"descend: horizon must be a multiple of every, both at least 1, got {horizon} and "
            f"{every}."
        )
    levels = sorted((float(level) for level in levels), reverse=True)
    path, reached, points = _run(
        task, opt, jnp.asarray(levels, jnp.float32), keys, horizon, every, curved, held_out
    )
    looks = np.asarray(path, np.float64)  # (runs, looks, LOOKED)
    at = np.array(points, np.float64)  # (runs, levels + 1, LOOKED + MEASURED)
    at[:, :-1][~np.asarray(reached)] = np.nan
    looked = [name.format(held_out) for name in LOOKED]
    names = [*looked, *MEASURED * curved]
    return {
        "steps": list(range(every, horizon + 1, every)),
        "path": {name: plain(looks[..., i]) for i, name in enumerate(looked)},
        "at": {
            where: {name: plain(at[:, k, i]) for i, name in enumerate(names)}
            for k, where in enumerate([*map(str, levels), "end"])
        },
    }


@eqx.filter_jit  # once for all optimizers of one kind on a task
def _run(
    task: AbstractTask,
    opt: AbstractOptimizer,
    levels: Float[Array, " levels"],
    keys: Key,
    horizon: int,
    every: int,
    curved: bool,
    held_out: Split,
) -> tuple[Float[Array, "runs looks 4"], Bool[Array, "runs levels"], Float[Array, "runs points m"]]:
    begins, measures = jax.vmap(jr.split, out_axes=1)(keys)

    def losses(instance: Instance, key: Key) -> tuple[Problem, Problem]:
        batch = rows(task.full_batch(instance, split="train"), TRAIN_ROWS)
        other = task.full_batch(instance, split=held_out)
        return Problem(task, instance, batch, key), Problem(task, instance, other, key)

    def seen(train: Problem, other: Problem, params: Params) -> Float[Array, " 4"]:
        metrics = task.metrics(params, train.instance, other.batch, train.key)
        accuracy = metrics.get("accuracy", jnp.nan)
        found = train.value(params), other.value(params), accuracy, tree.dot(params, params)
        return jnp.stack([jnp.asarray(x, jnp.float32) for x in found])

    def look(episode: Episode, key: Key) -> tuple:
        at = seen(*losses(episode.instance, key), episode.params)
        return at, episode.instance, episode.params

    def one(_: PyTree, lane: tuple) -> tuple:
        (path, instances, points), key = lane  # looks in front
        train, other = losses(jtu.tree_map(lambda leaf: leaf[0], instances), key)
        below = path[:, :1] <= levels[None]  # (looks, levels)
        reached, first = below.any(0), below.argmax(0)
        last = jnp.append(first, len(path) - 1)

        def numbers(params: Params) -> Array:
            curvature = _curvature(train, params, key) if curved else jnp.zeros(0)
            return jnp.concatenate([seen(train, other, params), curvature])

        return path, reached, jax.lax.map(numbers, jtu.tree_map(lambda leaf: leaf[last], points))

    at = range(every, horizon + 1, every)
    found = episodes(task, opt, begins, horizon, look, beside=measures, at=at, batch_size=1)
    return map_lanes(one, (), (found.looks, measures), batch_size=1)


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
