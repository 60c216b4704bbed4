"""SAM against a slow loop in NumPy."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.core.episode import begin, unroll
from steppe.core.task import AbstractFormula
from steppe.optimizers.classic.from_optax import momentum, sgd
from steppe.optimizers.classic.sam import SAM

D = np.array([1.0, 10.0, 0.3])
STEPS = 6


class Bowl(AbstractFormula):
    """f(x) = ½ Σ dᵢ xᵢ² + ¼ Σ xᵢ⁴, from (1, −0.5, 2)."""

    def sample(self, key):
        return ()

    def init(self, instance, key):
        return jnp.array([1.0, -0.5, 2.0])

    def loss(self, instance, batch, key):
        return lambda params: jnp.sum(jnp.asarray(D) * params**2) / 2 + jnp.sum(params**4) / 4

    def target(self, instance):
        return None

    def metrics(self, params, instance, batch, key):
        return {}


def gradient(x):
    return D * x + x**3


@eqx.filter_jit
def run(opt):
    return unroll(Bowl(), opt, begin(Bowl(), opt, jr.key(0)), STEPS, lambda step: ())[0]


@pytest.mark.parametrize("adaptive", [False, True])
def test_same_path_as_a_slow_loop(adaptive):
    x, m, rho = np.array([1.0, -0.5, 2.0]), np.zeros(3), 0.2
    for _ in range(STEPS):
        g = gradient(x)
        scaled = np.abs(x) * g if adaptive else g
        ascent = rho * (np.abs(x) if adaptive else 1) * scaled / np.linalg.norm(scaled)
        m = 0.8 * m + gradient(x + ascent)
        x = x - 0.05 * m
    found = run(SAM(momentum(0.05, 0.8), rho, adaptive))
    np.testing.assert_allclose(found.params, x, rtol=1e-12)


def test_it_counts_two_gradients_a_step():
    assert int(run(SAM(sgd(0.05))).opt_state.evaluations) == 2 * STEPS


def test_without_a_problem_it_says_what_it_needs():
    opt, x = SAM(sgd(0.1)), jnp.ones(2)
    with pytest.raises(ValueError, match=r"SAM takes a second gradient .* Run it in `unroll`"):
        opt.update(x, opt.init(x), x)


def test_a_radius_of_zero_is_refused():
    with pytest.raises(ValueError, match=r"SAM: rho must be positive, got 0\.0"):
        SAM(sgd(0.1), 0.0)
