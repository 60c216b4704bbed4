"""A window is an episode between two truncations; `score` is the one way to score its steps."""

from collections.abc import Callable

import equinox as eqx
import jax.random as jr
from jaxtyping import Array, Int, PyTree

from . import tree
from .episode import Episode, Step, begin, unroll
from .objective import AbstractObjective, Score
from .optimizer import AbstractOptimizer
from .task import AbstractTask, draw
from .types import Key, Memo, Updates


class Window(eqx.Module):
    """An episode between two truncations, with its objective's memo."""

    episode: Episode
    memo: Memo
    steps_left: Int[Array, ""]  # inner steps until the episode is finished


def open_window(
    task: AbstractTask,
    opt: AbstractOptimizer,
    objective: AbstractObjective | None,
    key: Key,
    horizon: Int[Array, ""],
) -> Window:
    """A fresh episode that will run for `horizon` inner steps; no memo without an objective."""
    key_begin, key_problem, key_start = jr.split(key, 3)
    episode = begin(task, opt, key_begin)
    if objective is None:
        return Window(episode, (), horizon)
    problem = draw(task, episode.instance, key_problem, split="train")
    memo = tree.strongly_typed(objective.start(problem, episode, key=key_start))
    return Window(episode, memo, horizon)


def score(
    task: AbstractTask,
    opt: AbstractOptimizer,
    window: Window,
    objective: AbstractObjective,
    length: int,
    *,
    key: Key,
    second_order: bool = False,
    remat: bool = False,
    until: Int[Array, ""] | None = None,
    fresh: bool = False,
) -> tuple[Score, Window]:
    """Score the next `length` inner steps of a window; return the window after them, too.

    Differentiable in the arrays of `opt` and in the window. `key` is for the objective;
    `second_order`, `remat`, `until` and `fresh` are those of `unroll`.
    """
    how = {"second_order": second_order, "remat": remat, "until": until, "fresh": fresh}
    nothing = lambda step: ()
    return score_and_record(task, opt, window, objective, length, nothing, key=key, **how)[:2]


def score_and_record(
    task: AbstractTask,
    opt: AbstractOptimizer,
    window: Window,
    objective: AbstractObjective,
    length: int,
    record: Callable[[Step], PyTree],
    *,
    key: Key,
    second_order: bool = False,
    remat: bool = False,
    nudges: Updates | None = None,
    until: Int[Array, ""] | None = None,
    fresh: bool = False,
) -> tuple[Score, Window, PyTree]:
    """Score a window, and stack the results of `record` at each step (leading axis `length`).

    `nudges`, as in `unroll`, give the cotangents of the updates.
    """

    def observe(step: Step) -> tuple[PyTree, PyTree]:
        return objective.observe(step, window.memo), record(step)

    episode, (obs, records) = unroll(
        task,
        opt,
        window.episode,
        length,
        observe,
        second_order=second_order,
        remat=remat,
        nudges=nudges,
        until=until,
        fresh=fresh,
    )
    found = objective(task, episode, obs, window.memo, key=key)
    return found, Window(episode, found.memo, window.steps_left - length), records
