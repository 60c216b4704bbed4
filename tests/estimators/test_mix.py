"""Mix: sums are sums, a lot falls as often as it should, and what is not drawn stands still."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

from steppe.estimators.bptt import BPTT
from steppe.estimators.imitation import Imitation
from steppe.estimators.mix import Mix, Part
from steppe.objectives.trajectory import Trajectory
from steppe.optimizers.classic.from_optax import adam, sgd
from steppe.optimizers.learned.learned_adam import LearnedAdam
from steppe.tasks import Quadratic

TASK, OTHER, OBJECTIVE = Quadratic(3), Quadratic(2), Trajectory()
MAIN, SECOND = BPTT(2, 2, 6), Part(BPTT(1, 3, 9), OTHER, Trajectory("last"))


def student():
    return LearnedAdam(0.1)


@eqx.filter_jit
def call(estimator, task, opt, state, objective, key):
    return estimator(task, opt, state, objective, key=key)


@eqx.filter_jit
def init(estimator, opt):
    return estimator.init(TASK, opt, OBJECTIVE, key=jr.key(1))


def called(estimator, key, opt):
    state = init(estimator, opt)
    return state, call(estimator, TASK, opt, state, OBJECTIVE, key)


def test_all_at_once_is_the_weighted_sum_of_the_parts():
    opt, weights = student(), (2.0, 0.5)
    mix = Mix({"main": MAIN, "other": SECOND}, weights)
    state, (grads, after, stats) = called(mix, jr.key(2), opt)
    keys = jr.split(jr.key(2), 3)[1:]
    longer = eqx.tree_at(lambda e: e.horizon, SECOND.estimator, MAIN.horizon)
    one = call(MAIN, TASK, opt, state[0], OBJECTIVE, keys[0])
    two = call(longer, OTHER, opt, state[1], SECOND.objective, keys[1])
    expected = jtu.tree_map(lambda a, b: 2.0 * a + 0.5 * b, one[0], two[0])
    for a, b in zip(jtu.tree_leaves(grads), jtu.tree_leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-14)
    assert float(stats.loss) == pytest.approx(float(2 * one[2].loss + 0.5 * two[2].loss))
    assert float(stats.parts["other_loss"]) == pytest.approx(float(two[2].loss))
    assert int(stats.episodes) == 3 and int(stats.inner_steps) == 2 * 2 + 3
    assert int(after[1].episode.step[0]) == 3


def test_parts_of_a_sum_end_their_first_episodes_at_evenly_spread_ages():
    parts = {name: Part(BPTT(2, 1, 6), TASK) for name in "abc"}
    ages = lambda mix: [state.steps_left.tolist() for state in init(mix, student())]
    assert ages(Mix(parts)) == [[3, 6], [2, 5], [1, 4]]
    assert ages(Mix(parts, draw=True)) == [[3, 6]] * 3
    nested = Mix({"a": parts["a"], "bc": Mix({"b": parts["b"], "c": parts["c"]}, [0.5, 0.5])})
    state = init(nested, student())
    assert [s.steps_left.tolist() for s in (state[0], *state[1])] == [[3, 6], [2, 5], [1, 4]]
    longer = Mix({name: BPTT(2, 4, 12) for name in "ab"})  # up to the next whole window
    assert ages(longer) == [[8, 12], [4, 12]]
    bare = Mix({name: BPTT(2, 1, 6, stagger=False) for name in "ab"})
    assert ages(bare) == [[6, 6]] * 2


def test_by_lot_one_part_moves_and_the_others_stand_still():
    teacher = Imitation(adam(0.1), 2, 2)
    mix = Mix({"main": MAIN, "imitation": teacher}, (0.5, 0.5), draw=True)
    opt = student()
    seen = {}
    for k in range(12):
        state, (grads, after, stats) = called(mix, jr.key(k), opt)
        seen[int(stats.part)] = (state, grads, after, stats, jr.key(k))
    assert set(seen) == {0, 1}
    for part, (state, grads, after, stats, key) in seen.items():
        own = (MAIN, eqx.tree_at(lambda e: e.horizon, teacher, MAIN.horizon))[part]
        expected = call(own, TASK, opt, state[part], OBJECTIVE, jr.split(key, 3)[1 + part])[0]
        for a, b in zip(jtu.tree_leaves(grads), jtu.tree_leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-14)
        assert eqx.tree_equal(after[1 - part].episode.params, state[1 - part].episode.params)
        assert not eqx.tree_equal(after[part].episode.params, state[part].episode.params)
        names = ("main_loss", "imitation_loss")
        assert np.isfinite(stats.parts[names[part]]) and np.isnan(stats.parts[names[1 - part]])
        assert np.isfinite(stats.loss) == (part == 0)


def test_lots_fall_as_the_weights_say_and_weights_change_without_tracing():
    traces = []
    rates = Mix({name: BPTT(1, 1, 1) for name in "abc"}, (1.0, 1.0, 1.0), draw=True)
    opt = sgd(0.1)
    state = rates.init(TASK, opt, OBJECTIVE, key=jr.key(0))

    @jax.jit
    def parts(weights, keys):
        traces.append(1)
        mix = eqx.tree_at(lambda m: m.weights, rates, weights)
        return jax.lax.map(lambda key: mix(TASK, opt, state, OBJECTIVE, key=key)[2].part, keys)

    keys = jr.split(jr.key(1), 400)
    for weights in ((0.0, 1.0, 3.0), (2.0, 2.0, 0.0)):
        share = np.bincount(parts(jnp.array(weights), keys), minlength=3) / 400
        chance = np.array(weights) / sum(weights)
        assert np.all(np.abs(share - chance) <= 4 * np.sqrt(chance * (1 - chance) / 400))
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("parts", "weights", "sentence"),
    [
        ({}, None, "no parts given"),
        ({"a": MAIN}, (1.0, 2.0), "1 parts but 2 weights given"),
        ({"a": MAIN}, (-1.0,), "weights must be at least 0 and not all 0"),
    ],
)
def test_bad_input_gets_a_sentence(parts, weights, sentence):
    with pytest.raises(ValueError, match=sentence):
        Mix(parts, weights)
