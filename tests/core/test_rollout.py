"""Rollouts are what `begin` and `unroll` give, wherever they are looked at."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

from steppe.core.episode import begin, unroll
from steppe.core.rollout import episodes, rollout
from steppe.optimizers.classic.from_optax import adam, sgd
from steppe.tasks import Quadratic

TASK, OPT, STEPS = Quadratic(n=3), adam(0.1), 7
PARAMS = lambda episode: episode.params
VALUE = lambda step: step.value


@pytest.fixture(scope="module")
def reference():
    """Parameters after 0 … STEPS steps, and the loss before each step."""

    @jax.jit
    def run():
        start = begin(TASK, OPT, jr.key(3))
        observe = lambda step: (step.after.params, step.value)
        return start.params, unroll(TASK, OPT, start, STEPS, observe)[1]

    start, (after, values) = run()
    return np.concatenate([start[None], after]), values


@eqx.filter_jit
def seen(key, steps=STEPS, opt=OPT, **options):
    return rollout(TASK, opt, key, steps, PARAMS, **options)


@pytest.mark.parametrize("at", [(0,), (7,), (0, 2, 4, 6, 7), (1, 2, 3, 7), range(3, 7, 3)])
def test_looks_are_at_the_steps_asked_for(at, reference):
    found = seen(jr.key(3), at=at, observe=VALUE)
    np.testing.assert_allclose(found.looks, reference[0][list(at)], rtol=1e-12)
    np.testing.assert_allclose(found.steps, reference[1], rtol=1e-12)


def test_without_steps_to_look_at_the_end_is_seen(reference):
    found = seen(jr.key(3), observe=VALUE)
    np.testing.assert_allclose(found.looks, reference[0][-1], rtol=1e-12)
    np.testing.assert_allclose(found.steps, reference[1], rtol=1e-12)


def test_a_number_of_steps_that_is_an_array_compiles_once(reference):
    traces = []

    @jax.jit
    def end(steps):
        traces.append(1)
        return rollout(TASK, OPT, jr.key(3), steps, PARAMS).looks

    for steps in (0, 4, STEPS):
        np.testing.assert_allclose(end(steps), reference[0][steps], rtol=1e-12)
    assert len(traces) == 1
    with pytest.raises(ValueError, match="only the end"):
        rollout(TASK, OPT, jr.key(3), jnp.asarray(3), PARAMS, observe=VALUE)


@pytest.mark.parametrize("at", [(), (2, 1), (1, 1), (-1,), (8,)])
def test_steps_to_look_at_ascend_within_the_rollout(at):
    with pytest.raises(ValueError, match="ascend from 0 to 7"):
        rollout(TASK, OPT, jr.key(3), STEPS, PARAMS, at=at)


@pytest.mark.parametrize("batch_size", [None, 1, 2])
def test_episodes_are_rollouts_side_by_side(batch_size):
    keys, scales = jr.split(jr.key(5), 4), jnp.arange(4.0)
    look = lambda episode, scale: scale * episode.params
    run = lambda keys: episodes(
        TASK, OPT, keys, STEPS, look, beside=scales, at=(0, 5), observe=VALUE, batch_size=batch_size
    )
    found = eqx.filter_jit(run)(keys)
    for i, key in enumerate(keys):
        alone = seen(key, at=(0, 5), observe=VALUE)
        np.testing.assert_allclose(found.looks[i], i * np.asarray(alone.looks), rtol=1e-12)
        np.testing.assert_allclose(found.steps[i], alone.steps, rtol=1e-12)


def test_episodes_that_were_begun_go_on(reference):
    keys = jr.split(jr.key(3), 2)

    @jax.jit
    def both(keys):
        params = lambda episode, _: PARAMS(episode)
        half = episodes(TASK, OPT, keys, 3, lambda episode, _: episode).looks
        whole = episodes(TASK, OPT, half, STEPS - 3, params).looks
        return whole, episodes(TASK, OPT, keys, STEPS, params).looks

    np.testing.assert_allclose(*both(keys), rtol=1e-12)


def test_each_episode_may_have_an_optimizer_of_its_own():
    keys, rates = jr.split(jr.key(5), 2), jnp.array([0.01, 0.1])
    found = episodes(TASK, sgd, keys, STEPS, lambda episode, _: PARAMS(episode), beside=rates).looks
    for i, rate in enumerate(rates):
        alone = rollout(TASK, sgd(rate), keys[i], STEPS, PARAMS).looks
        assert jtu.tree_all(jtu.tree_map(lambda a, b: np.allclose(a, b), found[i], alone))
