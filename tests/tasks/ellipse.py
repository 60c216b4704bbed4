"""The least predictive task, for tests of wrappers: it compiles in no time."""

import jax.numpy as jnp
import jax.random as jr

from steppe.core.task import AbstractPredictive

D = (1.0, 0.5, 2.0)


class Ellipse(AbstractPredictive):
    """½‖D(x − a)‖² with a and x₀ from N(0, 1); outputs D(x − a), metric x₁."""

    def sample(self, key):
        return jr.normal(key, (3,))

    def init(self, instance, key):
        return jr.normal(key, (3,))

    def batch(self, instance, key, *, split="train"):
        return ()

    def whole(self, instance, *, split):
        return ()

    def outputs(self, params, instance, batch, key):
        return jnp.asarray(D, params.dtype) * (params - instance)

    def criterion(self, outputs, instance, batch):
        return 0.5 * jnp.sum(outputs**2)

    def loss(self, params, instance, batch, key):
        return self.criterion(self.outputs(params, instance, batch, key), instance, batch)

    def metrics(self, params, instance, batch, key):
        return {"first": params[0]}
