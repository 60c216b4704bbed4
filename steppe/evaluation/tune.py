"""tune: a grid of learning rates on the validation split, all rates and seeds in one call.

    score(lr) = mean over seeds of the validation loss after `horizon` steps; inf if one diverged

The seeds are not those of the evaluation, the test split is not looked at.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Float

from ..core.backend import lanes_evaluated
from ..core.episode import Episode
from ..core.optimizer import AbstractOptimizer
from ..core.rollout import episodes
from ..core.task import AbstractTask, Problem
from ..core.types import Key, Scalar
from .records import Number, number
from .run import seed_keys, spread

# Quarter decades from 1e-4 to 10: wide enough for SGD on a small sigmoid network, and so fine
# that no baseline loses much between two rates.
GRID = tuple(float(f"{10 ** (k / 4):.3g}") for k in range(-16, 5))


@dataclasses.dataclass(frozen=True)
class Tuning:
    """Result of a learning-rate search. `scores` belong to `grid`; None means diverged."""

    best: float
    grid: list[float]
    scores: list[Number]
    seeds: int
    trials: int  # inner trainings run
    horizon: int
    split: Literal["valid"]
    edge: Literal["", "lowest", "highest"]  # where the best is at the end of the grid


def tune(
    task: AbstractTask,
    make: Callable[[Scalar], AbstractOptimizer],
    *,
    horizon: int,
    key: Key,
    grid: Sequence[float] = GRID,
    seeds: int = 3,
) -> Tuning:
    """The learning rate of `grid` with the least mean validation loss after `horizon` steps.

    `make` builds the optimizer from a learning rate given as an array, e.g.
    `lambda lr: FromOptax("adam", learning_rate=lr)`.
    """
    grid = sorted(float(lr) for lr in grid)
    if not grid or seeds < 1 or horizon < 1:
        raise ValueError(
            f"tune: expected a grid, seeds and a horizon of at least 1, got {len(grid)} rates, "
            f"{seeds} seeds and horizon {horizon}."
        )

    def train(task: AbstractTask, lanes: tuple[Scalar, Key]) -> Scalar:
        lrs, keys = lanes
        begins, measures = jax.vmap(jr.split, out_axes=1)(keys)

        def score(end: Episode, lane: tuple[Scalar, Key]) -> Scalar:
            batch = task.full_batch(end.instance, split="valid")
            return Problem(task, end.instance, batch, lane[1]).value(end.params)

        own = lambda lane: make(lane[0])
        return episodes(
            task, own, begins, horizon, score, beside=(lrs, measures), batch_size=lanes_evaluated()
        ).looks

    keys = seed_keys(key, range(seeds), "tune")
    lrs = jnp.repeat(jnp.asarray(grid, jnp.result_type(float)), seeds)
    lanes = (lrs, jnp.tile(keys, len(grid)))  # (rates · seeds,), the seeds of a rate side by side
    losses = np.asarray(spread(train)(task, lanes), np.float64)
    return choose(grid, losses.reshape(len(grid), seeds), horizon)


def choose(grid: Sequence[float], losses: Float[np.ndarray, "rates seeds"], horizon: int) -> Tuning:
    """The rate whose validation losses after `horizon` steps have the least mean."""
    seeds, scores = losses.shape[1], losses.mean(axis=1)
    scores = np.where(np.isfinite(scores), scores, math.inf)
    if not np.any(np.isfinite(scores)):
        raise ValueError(
            f"tune: every learning rate from {grid[0]:g} to {grid[-1]:g} diverged within "
            f"{horizon} steps; give a lower grid."
        )
    best = int(np.argmin(scores))
    lowest, highest = best == 0, best == len(grid) - 1
    return Tuning(
        best=grid[best],
        grid=list(grid),
        scores=[number(x) for x in scores],
        seeds=seeds,
        trials=len(grid) * seeds,
        horizon=horizon,
        split="valid",
        edge="" if len(grid) == 1 else "lowest" if lowest else "highest" if highest else "",
    )
