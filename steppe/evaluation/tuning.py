"""Numbers found by trying: `tune` the learning rate of an optimizer, `widen` any grid.

`tune` runs a grid of learning rates, all rates and seeds in one compiled call:

    score(lr) = mean over seeds of the validation loss after `horizon` steps; inf if one diverged

Its seeds are not those of the evaluation, and it does not look at the test split. A trial is one
inner training; `tune` runs one for each rate and seed, `tune_all` for each setting as well.

The best of a grid tells little where it is the first or the last. `widen` goes on beyond that end,
in the same ratio, until the best has worse neighbours on both sides:

    grid 0.3, 1, 3   best 3  →  tries 10, 30, 100   best 10  →  inside, done

`further` says what to try next, for scores that are computed elsewhere.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Float

from ..core.arguments import real, whole
from ..core.backend import lanes_evaluated
from ..core.episode import Episode
from ..core.messages import at_least, reals
from ..core.optimizer import AbstractOptimizer
from ..core.rollout import episodes
from ..core.task import AbstractTask, Problem
from ..core.types import Key, Scalar
from .records import Number, number
from .run import seed_keys, spread

S = TypeVar("S")
Edge = Literal["", "lowest", "highest"]  # where the best is at the end of a grid
BEYOND = 3  # numbers that a grid grows by
MOST = 20  # times that a grid may grow

# Quarter decades from 1e-4 to 10: wide enough for SGD on a small sigmoid network, and so fine
# that no baseline loses much between two rates.
GRID = tuple(float(f"{10 ** (k / 4):.3g}") for k in range(-16, 5))


class Diverged(ValueError):
    """Nothing that was tried has a score."""


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
    edge: Edge

    @property
    def score(self) -> float:
        """Score of the best."""
        found = self.scores[self.grid.index(self.best)]
        return math.inf if found is None else found


@dataclasses.dataclass(frozen=True)
class Widened:
    """Result of a search over a grid that grew. `scores` belong to `grid`; None: there is none.

    - `extensions`: times that the grid grew
    - `edge`: the end of the grid that the best is still at, "" where it is inside
    """

    best: float
    grid: list[float]
    scores: list[Number]
    extensions: int
    edge: Edge


def widen(
    scores_of: Callable[[list[float]], Sequence[Number]],
    grid: Sequence[float],
    *,
    extensions: int = 4,
    beyond: int = BEYOND,
) -> Widened:
    """The number of least score, from a grid that grows until the best is inside.

    - `scores_of`: numbers → their scores, None or NaN where there is none
    - `grid`: positive numbers, two at least; the ratio of the last two at an end is kept beyond it
    - `extensions`: times that the grid may grow; the result says so if the best is at an end still
    - `beyond`: numbers that it grows by

    Raises ValueError for such grids, and `Diverged` where no number of the first grid has a score.
    """
    extensions = whole("widen: extensions", extensions, least=0, most=MOST)
    at_least(1, "widen", beyond=beyond)
    tried = dict(zip(tries := _grid(grid), _scores(scores_of, tries), strict=True))
    grown = 0
    while grown < extensions and (more := further(tried, beyond=beyond)):
        tried |= zip(more, _scores(scores_of, more), strict=True)
        grown += 1
    order = sorted(tried)
    best = _best(tried)
    return Widened(best, order, [tried[x] for x in order], grown, edge(order, best))


def further(tried: Mapping[float, Number], *, beyond: int = BEYOND) -> list[float]:
    """Numbers to try next: those beyond the end that the best is at; [] where it is inside.

    - `tried`: number → score, None or NaN where there is none
    """
    order, best = _grid(list(tried)), _best(tried)
    if not (end := edge(order, best)):
        return []
    ratio = order[0] / order[1] if end == "lowest" else order[-1] / order[-2]
    found = [float(f"{best * ratio**k:.3g}") for k in range(1, beyond + 1)]
    return [x for x in found if x > 0 and math.isfinite(x) and x not in tried]


def edge(grid: Sequence[float], best: float) -> Edge:
    """The end of an ascending grid that the best is at; "" inside, and of one number alone."""
    if len(grid) == 1:
        return ""
    return "lowest" if best == grid[0] else "highest" if best == grid[-1] else ""


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
    `lambda lr: FromOptax("adam", learning_rate=lr)`. The rate may be any other number.
    """
    at_least(1, "tune", seeds=seeds, horizon=horizon)
    reals("tune", grid=tuple(grid))
    if not len(grid):
        raise ValueError("tune: the grid has no learning rates; give one at least.")
    grid = sorted(float(lr) for lr in grid)

    def train(task: AbstractTask, lanes: tuple[Scalar, Key]) -> Scalar:
        lrs, keys = lanes
        begins, measures = jax.vmap(jr.split, out_axes=1)(keys)

        def score(end: Episode, lane: tuple[Scalar, Key]) -> Scalar:
            batch = task.full_batch(end.instance, split="valid")
            return Problem(task, end.instance, batch, lane[1]).merit(end.params)

        own = lambda lane: make(lane[0])
        return episodes(
            task, own, begins, horizon, score, beside=(lrs, measures), batch_size=lanes_evaluated()
        ).looks

    keys = seed_keys(key, range(seeds), "tune")
    lrs = jnp.repeat(jnp.asarray(grid, jnp.result_type(float)), seeds)
    lanes = (lrs, jnp.tile(keys, len(grid)))  # (rates · seeds,), the seeds of a rate side by side
    losses = np.asarray(spread(train)(task, lanes), np.float64)
    return choose(grid, losses.reshape(len(grid), seeds), horizon)


def tune_all(
    task: AbstractTask,
    makers: Mapping[S, Callable[[Scalar], AbstractOptimizer]],
    **how: Any,
) -> tuple[S, Tuning]:
    """`tune` for each of several settings: the setting of least score, and how its rate was found.

    - `makers`: setting → learning rate → optimizer
    - `how`: arguments of `tune`

    The trials are those of all settings together. A setting at which every rate diverges is left
    out; raises `Diverged` where no other is there.
    """
    if not makers:
        raise ValueError("tune_all: there is no setting to tune; give one at least.")
    tried: dict[S, Tuning] = {}
    wrong: Diverged | None = None
    for setting, make in makers.items():
        try:
            tried[setting] = tune(task, make, **how)
        except Diverged as error:
            wrong = error
    if not tried:
        raise wrong or Diverged("tune_all: nothing was tried.")
    best = min(tried, key=lambda setting: tried[setting].score)
    each = next(iter(tried.values())).trials
    return best, dataclasses.replace(tried[best], trials=each * len(makers))


def choose(grid: Sequence[float], losses: Float[np.ndarray, "rates seeds"], horizon: int) -> Tuning:
    """The rate whose validation losses after `horizon` steps have the least mean."""
    seeds, scores = losses.shape[1], losses.mean(axis=1)
    scores = np.where(np.isfinite(scores), scores, math.inf)
    if not np.any(np.isfinite(scores)):
        raise Diverged(
            f"tune: every learning rate from {grid[0]:g} to {grid[-1]:g} diverged within "
            f"{horizon} steps; give a lower grid."
        )
    best = grid[int(np.argmin(scores))]
    return Tuning(
        best=best,
        grid=list(grid),
        scores=[number(x) for x in scores],
        seeds=seeds,
        trials=len(grid) * seeds,
        horizon=horizon,
        split="valid",
        edge=edge(grid, best),
    )


def _grid(grid: Sequence[float]) -> list[float]:
    found = sorted({real("widen: a number of the grid", x) for x in grid})
    if len(found) < 2 or found[0] <= 0:
        raise ValueError(
            f"widen: the grid is {list(grid)}, expected two different positive numbers at least, "
            "whose ratio says how to go on; give more."
        )
    return found


def _scores(scores_of: Callable[[list[float]], Sequence[Number]], grid: list[float]) -> list:
    return [None if x is None else number(x) for x in scores_of(grid)]


def _best(tried: Mapping[float, Number]) -> float:
    """The number of least score, of equal ones the lowest."""
    known = {x: y for x, y in sorted(tried.items()) if y is not None and math.isfinite(y)}
    if not known:
        raise Diverged(
            f"widen: none of {', '.join(f'{x:g}' for x in sorted(tried))} has a score; give other "
            "numbers."
        )
    return min(known, key=lambda x: known[x])
