"""A grid over several numbers, against running each of its points."""

import itertools

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.core.rollout import episodes
from steppe.evaluation.recovery import recovery
from steppe.evaluation.run import seed_keys
from steppe.evaluation.search import search
from steppe.optimizers.classic.proximal import ISTA
from steppe.optimizers.unrolled.hyperlista import HyperLISTA
from steppe.optimizers.unrolled.lamp import LAMP
from steppe.tasks.inverse.logistic import SparseLogistic
from steppe.tasks.inverse.recovery import SparseRecovery

TASK = SparseRecovery(rows=12, n=20, seed=0)
OPT = HyperLISTA.from_task(TASK, layers=4)
GRID = {"c1": (0.2, 0.05), "c3": (0.3, 0.1, 5.0)}
PROBLEMS = 6


@eqx.filter_jit
def ends(opt, keys):
    begins = eqx.filter_vmap(lambda key: jr.split(key)[0])(keys)
    see = lambda episode, _: (episode.params, episode.instance.sparse)
    return episodes(TASK, opt, begins, OPT.layers, see).looks


def test_the_least_score_is_that_of_running_each_point():
    best, found = search(TASK, OPT, GRID, horizon=4, key=jr.key(1), problems=PROBLEMS)
    keys, expected = seed_keys(jr.key(1), range(PROBLEMS), "tune"), []
    for c1, c3 in itertools.product(sorted(GRID["c1"]), sorted(GRID["c3"])):
        numbers = jnp.asarray(c1), jnp.asarray(c3)
        opt = eqx.tree_at(lambda opt: (opt.c1, opt.c3), OPT, numbers)
        both = recovery(*ends(opt, keys))
        expected.append(np.mean([both.mean_db or 0, both.aggregate_db or 0]))
    assert found.scores == pytest.approx(expected, rel=1e-5)
    chosen = int(np.argmin(expected))
    assert found.best == {"c1": [0.05, 0.2][chosen // 3], "c3": [0.1, 0.3, 5.0][chosen % 3]}
    assert {name: float(getattr(best, name)) for name in GRID} == found.best
    assert found.by == "recovery" and best.c2 == OPT.c2
    at_the_end = {"c1": True, "c3": chosen % 3 != 1}
    assert found.edges == [name for name, there in at_the_end.items() if there]


def test_without_a_truth_it_is_the_loss_and_diverging_loses():
    task = SparseLogistic(rows=9, n=4)
    grid = {"step": (1e-3, 1.0, 1e30)}
    best, found = search(task, ISTA(), grid, horizon=3, key=jr.key(0), problems=2)
    assert found.by == "loss" and found.best == {"step": 1.0} and found.edges == []
    assert found.scores[2] is None or found.scores[2] > 1e3
    assert float(best.step) == 1.0


def test_what_cannot_be_searched_is_refused_in_one_sentence():
    how = {"horizon": 4, "key": jr.key(0), "problems": 2}
    cases = [
        (OPT, {}, {}, "grid must be values to try by the name of a number, got {}"),
        (OPT, [0.1, 0.2], {}, "by the name of a number, got [0.1, 0.2]"),
        (OPT, {"c1": 0.1}, {}, "the values of c1 must be a list of numbers, got 0.1"),
        (OPT, {"c1": "0.1"}, {}, "the values of c1 must be a list of numbers, got '0.1'"),
        (OPT, {"c4": (1.0,)}, {}, "HyperLISTA has no number 'c4'; use one of c1, c2, c3."),
        (LAMP.from_task(TASK), {"alpha": (1.0,)}, {}, "LAMP has no number 'alpha'; it has none."),
        (OPT, {"c1": ()}, {}, "there are no values of c1"),
        (OPT, {"c1": (np.nan,)}, {}, "a value of c1 must be a finite number, got nan"),
        (OPT, {"c1": (1.0,) * 400, "c2": (1.0,) * 400}, {}, "160000 points, 100000 are allowed"),
        (OPT, GRID, {"problems": 0}, "problems must be at least 1, got 0"),
        (OPT, GRID, {"by": "mean"}, "by is 'mean', expected 'recovery' or 'loss'"),
        (OPT, {"c1": (0.05,), "c2": (1e200,)}, {}, "all 1 points diverged within 4 steps"),
    ]
    for opt, grid, options, words in cases:
        with pytest.raises(ValueError) as refusal:
            search(TASK, opt, grid, **how | options)
        assert words in str(refusal.value) and "\n" not in str(refusal.value)
    with pytest.raises(ValueError, match="SparseLogistic does not tell the truth"):
        search(SparseLogistic(rows=9, n=4), ISTA(), {"step": (1.0,)}, **how, by="recovery")
