"""Runs of unrolled networks, and the draws that their tests share."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from steppe.core.loss import Composite, LeastSquares
from steppe.core.regularizer import L1
from steppe.core.task import AbstractFormula, Problem


class Given(AbstractFormula):
    """½‖Ax − b‖² + 0.1‖x‖₁ for an instance (A, b)."""

    def sample(self, key):
        raise NotImplementedError

    def init(self, instance, key):
        return jnp.zeros(instance[0].shape[1])

    def loss(self, instance, batch, key):
        smooth = LeastSquares(*instance)
        return Composite(smooth, L1(0.1), smooth.lipschitz())

    def target(self, instance):
        return None

    def metrics(self, params, instance, batch, key):
        return {}


@eqx.filter_jit
def path(opt, A, bs, steps):
    """x after each step from 0, (vectors, steps, n), for every row of measurements."""

    def one(b):
        problem = Problem(Given(), (A, b), (), jr.key(0))

        def step(carry, _):
            x, state = carry
            move, state = opt.update(x, state, x, problem=problem)
            return (x + move, state), x + move

        x = jnp.zeros(A.shape[1])
        return jax.lax.scan(step, (x, opt.init(x)), length=steps)[1]

    return jax.vmap(one)(bs)


def measured(seed, rows, n, vectors, density=0.1):
    """A with columns of length 1, sparse vectors and measurements of them, one in a row."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((rows, n))
    A /= np.linalg.norm(A, axis=0)
    x = rng.standard_normal((vectors, n)) * (rng.random((vectors, n)) < density)
    return A, x, x @ A.T


def soft(z, threshold):
    return np.sign(z) * np.maximum(np.abs(z) - threshold, 0)
