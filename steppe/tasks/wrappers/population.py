"""A task for several particles at once: one problem, seen from several points.

    Σᵢ f(xᵢ),   i = 1 … particles,   from starts drawn one by one

All particles share instance and batch; the loss is `Stacked`, which tells the value of each. An
optimizer that asks for no structure moves every particle as if it were alone: it starts several
times at once. A swarm asks for `Stacked` and lets particles learn from each other.

Costs are those of all particles: a step of k particles takes k values and k gradients of f.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu

from ...core.loss import Stacked, best
from ...core.messages import at_least
from ...core.task import AbstractTask, Problem
from ...core.types import Batch, Instance, Key, Params, Scalar, Split


class Population(AbstractTask):
    """`task` seen from `particles` points; they are in front of all arrays of the parameters.

    Metrics are those of `task` at the particle of least loss, and `best`, `mean` and `median` of
    the losses of all. A particle whose loss is no number is not the best.
    """

    task: AbstractTask
    particles: int = eqx.field(static=True, default=4)

    def __check_init__(self):
        at_least(1, "Population", particles=self.particles)

    def sample(self, key: Key) -> Instance:
        return self.task.sample(key)

    def init(self, instance: Instance, key: Key) -> Params:
        return jax.vmap(lambda key: self.task.init(instance, key))(jr.split(key, self.particles))

    def batch(self, instance: Instance, key: Key, *, split: Split = "train") -> Batch:
        return self.task.batch(instance, key, split=split)

    def full_batch(self, instance: Instance, *, split: Split) -> Batch:
        return self.task.full_batch(instance, split=split)

    def loss(self, instance: Instance, batch: Batch, key: Key) -> Stacked:
        return Stacked(Problem(self.task, instance, batch, key).loss())

    def target(self, instance: Instance) -> Params | None:
        """All particles at the solution of `task`."""
        target = self.task.target(instance)
        if target is None:
            return None
        return jtu.tree_map(lambda x: jnp.broadcast_to(x, (self.particles, *x.shape)), target)

    def metrics(
        self, params: Params, instance: Instance, batch: Batch, key: Key
    ) -> dict[str, Scalar]:
        values = self.loss(instance, batch, key).each(params)
        first = best(values)
        alone = jtu.tree_map(lambda x: x[first], params)
        found = self.task.metrics(alone, instance, batch, key)
        middle = {"mean": jnp.mean(values), "median": jnp.median(values)}
        return {**found, "best": values[first], **middle}
