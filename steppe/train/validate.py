"""The score that selects a model: loss on the validation split after a fixed horizon."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr

from ..core import tree
from ..core.episode import begin, unroll
from ..core.optimizer import AbstractOptimizer
from ..core.parallel import each, lanes_together
from ..core.task import AbstractTask, Problem
from ..core.types import Key, Scalar


class Validation(eqx.Module):
    """Every `every` meta-steps, train `episodes` fresh problems for `horizon` inner steps.

    The same problems each time, so that two scores differ by the optimizer alone.
    """

    every: int = eqx.field(static=True, default=100)
    horizon: int = eqx.field(static=True, default=100)
    episodes: int = eqx.field(static=True, default=8)

    def __check_init__(self):
        for name in ("every", "horizon", "episodes"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"Validation: {name} must be at least 1, got {getattr(self, name)}."
                )

    def score(self, task: AbstractTask, opt: AbstractOptimizer, key: Key) -> Scalar:
        """Mean loss on the whole validation split after `horizon` steps; inf if one diverged."""
        arrays, static = eqx.partition((task, opt), eqx.is_array)

        def one(arrays, key):
            task, opt = eqx.combine(arrays, static)
            key_begin, key_loss = jr.split(key)
            episode = begin(task, opt, key_begin)
            episode, _ = unroll(task, opt, episode, self.horizon, lambda *_: ())
            batch = task.whole(episode.instance, split="valid")
            loss = Problem(task, episode.instance, batch, key_loss).value(episode.params)
            return loss

        keys = jr.split(key, self.episodes)
        n = tree.size(eqx.filter_eval_shape(lambda k: task.init(task.sample(k), k), keys[0]))
        losses = each(one, arrays, keys, together=lanes_together(n))
        return jnp.where(jnp.all(jnp.isfinite(losses)), jnp.mean(losses), jnp.inf)
