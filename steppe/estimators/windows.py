"""Truncation windows: episodes in flight, staggered starts, resets. Shared by all estimators."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Int

from ..core import tree
from ..core.episode import Episode, begin
from ..core.objective import AbstractObjective
from ..core.optimizer import AbstractOptimizer
from ..core.task import AbstractTask, draw
from ..core.types import Key, Memo


class Window(eqx.Module):
    """An episode between two truncations, with its objective's memo."""

    episode: Episode
    memo: Memo
    left: Int[Array, ""]  # inner steps until the episode is over


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


def open_windows(
    task: AbstractTask,
    opt: AbstractOptimizer,
    objective: AbstractObjective | None,
    key: Key,
    *,
    episodes: int,
    length: int,
    horizon: Int[Array, ""],
    stagger: bool,
) -> Window:
    """`episodes` windows, stacked.

    With `stagger` their first episodes are cut at evenly spread ages (multiples of
    `length`), so that later on a batch of episodes covers all ages.
    """
    left = jnp.broadcast_to(horizon, (episodes,))
    if stagger:
        # fraction (e + 1)/E of the horizon, rounded up to whole windows
        left = length * -(-(horizon * jnp.arange(1, episodes + 1)) // (episodes * length))
    opened = jax.vmap(lambda key, left: open_window(task, opt, objective, key, left))
    return opened(jr.split(key, episodes), left.astype(horizon.dtype))


def refresh(
    task: AbstractTask,
    opt: AbstractOptimizer,
    objective: AbstractObjective | None,
    window: Window,
    key: Key,
    horizon: Int[Array, ""],
) -> tuple[Window, Bool[Array, ""]]:
    """The window, begun afresh if its episode is over; and whether it was."""
    over = window.left <= 0
    # Reset by select, not by cond: under vmap both branches run anyway.
    fresh = open_window(task, opt, objective, key, horizon)
    return tree.select(over, fresh, window), over
