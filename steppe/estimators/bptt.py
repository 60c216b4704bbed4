"""BPTT: truncated back-propagation through time over a batch of episodes.

Each call unrolls every episode by `length` inner steps from where it stands,
differentiates the objective of that window with respect to θ, and carries the
episode over as a constant.

First order (the default) stops the gradient on the gradients handed to the
optimizer. Coordinatewise optimizers then take the fast road of `replay.py`; all
others, and second order, are differentiated through the unroll itself.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.core import Tracer
from jaxtyping import Array, Bool, Int, PyTree

from ..core import tree
from ..core.coordinatewise import AbstractCoordinatewise
from ..core.episode import Episode, unroll
from ..core.estimator import AbstractEstimator, Stats
from ..core.lanes import lanes_together, map_lanes
from ..core.objective import AbstractObjective, Score
from ..core.optimizer import AbstractOptimizer, join_meta, split_meta
from ..core.task import AbstractTask
from ..core.types import Key, Scalar
from .average import Lane, average
from .replay import replay_gradient
from .windows import Window, open_window, open_windows, refresh


class BPTT(AbstractEstimator):
    """Truncated back-propagation through `length` of the `horizon` steps of each episode.

    - `horizon` is an array: it can change from call to call without recompiling. An
      episode ends at the first window boundary at or after it.
    - `rows`: back-propagate through so many sampled coordinates instead of all; only
      for coordinatewise optimizers in first-order mode (see `replay.py`).
    - `remat`: recompute inner steps in the backward pass instead of storing them. None
      decides by memory for coordinatewise optimizers, and stores for others.
    - `together`: episodes that one device advances at once (default: chosen by size).

    Episodes whose loss or gradient is not finite are left out of the mean, counted in
    `Stats.nonfinite` and begun afresh at the next call.
    """

    episodes: int = eqx.field(static=True)
    length: int = eqx.field(static=True)
    horizon: Int[Array, ""]
    second_order: bool = eqx.field(static=True)
    rows: int | None = eqx.field(static=True)
    remat: bool | None = eqx.field(static=True)
    stagger: bool = eqx.field(static=True)
    together: int | None = eqx.field(static=True)

    def __init__(
        self,
        episodes: int = 8,
        length: int = 20,
        horizon: int | Int[Array, ""] = 100,
        *,
        second_order: bool = False,
        rows: int | None = None,
        remat: bool | None = None,
        stagger: bool = True,
        together: int | None = None,
    ):
        for name, number in (("episodes", episodes), ("length", length), ("horizon", horizon)):
            if not isinstance(number, Tracer) and not number >= 1:
                raise ValueError(f"BPTT: {name} must be at least 1, got {number}.")
        if rows is not None and rows < 1:
            raise ValueError(f"BPTT: rows must be at least 1, or None for all; got {rows}.")
        if rows is not None and second_order:
            raise ValueError(
                "BPTT: sampled coordinates (rows) need the gradients handed to the optimizer "
                "to be constants, which second_order=True undoes. Use rows=None."
            )
        self.episodes, self.length = episodes, length
        self.horizon = jnp.asarray(horizon, jnp.int32)
        self.second_order, self.rows, self.remat = second_order, rows, remat
        self.stagger, self.together = stagger, together

    def init(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        objective: AbstractObjective,
        *,
        key: Key,
    ) -> Window:
        return open_windows(
            task,
            opt,
            objective,
            key,
            episodes=self.episodes,
            length=self.length,
            horizon=self.horizon,
            stagger=self.stagger,
        )

    def __call__(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        state: Window,
        objective: AbstractObjective,
        *,
        key: Key,
    ) -> tuple[PyTree, Window, Stats]:
        arrays, static = eqx.partition((task, opt, objective, self.horizon), eqx.is_array)

        def one(arrays, lane):
            task, opt, objective, horizon = eqx.combine(arrays, static)
            window, key = lane
            key_reset, key_loss = jr.split(key)
            window, over = refresh(task, opt, objective, window, key_reset, horizon)
            score, episode, grads = self.gradient(
                task, opt, window, objective, key=key_loss, begun=(over, key_reset)
            )
            fine = jnp.isfinite(score.value) & tree.finite(grads)
            left = jnp.where(fine, window.left - self.length, 0)
            lane = Lane(score.value, score.parts, grads, fine, over)
            return Window(episode, score.memo, left), lane

        n = tree.size(state.episode.params) // self.episodes
        together = self.together or lanes_together(n)
        xs = (state, jr.split(key, self.episodes))
        state, lanes = map_lanes(one, arrays, xs, batch_size=together)
        grads, stats = average(lanes, inner_steps=self.episodes * self.length)
        return grads, state, stats

    def gradient(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        window: Window,
        objective: AbstractObjective,
        *,
        key: Key,
        begun: tuple[Bool[Array, ""], Key] | None = None,
    ) -> tuple[Score, Episode, PyTree]:
        """The score of one window, the episode after it, and dscore/dθ.

        `begun`: whether the window is the first of its episode, and the key it was begun with.
        The state that an episode begins with is then differentiated too, where θ has a say in it
        (coordinatewise rules begin at constants).
        """
        if isinstance(opt, AbstractCoordinatewise) and not self.second_order:
            return replay_gradient(
                task,
                opt,
                window.episode,
                objective,
                window.memo,
                length=self.length,
                rows=self.rows,
                remat=self.remat,
                key=key,
            )
        if self.rows is not None:
            raise ValueError(
                f"BPTT: rows={self.rows} needs a coordinatewise optimizer, but "
                f"{type(opt).__name__} mixes coordinates. Use rows=None."
            )
        theta, rest = split_meta(opt)
        key_objective, _ = jr.split(key)  # the same draw as in replay_gradient

        def value(theta: PyTree) -> tuple[Scalar, tuple[Score, Episode]]:
            live, start = join_meta(theta, rest), window.episode
            if begun is not None:
                over, key_reset = begun
                fresh = open_window(task, live, None, key_reset, self.horizon).episode.opt_state
                state = tree.select(over, fresh, start.opt_state)
                start = eqx.tree_at(
                    lambda e: e.opt_state, start, state, is_leaf=lambda x: x is None
                )

            observe = lambda step: objective.observe(step, window.memo)
            episode, obs = unroll(
                task,
                live,
                start,
                self.length,
                observe,
                second_order=self.second_order,
                remat=bool(self.remat),
            )
            score = objective(task, episode, obs, window.memo, key=key_objective)
            return score.value, (score, episode)

        (_, (score, episode)), grads = jax.value_and_grad(value, has_aux=True)(theta)
        return score, episode, grads
