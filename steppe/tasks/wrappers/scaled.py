"""The same task in coordinates of random scale, to meta-train on.

    f(c ⊙ θ),  c_i = e^B_i,  B_i ~ U(−B, B),     from θ₀ / c

Scaling shows the optimizer the gradient c ⊙ ∇f: steps of coordinates differ by up to e^{2B}, so
that it cannot learn one size of step by heart. Of Lv, Jiang & Li, "Learning gradient descent:
better generalization and longer horizons", ICML 2017; B = 3, and one c per coordinate, not per
tensor, are those of the published Open-L2O code. For meta-training: validate and report on the
task itself.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu

from ...core import tree
from ...core.loss import AbstractLoss, in_units
from ...core.messages import reals
from ...core.task import AbstractTask, Problem
from ...core.types import Batch, Instance, Key, Params, Scalar, Split

SPREAD = 3.0  # B in the published code


class Scaled(AbstractTask):
    """`task` in coordinates of random scale, e^U(−spread, spread) each.

    The instance is (instance of `task`, c); metrics are those of `task` at c ⊙ θ.
    """

    task: AbstractTask
    spread: float = eqx.field(static=True, default=SPREAD)

    def __check_init__(self):
        reals("Scaled", finite=False, spread=self.spread)
        if not 0 <= self.spread < math.inf:
            raise ValueError(f"Scaled: spread must be a number from 0 up, got {self.spread}.")

    def sample(self, key: Key) -> Instance:
        key_instance, key_c, key_shape = jr.split(key, 3)
        instance = self.task.sample(key_instance)
        like = jax.eval_shape(self.task.init, instance, key_shape)
        dtype = tree.working_dtype(like)
        log_c = jr.uniform(key_c, (tree.size(like),), dtype, -self.spread, self.spread)
        zeros = jtu.tree_map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
        return instance, tree.ravel(zeros, dtype)[1](jnp.exp(log_c))

    def init(self, instance: Instance, key: Key) -> Params:
        return jtu.tree_map(jnp.divide, self.task.init(instance[0], key), instance[1])

    def batch(self, instance: Instance, key: Key, *, split: Split = "train") -> Batch:
        return self.task.batch(instance[0], key, split=split)

    def full_batch(self, instance: Instance, *, split: Split) -> Batch:
        return self.task.full_batch(instance[0], split=split)

    def loss(self, instance: Instance, batch: Batch, key: Key) -> AbstractLoss:
        loss = Problem(self.task, instance[0], batch, key).loss()
        return in_units(loss, instance[1])

    def target(self, instance: Instance) -> Params | None:
        """x* / c"""
        target = self.task.target(instance[0])
        return None if target is None else jtu.tree_map(jnp.divide, target, instance[1])

    def metrics(
        self, params: Params, instance: Instance, batch: Batch, key: Key
    ) -> dict[str, Scalar]:
        return self.task.metrics(self.inside(params, instance), instance[0], batch, key)

    def inside(self, params: Params, instance: Instance) -> Params:
        """c ⊙ θ, the parameters of `task`."""
        return jtu.tree_map(lambda p, c: p * c.astype(p.dtype), params, instance[1])
