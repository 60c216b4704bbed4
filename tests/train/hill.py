"""The simplest task there is, for tests that are about something else."""

import equinox as eqx
import jax.numpy as jnp

from steppe.core.task import AbstractFormula


class Hill(AbstractFormula):
    """½ |x|² from x = (1, …, 1): gradient descent with rate a is at (1 − a)ᵗ."""

    n: int = eqx.field(static=True, default=2)

    def sample(self, key):
        return ()

    def init(self, instance, key):
        return jnp.ones(self.n)

    def loss(self, instance, batch, key):
        return lambda params: 0.5 * jnp.sum(params**2)

    def target(self, instance):
        return None

    def metrics(self, params, instance, batch, key):
        return {}
