"""Rivals with a schedule against loops of optax, which has its own schedules, and of NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import optax.contrib
import pytest
from optimizers.test_sam import Bowl, D, gradient

from steppe.core.episode import begin, unroll
from steppe.optimizers.classic.cosine import (
    adam_cosine,
    adamw_cosine,
    momentum_cosine,
    sam_cosine,
)
from steppe.optimizers.classic.from_optax import FromOptax, adam, sgd
from steppe.optimizers.classic.schedule_free import ScheduleFree, schedule_free_adamw
from steppe.optimizers.names import OPTIMIZERS
from steppe.optimizers.scheduled import Scheduled
from steppe.optimizers.weight_decay import WeightDecay
from steppe.zoo.registry import tries, with_rate

STEPS, LR = 8, 0.05
X = np.array([1.0, -0.5, 2.0])  # the start of the bowl
falling = optax.cosine_decay_schedule(LR, STEPS)
PEERS = {
    "adam-cosine": (adam_cosine(LR, STEPS), optax.adam(falling)),
    "adamw-cosine": (adamw_cosine(LR, STEPS, 0.3), optax.adamw(falling, weight_decay=0.3)),
    "momentum-cosine": (
        momentum_cosine(LR, STEPS, 0.2),
        optax.chain(optax.add_decayed_weights(0.2), optax.sgd(falling, 0.9)),
    ),
}


@eqx.filter_jit
def run(opt, steps):
    look = lambda step: step.after.params
    return unroll(Bowl(), opt, begin(Bowl(), opt, jr.key(0)), steps, look)[1]


def path(opt, steps=STEPS):
    """The parameters after each step."""
    return np.asarray(run(opt, steps))


def peer(tx, steps=STEPS, judged=lambda state, x: x):
    """A loop as a user of optax writes it, `judged` after each step."""

    @jax.jit
    def step(x, state):
        updates, state = tx.update(jnp.asarray(D) * x + x**3, state, x)
        return optax.apply_updates(x, updates), state

    x, found = jnp.asarray(X), []
    state = tx.init(x)
    for _ in range(steps):
        x, state = step(x, state)
        found.append(judged(state, x))
    return np.stack(found)


@pytest.mark.parametrize("name", PEERS)
def test_a_cosine_is_the_schedule_of_optax(name):
    ours, theirs = PEERS[name]
    np.testing.assert_allclose(path(ours), peer(theirs), rtol=1e-12)


def test_sam_with_a_cosine_is_a_slow_loop():
    """With decay inside: the gradient at the worst point, then the pull of the weights."""

    def slow(steps):
        x, m, found = X.copy(), np.zeros(3), []
        for t in range(STEPS):
            g = gradient(x)
            g = gradient(x + 0.2 * g / np.linalg.norm(g))
            m = 0.9 * m + g + 0.1 * x
            x = x - (0.05 * (1 + np.cos(np.pi * t / steps)) / 2 if t < steps else 0) * m
            found.append(x)
        return np.stack(found)

    how = {"steps": STEPS, "rho": 0.2, "weight_decay": 0.1}
    np.testing.assert_allclose(path(sam_cosine(0.05, **how)), slow(STEPS), rtol=1e-12)
    half = path(sam_cosine(0.05, **how, half=True))
    np.testing.assert_allclose(half, slow(STEPS // 2), rtol=1e-12)
    assert np.all(half[STEPS // 2 :] == half[STEPS // 2])  # it rests


# optax computes a rising rate in float32, whatever the parameters.
@pytest.mark.parametrize(("warm", "rounding"), ((None, 1e-12), (3, 1e-7)))
def test_schedule_free_is_that_of_optax_seen_at_its_average(warm, rounding):
    how = {"learning_rate": jnp.asarray(LR), "weight_decay": 0.1}
    base = FromOptax("contrib.schedule_free_adamw", warmup_steps=warm, **how)
    theirs = optax.contrib.schedule_free_adamw(warmup_steps=warm, **how)
    expected = peer(theirs, judged=optax.contrib.schedule_free_eval_params)
    np.testing.assert_allclose(path(ScheduleFree(base)), expected, rtol=rounding)


def test_schedule_free_is_the_published_loop():
    """x, y, z as in the paper, with Adam's second moment and c_t = 1/t at a constant rate."""
    x = z = X
    v, found = np.zeros(3), []
    for t in range(1, STEPS + 1):
        y = 0.1 * z + 0.9 * x
        g = gradient(y)
        v = 0.999 * v + 0.001 * g**2
        z = z - LR * (g / (np.sqrt(v / (1 - 0.999**t)) + 1e-8) + 0.1 * y)
        x = (1 - 1 / t) * x + z / t
        found.append(x)
    opt = schedule_free_adamw(LR, weight_decay=0.1)
    np.testing.assert_allclose(path(opt), np.stack(found), rtol=1e-9)
    assert opt.gradients_per_step == 1


def test_a_rate_rises_where_the_steps_are_known():
    assert dict(schedule_free_adamw(0.1, 500).base.settings)["warmup_steps"] == 25
    assert dict(schedule_free_adamw(0.1, 19).base.settings)["warmup_steps"] is None
    assert dict(schedule_free_adamw(0.1).base.settings)["warmup_steps"] is None


def test_a_factor_without_a_cosine_is_a_rate():
    np.testing.assert_allclose(path(Scheduled(adam(LR), 3.0)), path(adam(3 * LR)), rtol=1e-12)


def test_after_its_steps_nothing_moves():
    found = path(Scheduled(sgd(0.05), 1.0, 3))
    assert np.all(found[3:] == found[3]) and np.any(found[3] != found[1])


def test_a_factor_is_a_grid_in_one_program():
    paths = jax.vmap(lambda a: run(Scheduled(adam(LR), a, STEPS), STEPS))(jnp.array([0.5, 2.0]))
    np.testing.assert_allclose(paths[1], path(Scheduled(adam(LR), 2.0, STEPS)), rtol=1e-12)


def test_all_are_built_from_a_rate_for_a_training():
    for name in OPTIMIZERS:
        if name in PEERS or name.startswith(("sam-cosine", "schedule-free-")):
            for setting in tries(name):
                assert jnp.all(jnp.isfinite(path(with_rate(name, 1e-3, steps=3, **setting), 3)))
    assert tries("adam") == [{}]
    assert [s["weight_decay"] for s in tries("adamw-cosine")] == [0.01, 0.1, 1.0]
    assert with_rate("adam", 0.1, steps=3).hyper["learning_rate"] == 0.1


def test_what_they_refuse():
    with pytest.raises(ValueError, match=r"factor must be positive, got 0\.0"):
        Scheduled(sgd(0.1), 0.0)
    with pytest.raises(ValueError, match="steps must be a whole number ≥ 1, got 0"):
        Scheduled(sgd(0.1), 1.0, 0)
    with pytest.raises(ValueError, match="weight must be zero or positive"):
        WeightDecay(sgd(0.1), -1.0)
    with pytest.raises(ValueError, match="base is adam, expected FromOptax of contrib"):
        ScheduleFree(adam(0.1))
    for wrapper in (Scheduled, WeightDecay):
        with pytest.raises(ValueError, match="base is a str, expected a steppe optimizer"):
            wrapper("adam")
    opt = schedule_free_adamw(0.1)
    with pytest.raises(ValueError, match="was given no problem"):
        opt.update(jnp.ones(2), opt.init(jnp.ones(2)), jnp.ones(2))
