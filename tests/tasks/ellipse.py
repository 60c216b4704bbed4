"""The least task whose loss is `Composed`, for tests of wrappers: it compiles in no time."""

import jax.numpy as jnp
import jax.random as jr

from steppe.core.loss import Composed
from steppe.core.task import AbstractFormula

D = (1.0, 0.5, 2.0)


class Ellipse(AbstractFormula):
    """½‖D(x − a)‖² with a and x₀ from N(0, 1); outputs D(x − a), metric x₁."""

    def sample(self, key):
        return jr.normal(key, (3,))

    def init(self, instance, key):
        return jr.normal(key, (3,))

    def loss(self, instance, batch, key):
        outputs = lambda x: jnp.asarray(D, x.dtype) * (x - instance)
        return Composed(outputs, lambda z: 0.5 * jnp.sum(z**2))

    def target(self, instance):
        return instance

    def metrics(self, params, instance, batch, key):
        return {"first": params[0]}
