"""tune against algebra; grids that grow, by an optimum that is planted inside and outside them."""

import dataclasses
import math

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from evaluation.problems import NETWORK, Bowl

import steppe
from steppe.core.episode import begin
from steppe.evaluation.run import seed_keys
from steppe.evaluation.tuning import Diverged, further, tune, tune_all, widen
from steppe.optimizers.classic.from_optax import momentum, sgd


def test_tuning_finds_the_best_rate(getkey):
    """On ½ c x² the rate 1/c lands on the minimum in one step; beyond 2/c it diverges."""
    grid = [0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.6]
    found = tune(Bowl(4.0), sgd, horizon=5, key=getkey(), grid=grid, seeds=2)
    assert found.best == 0.25
    assert found.scores[grid.index(0.25)] == pytest.approx(0, abs=1e-12)
    assert (found.edge, found.trials, found.split) == ("", 14, "valid")
    assert found.scores[-1] > found.scores[0]


def test_tuning_scores_are_the_closed_form(getkey):
    """f_T = (1 − lr·c)^{2T} f₀, with f₀ from the tuning seeds."""
    key = getkey()
    found = tune(Bowl(4.0), sgd, horizon=3, key=key, grid=[0.1, 0.2], seeds=3)
    starts = [
        begin(Bowl(), sgd(1.0), jr.split(k)[0]).params for k in seed_keys(key, range(3), "tune")
    ]
    f0 = np.mean([2 * float(x[0]) ** 2 for x in starts])
    assert found.scores == pytest.approx([f0 * 0.6**6, f0 * 0.2**6], rel=1e-5)


def test_tuning_says_where_the_grid_ends(getkey):
    low = tune(Bowl(4.0), sgd, horizon=3, key=getkey(), grid=[0.25, 0.3, 0.4], seeds=1)
    high = tune(Bowl(4.0), sgd, horizon=3, key=getkey(), grid=[0.01, 0.02], seeds=1)
    assert (low.edge, high.edge) == ("lowest", "highest")


def test_a_diverged_rate_is_no_score(getkey):
    found = tune(Bowl(4.0), sgd, horizon=500, key=getkey(), grid=[0.1, 5.0], seeds=1)
    assert (found.best, found.scores[1]) == (0.1, None)
    with pytest.raises(ValueError, match="every learning rate from 5 to 5 diverged"):
        tune(Bowl(4.0), sgd, horizon=500, key=getkey(), grid=[5.0], seeds=1)


def test_tuning_never_meets_the_seeds_of_the_evaluation(getkey):
    key = getkey()
    both = jnp.concatenate([seed_keys(key, range(9), s) for s in ("evaluate", "tune")])
    assert len(np.unique(jr.key_data(both), axis=0)) == 18


def test_tuning_reads_the_validation_split(getkey):
    """Labels of the validation split turned round: what fits the training split scores badly."""
    data = NETWORK.dataset
    a, b = data.splits[1]
    turned = dataclasses.replace(data, y=data.y.at[a:b].set((data.y[a:b] + 1) % 3))
    plain, other = (
        tune(
            dataclasses.replace(NETWORK, dataset=d),
            sgd,
            horizon=3,
            key=jr.key(0),
            grid=[0.1],
            seeds=1,
        )
        for d in (data, turned)
    )
    assert plain.scores != other.scores
    assert math.isfinite(plain.scores[0])


def test_of_several_settings_the_best_is_taken_and_all_trials_count(getkey):
    """On ½ c x² the rate 1/c of gradient descent is exact; momentum overshoots there."""
    makers = {0.9: lambda lr: momentum(lr, 0.9), 0.0: lambda lr: momentum(lr, 0.0)}
    how = {"horizon": 5, "key": getkey(), "grid": [0.2, 0.25, 0.3], "seeds": 2}
    setting, found = tune_all(Bowl(4.0), makers, **how)
    alone = tune(Bowl(4.0), makers[0.0], **how)
    assert (setting, found.best, found.trials) == (0.0, 0.25, 12)
    assert found == dataclasses.replace(alone, trials=12)


def test_a_setting_that_always_diverges_is_left_out(getkey):
    makers = {"far": lambda lr: sgd(100 * lr), "near": sgd}
    how = {"horizon": 500, "key": getkey(), "grid": [0.1], "seeds": 1}
    assert tune_all(Bowl(4.0), makers, **how)[0] == "near"
    with pytest.raises(Diverged, match="every learning rate"):
        tune_all(Bowl(4.0), {"far": makers["far"]}, **how)
    with pytest.raises(ValueError, match="no setting to tune"):
        tune_all(Bowl(4.0), {}, **how)


def valley(at, calls=None):
    """Scores (ln x − ln at)², whose least is planted."""

    def scores(grid):
        if calls is not None:
            calls.append(list(grid))
        return [math.log(x / at) ** 2 for x in grid]

    return scores


def test_a_grid_whose_best_is_inside_stays():
    calls = []
    found = widen(valley(1.0, calls), [3.0, 0.3, 1.0])
    assert calls == [[0.3, 1.0, 3.0]]
    assert (found.best, found.extensions, found.edge) == (1.0, 0, "")


@pytest.mark.parametrize("at", (25.0, 0.02))
def test_a_grid_grows_until_the_optimum_is_inside(at):
    """Beyond the end that the best is at, in the ratio that the grid has there."""
    found = widen(valley(at), [0.3, 1.0, 3.0], beyond=2)
    assert found.edge == "" and found.extensions == 2
    place = found.grid.index(found.best)
    assert 0 < place < len(found.grid) - 1
    assert abs(math.log(found.best / at)) <= math.log(10 / 3) / 2 + 1e-9
    assert found.scores == [pytest.approx(math.log(x / at) ** 2, rel=1e-5) for x in found.grid]
    ratios = np.divide(found.grid[1:], found.grid[:-1])
    assert np.all((ratios > 2.9) & (ratios < 3.5))


def test_a_grid_that_grew_as_often_as_it_may_says_so():
    found = widen(valley(1e9), [1.0, 10.0], extensions=2, beyond=2)
    assert (found.best, found.edge, found.extensions) == (1e5, "highest", 2)
    assert found.grid == [1.0, 10.0, 1e2, 1e3, 1e4, 1e5]
    assert widen(valley(1e-9), [1.0, 10.0], extensions=0).edge == "lowest"
    assert steppe.widen is widen


def test_what_has_no_score_ends_a_grid():
    """Beyond 10 all diverge: then 10 has a worse neighbour on both sides."""
    scores = lambda grid: [-x if x <= 10 else (None if x < 50 else math.nan) for x in grid]
    found = widen(scores, [1.0, 3.0])
    assert (found.best, found.edge) == (9.0, "")
    assert found.scores[-1] is None and found.extensions == 1
    with pytest.raises(Diverged, match="none of 1, 3 has a score"):
        widen(lambda grid: [None] * len(grid), [1.0, 3.0])


def test_further_says_what_to_try_where_scores_come_from_elsewhere():
    assert further({0.3: 1.0, 1.0: 0.5, 3.0: 0.9}) == []
    assert further({0.1: 1.0, 1.0: 0.5}) == [10.0, 100.0, 1000.0]
    assert further({0.1: 1.0, 1.0: 1.0}, beyond=1) == [0.01]  # of equals the lower


def test_grids_without_a_ratio_are_refused():
    for grid in ([1.0], [1.0, 1.0], [0.0, 1.0], []):
        with pytest.raises(ValueError, match="two different positive numbers"):
            widen(valley(1.0), grid)
    with pytest.raises(ValueError, match="extensions must be a whole number from 0 to 20"):
        widen(valley(1.0), [1.0, 2.0], extensions=21)
