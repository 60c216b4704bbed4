"""Truncation windows side by side: episodes in flight, staggered starts, resets, and the mean over
what each contributes. An estimator holds `Windows` and says what one lane does."""

import abc
import itertools
import warnings
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, PyTree

from ..core import tree
from ..core.backend import lanes_together
from ..core.episode import held
from ..core.estimator import AbstractEstimator, Stats
from ..core.messages import at_least
from ..core.objective import AbstractObjective
from ..core.optimizer import AbstractOptimizer
from ..core.rollout import map_lanes
from ..core.task import AbstractTask
from ..core.types import Key
from ..core.window import Window, open_window


class Lane(eqx.Module):
    """Contribution of one episode to a meta-gradient; stacked, the leading axis is episodes."""

    loss: Float[Array, "..."]
    parts: dict[str, Float[Array, "..."]]
    grads: PyTree  # in the structure of θ
    finite: Bool[Array, "..."]  # loss and gradient are finite
    reset: Bool[Array, "..."]  # the episode began afresh
    steps: Int[Array, "..."] | int  # inner steps taken


class Windows(eqx.Module):
    """Number of episodes, length of their windows, and when they begin afresh.

    - `episodes`: episodes side by side
    - `length`: inner steps of a window, after which the episode is carried over as a constant
    - `horizon`: inner steps of an episode, an array: it changes without compiling again. An
      episode ends at the first window boundary at or after it
    - `stagger`: cut the first episodes at evenly spread ages (multiples of `length`), so that
      later on a batch of episodes covers all ages
    - `together`: episodes that one device advances at once; None: chosen by size

    `among`: k and n, where these are the k-th of n such groups of episodes that are averaged. Ages
    are then spread evenly over all groups, since a group begins k/n of an age earlier.
    """

    episodes: int = eqx.field(static=True)
    length: int = eqx.field(static=True)
    horizon: Int[Array, ""]
    among: Int[Array, "2"]
    stagger: bool = eqx.field(static=True)
    together: int | None = eqx.field(static=True)

    def __init__(
        self,
        episodes: int,
        length: int,
        horizon: int | Int[Array, ""],
        stagger: bool = True,
        together: int | None = None,
        *,
        owner: str = "Windows",
    ):
        at_least(1, owner, episodes=episodes, length=length, horizon=horizon, together=together)
        if not isinstance(horizon, Tracer):
            at_least(1, owner, horizon=int(horizon))
            if length > int(horizon):
                warnings.warn(
                    f"{owner}: an unroll of {length} steps is longer than the horizon of "
                    f"{int(horizon)}; an episode ends with its window, so that it takes {length} "
                    f"steps all the same: give a horizon of {length} or more, or a shorter unroll.",
                    stacklevel=3,
                )
        self.episodes, self.length = episodes, length
        self.horizon = jnp.asarray(horizon, jnp.int32)
        self.among = jnp.array([0, 1], jnp.int32)
        self.stagger, self.together = stagger, together

    def open(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        objective: AbstractObjective | None,
        *,
        key: Key,
    ) -> Window:
        """The first window of every episode, stacked."""
        steps = jnp.broadcast_to(self.horizon, (self.episodes,))
        if self.stagger:
            # fraction (e + 1 - k/n)/E of the horizon, rounded up to whole windows
            k, n = self.among
            part = self.horizon * (n * jnp.arange(1, self.episodes + 1) - k)
            steps = self.length * -(-part // (n * self.episodes * self.length))
        opened = jax.vmap(lambda key, steps: open_window(task, opt, objective, key, steps))
        return opened(jr.split(key, self.episodes), steps.astype(self.horizon.dtype))

    def refresh(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        objective: AbstractObjective | None,
        window: Window,
        *,
        key: Key,
    ) -> tuple[Window, Bool[Array, ""]]:
        """The window, begun afresh if its episode is finished; and whether it was."""
        finished = window.steps_left <= 0
        # Reset by select, not by cond: under vmap both branches run anyway.
        fresh = open_window(task, opt, objective, key, self.horizon)
        return tree.select(finished, fresh, window), finished

    def run(
        self,
        lane: Callable[..., tuple[PyTree, Lane]],
        shared: tuple,
        state: PyTree,
        *,
        key: Key,
        easiest: Int[Array, ""] | None = None,
    ) -> tuple[PyTree, PyTree, Stats]:
        """Run every lane and average: meta-gradient, next state, statistics.

        - `lane(*shared, window, key)` returns the window after and its contribution
        - `shared`: what lanes have in common, data and θ included
        - `state`: what each lane carries, stacked; it has its episodes as `.episode`
        - `easiest`: number of lanes that the mean is over, see `easy`; None: all
        """
        one = lambda shared, x: lane(*shared, *x)
        runs = state.episode.step.size  # more than one a lane where θ is perturbed
        matrix = any(getattr(part, "matrix", False) for part in shared)
        batch_size = self.together or lanes_together(held(state.episode) // runs, matrix=matrix)
        xs = (state, jr.split(key, self.episodes))
        state, lanes = map_lanes(one, shared, xs, batch_size=batch_size)
        grads, stats = average(lanes, None if easiest is None else easy(lanes, easiest))
        return grads, state, stats


def spread(averaged: PyTree) -> PyTree:
    """The tree that is averaged, the ages of its episodes spread evenly over all its windows."""
    windows = lambda x: isinstance(x, Windows)
    count = sum(map(windows, jtu.tree_leaves(averaged, is_leaf=windows)))
    number = itertools.count()

    def place(x: PyTree) -> PyTree:
        if not windows(x):
            return x
        return eqx.tree_at(lambda w: w.among, x, jnp.array([next(number), count], jnp.int32))

    return jtu.tree_map(place, averaged, is_leaf=windows)


class AbstractWindowed(AbstractEstimator):
    """An estimator whose every lane advances windows of episodes; it says what one lane does."""

    windows: eqx.AbstractVar[Windows]

    @property
    def horizon(self) -> Int[Array, ""]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.windows.horizon

    @abc.abstractmethod
    def lane(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        objective: AbstractObjective,
        state: PyTree,
        key: Key,
    ) -> tuple[PyTree, Lane]:
        """Advance one lane by a window: its state after, and its contribution."""

    def __call__(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        state: PyTree,
        objective: AbstractObjective,
        *,
        key: Key,
    ) -> tuple[PyTree, PyTree, Stats]:
        return self.windows.run(type(self).lane, (self, task, opt, objective), state, key=key)


def finished_unless(finite: Bool[Array, ""], window: Window) -> Window:
    """The window, its episode finished where something was not finite."""
    return Window(window.episode, window.memo, jnp.where(finite, window.steps_left, 0))


def easy(lanes: Lane, count: Int[Array, ""]) -> Bool[Array, " lanes"]:
    """True for the `count` easiest of the finite lanes.

    By the objective's part "visited", or where it has none by its value; of equal ones the first.
    """
    hard = lanes.parts.get("visited", lanes.loss)
    order = jnp.argsort(jnp.where(lanes.finite, hard, jnp.inf))
    return jnp.zeros(order.shape, bool).at[order].set(jnp.arange(order.size) < count)


def average(lanes: Lane, kept: Bool[Array, " lanes"] | None = None) -> tuple[PyTree, Stats]:
    """Mean gradient over the finite episodes, and statistics.

    - `kept`: the episodes that count; None: all

    The standard error is that of independent episodes; NaN from one episode alone.
    """
    finite = lanes.finite
    used = finite if kept is None else finite & kept
    count = jnp.sum(used)

    def mean(x: Array) -> Array:
        mask = used.reshape(-1, *[1] * (x.ndim - 1))
        return jnp.sum(jnp.where(mask, x, 0), axis=0) / jnp.maximum(count, 1).astype(x.dtype)

    def scatter(x: Array, m: Array) -> Array:
        mask = used.reshape(-1, *[1] * (x.ndim - 1))
        return jnp.where(mask, x - m[None], 0)

    grads = jtu.tree_map(mean, lanes.grads)
    off = jtu.tree_map(scatter, lanes.grads, grads)
    squares = tree.dot(off, off)
    pairs = (count * (count - 1)).astype(squares.dtype)
    error = jnp.where(count > 1, jnp.sqrt(squares / jnp.maximum(pairs, 1)), jnp.nan)
    shown = lambda x: jnp.where(count > 0, mean(x), jnp.nan)
    return grads, Stats(
        loss=shown(lanes.loss),
        parts=jtu.tree_map(shown, lanes.parts),
        grad_norm=tree.norm(grads),
        grad_error=error,
        nonfinite=jnp.sum(~finite),
        resets=jnp.sum(lanes.reset),
        episodes=jnp.asarray(finite.shape[0], jnp.int32),
        inner_steps=jnp.sum(lanes.steps).astype(jnp.int32),
        part=jnp.zeros((), jnp.int32),
    )
