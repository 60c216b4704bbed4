"""The score that selects an optimizer: what fresh problems come to after a fixed horizon."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Int

from ..core.episode import Episode
from ..core.messages import at_least
from ..core.objective import AbstractObjective
from ..core.optimizer import AbstractOptimizer
from ..core.rollout import episodes
from ..core.task import AbstractTask, Problem, draw
from ..core.types import Key, Scalar
from ..core.window import Window, score


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
        steps = jnp.asarray(self.horizon if horizon is None else horizon, jnp.int32)
        begins, keys = jax.vmap(jr.split, out_axes=1)(jr.split(key, self.episodes))
        if self.by == "valid":

            def held_out(end: Episode, key: Key) -> Scalar:
                batch = task.full_batch(end.instance, split="valid")
                return Problem(task, end.instance, batch, key).value(end.params)

            losses = episodes(task, opt, begins, steps, held_out, beside=keys).looks
        else:
            losses = self._objective(task, opt, begins, steps, objective, keys)
        return jnp.where(jnp.all(jnp.isfinite(losses)), jnp.mean(losses), jnp.inf)

    def _objective(self, task, opt, begins: Key, steps, objective, keys: Key) -> Scalar:
        """Values over the last `window` steps, with what the objective remembers of the start."""
        if objective is None:
            raise ValueError("Validation: by='objective' needs the objective; give objective=….")

        def start(episode: Episode, key: Key) -> tuple:
            key_problem, key_start, key_score = jr.split(key, 3)
            problem = draw(task, episode.instance, key_problem, split="train")
            return episode, objective.start(problem, episode, key=key_start), key_score

        starts, memos, scores = episodes(task, opt, begins, 0, start, beside=keys).looks

        def value(episode: Episode, beside: tuple) -> Scalar:
            memo, key = beside
            window = Window(episode, memo, jnp.asarray(self.window, jnp.int32))
            return score(task, opt, window, objective, self.window, key=key)[0].value

        beside = (memos, scores)
        return episodes(task, opt, starts, steps - self.window, value, beside=beside).looks
