"""Learned Adam against optax's, and against a slow loop in NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import optax
import pytest

from steppe.optimizers.learned.learned_adam import LearnedAdam
from tests.optimizers.learning import meta_train
from tests.tasks.ellipse import Ellipse

STEPS = 8
G = np.outer(np.sin(1.0 + np.arange(STEPS)), [1.0, 100.0, -1e-3, 1e-7, 0.0])
NUMBERS = {"lr": 0.02, "beta1": 0.8, "beta2": 0.95, "eps": 1e-3}


@eqx.filter_jit
def run(opt, table):
    def step(state, g):
        u, state = opt.update(g, state, g)
        return state, u

    return jax.lax.scan(step, opt.init(table[0]), table)[1]


def slow(g, lr, beta1, beta2, eps):
    m = v = 0.0
    updates = []
    for t, x in enumerate(np.asarray(g, np.float64), start=1):
        m, v = beta1 * m + (1 - beta1) * x, beta2 * v + (1 - beta2) * x**2
        updates.append(-lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps))
    return np.array(updates)


def test_at_equal_numbers_it_is_optaxs_adam():
    tx = optax.adam(NUMBERS["lr"], NUMBERS["beta1"], NUMBERS["beta2"], NUMBERS["eps"])
    state, expected = tx.init(jnp.asarray(G[0])), []
    for g in G:
        updates, state = tx.update(jnp.asarray(g), state)
        expected.append(updates)
    found = run(LearnedAdam(**NUMBERS), jnp.asarray(G))
    np.testing.assert_allclose(found, np.stack(expected), rtol=1e-12)


def test_float32_keeps_its_digits_with_beta_near_one():
    """1 − β and 1 − βᵗ are computed from the logit, so β₂ = 0.999 costs no digits."""
    opt = jtu.tree_map(lambda x: x.astype(jnp.float32), LearnedAdam())
    found = run(opt, jnp.asarray(G, jnp.float32))
    assert found.dtype == jnp.float32
    expected = slow(G.astype(np.float32), 1e-3, 0.9, 0.999, 1e-8)
    np.testing.assert_allclose(found, expected, rtol=5e-6)


def test_meta_training_lowers_the_meta_loss_and_moves_all_four_numbers():
    opt = LearnedAdam(lr=0.01, eps=0.1)
    trained, losses = meta_train(opt, Ellipse(), length=3)
    assert float(losses[-1]) < 0.9 * float(losses[0])
    pairs = zip(jtu.tree_leaves(trained), jtu.tree_leaves(opt), strict=True)
    assert all(abs(float(a - b)) > 1e-3 for a, b in pairs)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lr": -1.0}, r"lr must be positive and finite, got -1\.0"),
        ({"eps": 0.0}, r"eps must be positive and finite, got 0\.0"),
        ({"beta1": 0.0}, r"beta1 must be in \(0, 1\), got 0\.0"),
        ({"beta2": 1.0}, r"beta2 must be in \(0, 1\), got 1\.0"),
    ],
)
def test_mistakes_are_explained(options, words):
    with pytest.raises(ValueError, match=words):
        LearnedAdam(**options)
