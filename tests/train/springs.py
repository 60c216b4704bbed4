"""Quadratics of different curvature, for which adaptation of a step size is known in closed form.

    F(x) = ½ h x² from x = 1,   J(θ) = F after a step of rate θ = ½ h (1 − θh)²,   J' = −h²(1 − θh)

One step of plain descent on J with rate α: 1 − θ'h = (1 − αh³)(1 − θh). With αh³ = 1 it is perfect.
"""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr

from steppe.core.task import AbstractFormula


class Springs(AbstractFormula):
    """½ h x² from x = 1, h one of `curvatures`."""

    curvatures: tuple[float, ...] = eqx.field(static=True, default=(1.0, 10.0))

    def sample(self, key):
        return jr.choice(key, jnp.asarray(self.curvatures))

    def init(self, instance, key):
        return jnp.ones(1)

    def loss(self, instance, batch, key):
        return lambda params: 0.5 * instance * jnp.sum(params**2)

    def target(self, instance):
        return jnp.zeros(1)

    def metrics(self, params, instance, batch, key):
        return {}
