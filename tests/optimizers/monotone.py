"""Random monotone games whose operator is a matrix, for tests of methods for games."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np

from steppe.core.loss import Saddle
from steppe.core.task import AbstractFormula


class Game(AbstractFormula):
    """½ xᵀPx + xᵀBy − ½ yᵀQy with P and Q of rank one: a monotone operator, hardly curved."""

    n: int = 3

    def sample(self, key):
        p, q, b = (jr.normal(k, (self.n, self.n)) for k in jr.split(key, 3))
        return {
            "P": jnp.outer(p[0], p[0]) / 9,
            "B": jnp.eye(self.n) + b / 9,
            "Q": jnp.outer(q[0], q[0]) / 9,
        }

    def init(self, instance, key):
        x, y = jr.normal(key, (2, self.n))
        return {"min": x, "max": y}

    def loss(self, instance, batch, key):
        def f(z):
            x, y = z["min"], z["max"]
            curved = x @ instance["P"] @ x - y @ instance["Q"] @ y
            return 0.5 * curved + x @ instance["B"] @ y

        return Saddle(f)

    def target(self, instance):
        return {"min": jnp.zeros(self.n), "max": jnp.zeros(self.n)}

    def metrics(self, params, instance, batch, key):
        return {}


def matrix(instance):
    """M of F(z) = M z, z = (y of "max", x of "min") in the order of the leaves."""
    P, B, Q = (np.asarray(instance[name]) for name in "PBQ")
    return np.block([[Q, -B.T], [B, P]])


def vector(params):
    """(…, 2n) in the order of the leaves: "max" before "min"."""
    return np.concatenate([np.asarray(params["max"]), np.asarray(params["min"])], axis=-1)
