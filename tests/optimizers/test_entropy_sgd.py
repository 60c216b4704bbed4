"""Entropy-SGD against a slow loop in NumPy, and the law of its noise."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.core.episode import begin, unroll
from steppe.core.task import AbstractTask, Problem
from steppe.optimizers.classic.entropy_sgd import EntropySGD

D = np.array([1.0, 10.0, 0.3])
START = np.array([1.0, -0.5, 2.0])


class Bowl(AbstractTask):
    """f(x) = ½ Σ dᵢ xᵢ² + ¼ Σ xᵢ⁴ + noise · x, where the noise is the batch's."""

    noise: float = eqx.field(static=True, default=0.0)

    def sample(self, key):
        return ()

    def init(self, instance, key):
        return jnp.asarray(START)

    def batch(self, instance, key, *, split="train"):
        return self.noise * jr.normal(key, (3,))

    def full_batch(self, instance, *, split):
        return jnp.zeros(3)

    def loss(self, instance, batch, key):
        return lambda params: (
            jnp.sum(jnp.asarray(D) * params**2) / 2 + jnp.sum(params**4) / 4 + batch @ params
        )

    def target(self, instance):
        return None

    def metrics(self, params, instance, batch, key):
        return {}


@eqx.filter_jit
def run(opt, length):
    return unroll(Bowl(), opt, begin(Bowl(), opt, jr.key(0)), length, lambda step: ())[0]


@pytest.mark.parametrize("decay", [0.75, None])
def test_same_path_as_a_slow_loop_without_noise(decay):
    lr, gamma, eta, scoping, momentum, steps = 0.7, 2.0, 0.03, 0.5, 0.6, 4
    c, b = START.copy(), np.zeros(3)
    for t in range(5):
        w, mean = c.copy(), c.copy()
        for i in range(steps):
            w = w - eta * (D * w + w**3 + gamma * (1 + scoping) ** t * (w - c))
            old = i / (i + 1) if decay is None else decay
            mean = old * mean + (1 - old) * w
        g = c - mean
        b = momentum * b + g
        c = c - lr * (g + momentum * b)
    opt = EntropySGD(
        lr, gamma, steps, 0.0, step_size=eta, scoping=scoping, momentum=momentum, decay=decay
    )
    found = run(opt, 5)
    np.testing.assert_allclose(found.params, c, rtol=1e-12)
    assert int(found.opt_state.count) == 5
    assert int(found.opt_state.evaluations) == 5 * steps


def updates(opt, task, draws=2000):
    """First updates from START, over keys; the handed gradient is 0."""
    x = jnp.asarray(START)
    problem = Problem(task, (), jnp.zeros(3), jr.key(0))

    def one(key):
        return opt.update(jnp.zeros(3), opt.init(x, key=key), x, problem=problem)[0]

    return np.asarray(jax.jit(jax.vmap(one))(jr.split(jr.key(1), draws)))


def test_noise_has_the_variance_of_its_temperature():
    """One step: c − μ = −(1 − α) √(2ητ) n, and lr = 1 without momentum."""
    found = updates(EntropySGD(1.0, 1.0, 1, 0.5, step_size=0.1, momentum=0.0), Bowl())
    expected = (0.25 * np.sqrt(2 * 0.1 * 0.5)) ** 2
    assert found.var() == pytest.approx(expected, rel=5 * np.sqrt(2 / found.size))
    assert abs(found.mean()) < 5 * np.sqrt(expected / found.size)


def test_later_gradients_are_of_fresh_batches():
    """Two steps at τ = 0, the first of gradient 0: μ − c = −(1 − α) η (∇f + batch)."""
    found = updates(EntropySGD(1.0, 1.0, 2, 0.0, step_size=0.1, momentum=0.0), Bowl(noise=2.0))
    mean, std = -0.25 * 0.1 * (D * START + START**3), 0.25 * 0.1 * 2.0
    np.testing.assert_allclose(found.std(0), std, rtol=5 / np.sqrt(2 * len(found)))
    np.testing.assert_allclose(found.mean(0), mean, atol=5 * std / np.sqrt(len(found)))


def test_it_says_what_it_needs():
    opt, x = EntropySGD(0.1), jnp.ones(2)
    with pytest.raises(ValueError, match=r"given no key. Give init\(params, key="):
        opt.init(x)
    with pytest.raises(ValueError, match=r"given no problem. Run it in `unroll`"):
        opt.update(x, opt.init(x, key=jr.key(0)), x)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gamma": 0.0}, "gamma must be positive"),
        ({"steps": 0}, "steps must be a whole number"),
        ({"temperature": -1.0}, "temperature must be zero or positive"),
        ({"decay": 1.0}, r"decay is the weight of the old average, in \[0, 1\)"),
    ],
)
def test_mistakes_are_explained(options, words):
    with pytest.raises(ValueError, match=words):
        EntropySGD(0.1, **options)
