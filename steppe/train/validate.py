"""The score that selects an optimizer: loss on a whole split after a fixed horizon."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Int

from ..core import tree
from ..core.episode import begin, unroll
from ..core.optimizer import AbstractOptimizer
from ..core.parallel import each, lanes_together
from ..core.task import AbstractTask, Problem
from ..core.types import Key, Scalar


class Validation(eqx.Module):
    """Every `every` meta-steps, train `episodes` fresh problems for `horizon` inner steps.

    The same problems each time, so that two scores differ by the optimizer alone.

    - `split`: of the task's data, on which the loss is taken: held-out ones, or those of the
      training, as published code does (there one batch). With the latter nothing of meta-training
      sees held-out data
    """

    every: int = eqx.field(static=True, default=100)
    horizon: int = eqx.field(static=True, default=100)
    episodes: int = eqx.field(static=True, default=8)
    split: Literal["valid", "train"] = eqx.field(static=True, default="valid")

    def __check_init__(self):
        for name in ("every", "horizon", "episodes"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"Validation: {name} must be at least 1, got {getattr(self, name)}."
                )
        if self.split not in ("valid", "train"):
            raise ValueError(f"Validation: split must be valid or train, got {self.split!r}.")

    def score(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        key: Key,
        horizon: int | Int[Array, ""] | None = None,
    ) -> Scalar:
        """Mean loss on the whole split after `horizon` steps; inf if one diverged.

        `horizon` may be traced: one compilation serves all lengths. None: the field's.
        """
        horizon = jnp.asarray(self.horizon if horizon is None else horizon, jnp.int32)
        arrays, static = eqx.partition((task, opt, horizon), eqx.is_array)

        def one(arrays, key):
            task, opt, horizon = eqx.combine(arrays, static)
            key_begin, key_loss = jr.split(key)
            episode = begin(task, opt, key_begin)
            step = lambda _, episode: unroll(task, opt, episode, 1, lambda *_: ())[0]
            episode = jax.lax.fori_loop(0, horizon, step, episode)
            batch = task.whole(episode.instance, split=self.split)
            loss = Problem(task, episode.instance, batch, key_loss).value(episode.params)
            return loss

        keys = jr.split(key, self.episodes)
        n = tree.size(eqx.filter_eval_shape(lambda k: task.init(task.sample(k), k), keys[0]))
        losses = each(one, arrays, keys, together=lanes_together(n))
        return jnp.where(jnp.all(jnp.isfinite(losses)), jnp.mean(losses), jnp.inf)
