"""A task and an optimizer of one number each, which JAX compiles in no time."""

import jax
import jax.numpy as jnp
import jax.random as jr

from steppe.core.optimizer import AbstractOptimizer
from steppe.core.task import AbstractFormula

LOW, HIGH = 1.0, 9.0


class Parabola(AbstractFormula):
    """½ a x² from x = 1, a ~ U(1, 9)."""

    def sample(self, key):
        return jr.uniform(key, (), minval=LOW, maxval=HIGH)

    def init(self, instance, key):
        return jnp.ones(())

    def loss(self, instance, batch, key):
        return lambda params: instance * params**2 / 2

    def target(self, instance):
        return None

    def metrics(self, params, instance, batch, key):
        return {"size": jnp.abs(params)}


class Step(AbstractOptimizer):
    """x ← x − exp(w) g."""

    log_rate: jax.Array

    def init(self, params, *, key=None):
        return ()

    def update(self, grads, state, params, **extra):
        return jax.tree.map(lambda g: -jnp.exp(self.log_rate) * g, grads), state
