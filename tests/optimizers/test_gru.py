"""The coordinatewise GRU against a slow loop in NumPy, one coordinate at a time."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

from steppe.core.optimizer import join_meta, split_meta
from steppe.optimizers.learned.gru import CoordinatewiseGRU
from tests.optimizers.learning import meta_train
from tests.tasks.ellipse import Ellipse

STEPS = 6
G = np.outer(np.sin(1.0 + 2.0 * np.arange(STEPS)), [1.0, 1e3, -1e-4, 1e-9, 0.0])


def rough(opt):
    """θ plus noise: no weight is zero any more."""
    rng, (theta, rest) = np.random.default_rng(0), split_meta(opt)
    noisy = lambda w: w + jnp.asarray(0.5 * rng.normal(size=w.shape))
    return join_meta(jtu.tree_map(noisy, theta), rest)


@eqx.filter_jit
def run(opt, table):
    """Updates (steps, n) for gradients (steps, n), and the rates ρ."""

    def step(state, g):
        u, state = opt.update(g, state, g)
        return state, (u, state.rows.rate[0])

    return jax.lax.scan(step, opt.init(table[0]), table)[1]


def logistic(x):
    return 1 / (1 + np.exp(-x))


def slow(opt, column):
    """The updates of one coordinate."""
    w = jtu.tree_map(np.asarray, opt)
    h, v, rate, updates = [np.zeros(width) for width in opt.hidden], 1.0, 1.0, []
    for g in column:
        d = logistic(h[-1] @ w.decay.w + w.decay.b)[0]
        v = d * v + (1 - d) * g * g
        x = np.array([np.arcsinh(g / np.sqrt(v + 1e-16))])
        for k, layer in enumerate(w.layers):
            gates = logistic(np.concatenate([x, h[k]]) @ layer.w_gates + layer.b_gates)
            reset, keep = np.split(gates, 2)
            c = np.concatenate([x, reset * h[k]]) @ layer.w_candidate + layer.b_candidate
            x = h[k] = keep * h[k] + (1 - keep) * np.tanh(c)
        delta, z = x @ w.head.w + w.head.b
        rate *= 2 * logistic(z)
        updates.append(-np.exp(float(w.log_lr)) * rate * delta)
    return np.array(updates)


@pytest.fixture(scope="module")
def small():
    return eqx.filter_jit(lambda key: CoordinatewiseGRU((3, 2), lr=0.1, key=key))(jr.key(0))


def test_same_updates_as_a_slow_loop(small):
    opt = rough(small)
    expected = np.stack([slow(opt, column) for column in G.T], axis=1)
    np.testing.assert_allclose(run(opt, jnp.asarray(G))[0], expected, rtol=1e-10)


def test_rates_stay_until_trained_and_at_most_double(small):
    np.testing.assert_allclose(run(small, jnp.asarray(G))[1], 0.0, atol=1e-15)
    pushed = eqx.tree_at(lambda opt: opt.head.b, rough(small), jnp.array([0.0, 50.0]))
    rates = np.asarray(run(pushed, jnp.asarray(G))[1])
    np.testing.assert_allclose(rates, np.log(2) * np.arange(1, STEPS + 1)[:, None] + 0 * G)


def test_the_first_rate_is_trained_in_every_window(small):
    """It is in no state that a window carries over as a constant: ∂u/∂ ln η₀ = u at any time."""
    opt = rough(small)
    late = jtu.tree_map(lambda leaf: leaf + 0.3, opt.start(3, jnp.dtype(float)))
    at = lambda log_lr: eqx.tree_at(lambda opt: opt.log_lr, opt, log_lr).advance(
        jnp.array([1.0, -0.1, 3.0]), late, jnp.asarray(9)
    )
    u, slope = jax.jit(lambda x: jax.jvp(lambda x: at(x)[0], (x,), (x / x,)))(opt.log_lr)
    np.testing.assert_allclose(slope, u, rtol=1e-12)


def test_meta_training_lowers_the_meta_loss():
    opt = CoordinatewiseGRU((2,), lr=0.1, key=jr.key(0))
    trained, losses = meta_train(opt, Ellipse(), length=3, lr=0.05)
    assert np.all(np.isfinite(losses)) and float(losses[-1]) < 0.9 * float(losses[0])
    assert float(trained.log_lr) != float(opt.log_lr)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hidden": ()}, r"hidden is \(\), expected the width of each layer, at least one"),
        ({"hidden": (3, 0)}, r"hidden is \(3, 0\), expected the width of each layer"),
        ({"lr": 0.0}, r"lr must be positive and finite, got 0\.0"),
    ],
)
def test_mistakes_are_explained(options, words):
    with pytest.raises(ValueError, match=words):
        CoordinatewiseGRU(**options, key=jr.key(0))
