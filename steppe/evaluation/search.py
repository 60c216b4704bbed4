"""Numbers of an optimizer that do best on validation problems, by trying all of a grid.

    opt = HyperLISTA.from_task(task)
    best, found = search(task, opt, opt.candidates(), horizon=opt.layers, key=jax.random.key(0))

No gradients: for rules of a few numbers this is all the training there is. Every point of the grid
meets the same problems, and they are not those of `evaluate` with the same key.

    recovery    the mean of the two averages of the recovery error in dB (`recovery.py`): the one
                does not see a few vectors that explode, the other sees little else
    loss        the mean validation loss

are taken after `horizon` steps, over all problems; ∞ where a run diverged.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float

from ..core import tree
from ..core.arguments import real
from ..core.episode import Episode
from ..core.loss import Composite, expect
from ..core.messages import at_least, brief, did_you_mean
from ..core.optimizer import AbstractOptimizer
from ..core.rollout import episodes
from ..core.task import AbstractTask, Problem, draw
from ..core.types import Key, Params
from .records import Number, number
from .recovery import decibel
from .run import seed_keys, spread

O = TypeVar("O", bound=AbstractOptimizer)  # noqa: E741
By = Literal["recovery", "loss"]
MOST = 100_000  # points of a grid


@dataclasses.dataclass(frozen=True)
class Search:
    """Result of a search.

    - `best`: the numbers found, by name
    - `grid`: those tried
    - `scores`: of all combinations, the last name fastest; None means diverged
    - `edges`: names whose best value is the lowest or highest that was tried
    """

    best: dict[str, float]
    grid: dict[str, list[float]]
    scores: list[Number]
    by: By
    problems: int
    horizon: int
    edges: list[str]


def search(
    task: AbstractTask,
    opt: O,
    grid: Mapping[str, Sequence[float]],
    *,
    horizon: int,
    key: Key,
    problems: int = 128,
    by: By | None = None,
) -> tuple[O, Search]:
    """The optimizer with the numbers of least score, and what was found on the way.

    - `grid`: values to try by the name of a field of `opt` that is one number
    - `horizon`: steps of a run, at least 1
    - `problems`: validation problems that every point meets, at least 1
    - `by`: "recovery" or "loss"; None: the former where the loss tells the truth

    Raises ValueError for names that are no such fields, values that are not finite, a score that
    the task has not, and where all points diverge.
    """
    at_least(1, "search", horizon=horizon, problems=problems)
    names, values = checked(opt, grid)
    told = tells_truth(task)
    by = by or ("recovery" if told else "loss")
    if by not in ("recovery", "loss"):
        raise ValueError(f"search: by is {by!r}, expected 'recovery' or 'loss'.")
    if by == "recovery" and not told:
        raise ValueError(
            f"search: the loss of {type(task).__name__} does not tell the truth that its data were "
            "made from, so there is no recovery error; take by='loss'."
        )
    points = np.array(list(itertools.product(*values.values())))

    def run(pair: tuple[AbstractTask, O], lanes: tuple[Array, Key]) -> Array:
        begins, measures = jax.vmap(jr.split, out_axes=1)(lanes[1])

        def score(end: Episode, lane: tuple[Array, Key]) -> Array:
            batch = pair[0].full_batch(end.instance, split="valid")
            problem = Problem(pair[0], end.instance, batch, lane[1])
            if by == "loss":
                return problem.merit(end.params)
            return squares(end.params, expect(problem.loss(), Composite, "search"))

        own = lambda lane: with_numbers(pair[1], names, lane[0])
        beside = (lanes[0], measures)
        # Problems side by side: they share a matrix, and one product of it serves them all.
        return episodes(
            pair[0], own, begins, horizon, score, beside=beside, batch_size=problems
        ).looks

    keys = seed_keys(key, range(problems), "tune")
    lanes = jnp.repeat(jnp.asarray(points, jnp.result_type(float)), problems, axis=0)
    looks = np.asarray(spread(run)((task, opt), (lanes, jnp.tile(keys, len(points)))), np.float64)
    looks = looks.reshape(len(points), problems, *looks.shape[1:])
    with np.errstate(over="ignore", invalid="ignore"):
        scores = in_both_averages(looks) if by == "recovery" else looks.mean(axis=1)
    scores = np.where(np.isfinite(scores), scores, math.inf)
    if not np.isfinite(scores).any():
        raise ValueError(
            f"search: all {len(points)} points diverged within {horizon} steps; give other values "
            f"of {', '.join(names)}."
        )
    chosen = points[int(np.argmin(scores))]
    best = dict(zip(names, map(float, chosen), strict=True))
    ends = {name: (tried[0], tried[-1]) for name, tried in values.items() if len(tried) > 1}
    edges = [name for name, pair in ends.items() if best[name] in pair]
    found = Search(best, values, [number(x) for x in scores], by, problems, horizon, edges)
    return with_numbers(opt, names, jnp.asarray(chosen, jnp.result_type(float))), found


def checked(
    opt: AbstractOptimizer, grid: Mapping[str, Sequence[float]]
) -> tuple[list[str], dict[str, list[float]]]:
    """The names and the values of a grid in ascending order, or a sentence."""
    fields = [field.name for field in dataclasses.fields(opt)]
    known = [n for n in fields if eqx.is_inexact_array(x := getattr(opt, n)) and x.ndim == 0]
    if not isinstance(grid, Mapping) or not grid:
        raise ValueError(
            f"search: grid must be values to try by the name of a number, got {brief(grid)}; give "
            '{"step": (0.5, 1.0)}, say.'
        )
    for name, values in grid.items():
        if name not in known:
            see = did_you_mean(name, known) if known else "it has none."
            raise ValueError(f"search: {type(opt).__name__} has no number {name!r}; {see}")
        if not isinstance(values, Sequence | np.ndarray) or isinstance(values, str):
            raise ValueError(
                f"search: the values of {name} must be a list of numbers, got {brief(values)}."
            )
        for value in values:
            real(f"search: a value of {name}", value)
        if not len(values):
            raise ValueError(f"search: there are no values of {name}; give one at least.")
    if (count := math.prod(len(values) for values in grid.values())) > MOST:
        raise ValueError(f"search: the grid has {count} points, {MOST} are allowed; give fewer.")
    return list(grid), {name: sorted(map(float, values)) for name, values in grid.items()}


def with_numbers(opt: O, names: Sequence[str], values: Array) -> O:
    """The optimizer with other numbers, in their dtypes."""
    where = lambda opt: [getattr(opt, name) for name in names]
    cast = [value.astype(old.dtype) for value, old in zip(values, where(opt), strict=True)]
    return eqx.tree_at(where, opt, cast)


def tells_truth(task: AbstractTask) -> bool:
    """True if the losses of a task have the vector that their data were made from."""

    def loss(key: Key):
        return draw(task, task.sample(key), key, split="valid").loss()

    made = eqx.filter_eval_shape(loss, jr.key(0))
    return isinstance(made, Composite) and made.truth is not None


def squares(params: Params, loss: Composite) -> Float[Array, "2"]:
    """‖x − x♯‖² and ‖x♯‖²"""
    off = jtu.tree_map(jnp.subtract, params, loss.truth)
    return jnp.stack([tree.squared_norm(off), tree.squared_norm(loss.truth)])


def in_both_averages(
    both: Float[np.ndarray, "points problems 2"],
) -> Float[np.ndarray, " points"]:
    """The mean of the two averages of the recovery error, in dB, at every point."""
    errors, sizes = np.moveaxis(both, -1, 0)
    mean, aggregate = decibel(errors, sizes).mean(axis=1), decibel(errors.sum(1), sizes.sum(1))
    return (mean + aggregate) / 2
