"""SelfPaced: the episodes that count are those that NumPy would take."""

import equinox as eqx
import jax
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

from steppe.core.optimizer import split_meta
from steppe.estimators.bptt import BPTT
from steppe.estimators.self_paced import SelfPaced
from steppe.estimators.whole import Whole
from steppe.estimators.windows import average, easy
from steppe.objectives.minimax import Merit
from steppe.objectives.trajectory import Trajectory
from steppe.optimizers.learned.extragradient import LearnedExtragradient
from steppe.optimizers.learned.learned_adam import LearnedAdam
from steppe.tasks import Quadratic
from steppe.tasks.games.matrix import MatrixGame

EPISODES = 5
BASE = BPTT(EPISODES, 2, 6, second_order=True)
CASES = {
    "a game": (MatrixGame(n=2), LearnedExtragradient(), Merit()),
    "any task": (Quadratic(n=2), LearnedAdam(0.1), Trajectory()),
}


@eqx.filter_jit
def call(estimator, task, opt, state, objective, key):
    return estimator(task, opt, state, objective, key=key)


@eqx.filter_jit
def lanes_of(task, opt, state, objective, key):
    """What every episode contributes."""
    one = lambda window, key: BASE.lane(task, opt, objective, window, key)[1]
    return jax.vmap(one)(state, jr.split(key, EPISODES))


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_the_mean_over_the_easiest_share_which_grows(case):
    task, opt, objective = CASES[case]
    paced = SelfPaced(BASE, first=0.4, calls=4)
    state, key = paced.init(task, opt, objective, key=jr.key(0)), jr.key(1)
    for n, taken in enumerate((2, 2, 3, 4, 5, 5)):
        key = jr.fold_in(key, n)
        lanes = lanes_of(task, opt, state[0], objective, key)
        hard = np.asarray(lanes.parts["visited"] if case == "a game" else lanes.loss)
        kept = np.argsort(hard, kind="stable")[:taken]
        grads, state, stats = call(paced, task, opt, state, objective, key)
        assert jtu.tree_structure(grads) == jtu.tree_structure(split_meta(opt)[0])
        for got, each in zip(jtu.tree_leaves(grads), jtu.tree_leaves(lanes.grads), strict=True):
            np.testing.assert_allclose(got, np.mean(np.asarray(each)[kept], axis=0), rtol=1e-9)
        np.testing.assert_allclose(stats.loss, np.mean(np.asarray(lanes.loss)[kept]), rtol=1e-12)
        assert int(stats.nonfinite) == 0 and int(stats.inner_steps) == 2 * EPISODES


def test_episodes_that_are_not_finite_are_the_hardest_and_are_counted_as_ever():
    task, opt, objective = CASES["any task"]
    state = BASE.init(task, opt, objective, key=jr.key(0))
    lanes = lanes_of(task, opt, state, objective, jr.key(1))
    worst = int(np.argmin(lanes.loss))  # the easiest, were it finite
    lanes = eqx.tree_at(lambda x: x.finite, lanes, lanes.finite.at[worst].set(False))
    kept = np.asarray(easy(lanes, np.asarray(3)))
    order = np.argsort(np.where(lanes.finite, lanes.loss, np.inf), kind="stable")
    assert set(np.flatnonzero(kept)) == set(order[:3]) and not kept[worst]
    assert int(average(lanes, kept)[1].nonfinite) == 1


def test_with_all_episodes_it_is_its_base_bit_by_bit():
    task, opt, objective = CASES["any task"]
    paced = SelfPaced(BASE, first=1.0)
    state = paced.init(task, opt, objective, key=jr.key(0))
    ours = call(paced, task, opt, state, objective, jr.key(1))
    theirs = call(BASE, task, opt, state[0], objective, jr.key(1))
    assert eqx.tree_equal((ours[0], ours[1][0], ours[2]), theirs)


def test_what_makes_no_sense_is_refused_in_one_sentence():
    for wrong, words in (
        ({"first": 0.0}, "first must lie above 0 and at most 1, got 0.0"),
        ({"first": float("nan")}, "first must be a finite number"),
        ({"calls": 0}, "calls must be"),
        ({"base": Whole(2, 2)}, "base is a Whole, expected BPTT"),
    ):
        with pytest.raises(ValueError, match=words):
            SelfPaced(**{"base": BASE} | wrong)
