"""PSO against a loop in NumPy, and against pyswarms by the medians of 1000 runs."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.core.loss import Plain, Stacked
from steppe.core.rollout import rollout
from steppe.core.task import AbstractFormula
from steppe.optimizers.classic.pso import PSO
from steppe.tasks.wrappers.population import Population

CENTER = np.linspace(-1.5, 1.5, 5)


class Ripples(AbstractFormula):
    """Rastrigin's function around `CENTER`, from U(−3, 3)."""

    def sample(self, key):
        return ()

    def init(self, instance, key):
        return jr.uniform(key, (5,), minval=-3, maxval=3)

    def loss(self, instance, batch, key):
        return lambda x: ripples(x, jnp)

    def target(self, instance):
        return jnp.asarray(CENTER)

    def metrics(self, params, instance, batch, key):
        return {}


def ripples(x, of=np):
    z = x - CENTER
    return of.sum(z**2 - 10 * of.cos(2 * np.pi * z) + 10, -1)


TASK = Population(Ripples(), 8)


def best(opt, key, steps):
    """The least loss of so many generations, and the places of all of them."""
    observe = lambda step: step.before.params
    return rollout(TASK, opt, key, steps, lambda e: jnp.min(e.opt_state.values), observe=observe)


def test_it_is_the_loop():
    opt = PSO(0.6, 1.4, 1.7, clamp=0.8, start=0.3)
    found = jax.jit(lambda key: best(opt, key, 6))(jr.key(3))
    path = np.asarray(found.steps)
    state = opt.init(jnp.asarray(path[0]), key=jr.split(jr.key(3), 4)[2])  # as `begin` does
    x, v, key = path[0], np.asarray(state.velocity), state.key
    assert 0.2 < np.abs(v).max() <= 0.3
    own, values = x.copy(), np.full(8, np.inf)
    for t in range(5):
        f = ripples(x)
        for i in range(8):
            if f[i] < values[i]:
                own[i], values[i] = x[i], f[i]
        lead = own[values.argmin()]
        key, one, two = jr.split(key, 3)
        r1, r2 = (np.asarray(jr.uniform(k, (8, 5))) for k in (one, two))
        v = np.clip(0.6 * v + 1.4 * r1 * (own - x) + 1.7 * r2 * (lead - x), -0.8, 0.8)
        x = x + v
        np.testing.assert_allclose(path[t + 1], x, rtol=0, atol=1e-12)
    assert float(found.looks) == pytest.approx(min(values.min(), ripples(path[5]).min()))


# pyswarms 1.3.0, GlobalBestPSO of 8 particles, {w: 0.7, c1: 1.5, c2: 1.5}, at rest from U(−3, 3)
# under np.random.seed(0 … 999), 60 generations on `ripples`: the median of the least cost, and its
# 95 % interval, the 469th and 532nd of 1000.
PYSWARMS = {None: (6.258, 6.030, 6.577), 0.5: (5.994, 5.979, 6.965)}


@pytest.mark.parametrize("clamp", PYSWARMS)
def test_medians_are_those_of_pyswarms(clamp):
    run = jax.jit(jax.vmap(lambda key: best(PSO(clamp=clamp), key, 60).looks))
    found = np.median(run(jr.split(jr.key(0), 1000)))
    _, low, high = PYSWARMS[clamp]
    assert low <= found <= high


def test_no_gradient_is_used():
    """The loss has no gradient that is a number, and a step counts none."""
    assert PSO().gradients_per_step == 0
    rough = Stacked(Plain(lambda x: jnp.sqrt(jnp.sum((x - x) ** 2)) + jnp.sum(x**2)))

    class Rough(AbstractFormula):
        sample = lambda self, key: ()
        init = lambda self, instance, key: jr.normal(key, (4, 2))
        loss = lambda self, instance, batch, key: rough
        target = lambda self, instance: None
        metrics = lambda self, params, instance, batch, key: {}

    end = rollout(Rough(), PSO(), jr.key(0), 3, lambda e: e.params).looks
    assert np.isfinite(end).all()


def test_a_key_is_asked_for_and_numbers_are_checked():
    with pytest.raises(ValueError, match="PSO draws random numbers, but init was given no key"):
        PSO().init(jnp.ones((2, 3)))
    for name in ("inertia", "cognitive", "social", "start"):
        with pytest.raises(ValueError, match=f"PSO: {name}"):
            PSO(**{name: -1.0})
    with pytest.raises(ValueError, match="PSO: clamp must be positive"):
        PSO(clamp=0.0)
