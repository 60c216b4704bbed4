"""A network and a bowl for the tests of `evaluate` and `tune`."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr

from examples import pictures
from steppe.core.task import AbstractFormula
from steppe.tasks import MLP, Classify

NETWORK = Classify(pictures((3, 3)), MLP(hidden=(4,), start="lecun"), batch_size=8)


class Bowl(AbstractFormula):
    """½ c x² with the same c for all: gradient descent multiplies x by 1 − lr·c each step."""

    curvature: float = eqx.field(static=True, default=4.0)

    def sample(self, key):
        return ()

    def init(self, instance, key):
        return 1 + jr.uniform(key, (1,))

    def loss(self, instance, batch, key):
        return lambda params: 0.5 * self.curvature * jnp.sum(params**2)

    def target(self, instance):
        return None

    def metrics(self, params, instance, batch, key):
        return {"distance": jnp.sum(jnp.abs(params))}
