"""The score that selects an optimizer: what fresh problems come to after a fixed horizon."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Int

from ..core import tree
from ..core.episode import Episode, begin, unroll
from ..core.lanes import lanes_together, map_lanes
from ..core.messages import at_least
from ..core.objective import AbstractObjective
from ..core.optimizer import AbstractOptimizer
from ..core.task import AbstractTask, Problem, draw
from ..core.types import Key, Scalar


class Validation(eqx.Module):
    """Every `every` meta-steps, train `episodes` fresh problems for `horizon` inner steps.

    The same problems each time, so that two scores differ by the optimizer alone.

    - `by`: "valid", the loss on the whole validation split at the end; "objective", what
      meta-training minimises, its penalty included, over the last `window` steps. With the latter
      held-out data is not looked at, unless the objective does
    """

    every: int = eqx.field(static=True, default=100)
    horizon: int = eqx.field(static=True, default=100)
    episodes: int = eqx.field(static=True, default=8)
    by: Literal["valid", "objective"] = eqx.field(static=True, default="valid")
    window: int = eqx.field(static=True, default=20)

    def __check_init__(self):
        sizes = ("every", "horizon", "episodes", "window")
        at_least(1, "Validation", **{name: getattr(self, name) for name in sizes})
        if self.by not in ("valid", "objective"):
            raise ValueError(f"Validation: by must be valid or objective, got {self.by!r}.")

    def score(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        key: Key,
        horizon: int | Int[Array, ""] | None = None,
        objective: AbstractObjective | None = None,
    ) -> Scalar:
        """Mean over the problems, the lower the better; inf if one diverged.

        `horizon` may be traced: one compilation serves all lengths. None: the field's. By the
        objective, which has to be given then, at least `window` steps are taken.
        """
        horizon = jnp.asarray(self.horizon if horizon is None else horizon, jnp.int32)
        arrays, static = eqx.partition((task, opt, horizon, objective), eqx.is_array)

        def one(arrays, key):
            task, opt, horizon, objective = eqx.combine(arrays, static)
            key_begin, key_end = jr.split(key)
            episode = begin(task, opt, key_begin)
            if self.by == "objective":
                return self._objective(task, opt, episode, horizon, objective, key_end)
            episode = advanced(task, opt, episode, horizon)
            batch = task.whole(episode.instance, split="valid")
            return Problem(task, episode.instance, batch, key_end).value(episode.params)

        keys = jr.split(key, self.episodes)
        n = tree.size(eqx.filter_eval_shape(lambda k: task.init(task.sample(k), k), keys[0]))
        losses = map_lanes(one, arrays, keys, batch_size=lanes_together(n))
        return jnp.where(jnp.all(jnp.isfinite(losses)), jnp.mean(losses), jnp.inf)

    def _objective(self, task, opt, episode, horizon, objective, key: Key) -> Scalar:
        """Of the last `window` steps, with what the objective remembers of the start."""
        if objective is None:
            raise ValueError("Validation: by='objective' needs the objective; give objective=….")
        key_problem, key_start, key_score = jr.split(key, 3)
        problem = draw(task, episode.instance, key_problem, split="train")
        memo = objective.start(problem, episode, key=key_start)
        episode = advanced(task, opt, episode, horizon - self.window)

        observe = lambda step: objective.observe(step, memo)
        episode, obs = unroll(task, opt, episode, self.window, observe)
        return objective(task, episode, obs, memo, key=key_score).value


def advanced(
    task: AbstractTask, opt: AbstractOptimizer, episode: Episode, steps: Int[Array, ""]
) -> Episode:
    """The episode so many steps later."""
    step = lambda _, episode: unroll(task, opt, episode, 1, lambda step: ())[0]
    return jax.lax.fori_loop(0, steps, step, episode)
