"""Intervals and verdicts against hand-computed numbers and by how often they are right."""

import math

import numpy as np
import pytest

from steppe.bench.stats import interval, paired, sign_test


def test_interval_by_hand():
    """x = 2, 4, 6, 8: mean 5, s² = 20/3, t₀.₉₇₅(3) = 3.182446 (tables), half width t·s/√4."""
    found = interval([2.0, 4.0, 6.0, 8.0])
    half = 3.182446 * math.sqrt(20 / 3) / 2
    assert found.mean == 5
    assert found.low == pytest.approx(5 - half, rel=1e-6)
    assert found.high == pytest.approx(5 + half, rel=1e-6)
    assert (found.n, found.missing) == (4, 0)


def test_interval_counts_what_is_missing():
    found = interval([1.0, None, 3.0, math.inf, math.nan])
    assert (found.mean, found.n, found.missing) == (2.0, 2, 3)


def test_one_seed_has_a_mean_and_no_interval():
    found = interval([0.5])
    assert (found.mean, found.low, found.high, found.half) == (0.5, None, None, None)
    assert interval([]).mean is None


def test_interval_covers_the_mean_95_times_in_100():
    """4000 repetitions: the standard error of the coverage is 0.34 %."""
    rng = np.random.default_rng(0)
    samples = 3.0 + 2.0 * rng.standard_normal((4000, 6))
    found = [interval(list(sample)) for sample in samples]
    covered = np.mean([x.low < 3.0 < x.high for x in found if x.low and x.high])
    assert covered == pytest.approx(0.95, abs=0.012)


def test_pairs_see_what_separate_intervals_do_not():
    """Seeds differ by 10, the two runs of a seed by 0.1 ± 0.01."""
    rng = np.random.default_rng(1)
    theirs = 10 * rng.standard_normal(8)
    ours = theirs - 0.1 + 0.01 * rng.standard_normal(8)
    assert interval(list(ours)).high > interval(list(theirs)).mean
    found = paired(list(ours), list(theirs))
    assert found.verdict == "better"
    assert found.difference.mean == pytest.approx(-0.1, abs=0.02)
    assert paired(list(ours), list(theirs), lower_is_better=False).verdict == "worse"
    assert paired(list(theirs), list(ours)).verdict == "worse"


def test_no_verdict_where_the_interval_holds_zero():
    assert paired([1.0, 2.0, 3.0], [1.1, 1.9, 3.0]).verdict == "no difference seen"
    assert paired([1.0], [2.0]).verdict == "no difference seen"  # one seed shows nothing


def test_false_alarms_are_one_in_twenty():
    """Equal optimizers are told apart in 5 % of 4000 comparisons."""
    rng = np.random.default_rng(2)
    draws = rng.standard_normal((4000, 2, 10))
    called = [paired(list(a), list(b)).verdict != "no difference seen" for a, b in draws]
    assert np.mean(called) == pytest.approx(0.05, abs=0.012)


def test_who_diverges_more_is_not_called_better():
    ours, theirs = [None, 1.0, 1.1, 0.9, 1.0], [9.0, 2.0, 2.1, 1.9, 2.2]
    found = paired(ours, theirs)
    assert found.difference.high < 0  # better on the seeds that are left
    assert (found.diverged, found.diverged_theirs) == (1, 0)
    assert found.verdict == "no difference seen"
    assert paired(theirs, ours).verdict == "no difference seen"


def test_diverging_on_every_seed_is_worse():
    ours, theirs = [None] * 8, [1.0] * 8
    assert paired(ours, theirs).verdict == "worse"
    assert paired(theirs, ours).verdict == "better"
    assert paired([None] * 5, [1.0] * 5).verdict == "no difference seen"  # 2⁻⁴ > 5 %


def test_sign_test_by_hand():
    assert sign_test(0, 0) == 1
    assert sign_test(6, 0) == pytest.approx(2 / 64)
    assert sign_test(1, 7) == pytest.approx(2 * 9 / 256)


def test_unequal_lists_are_refused():
    with pytest.raises(ValueError, match="3 values against 2"):
        paired([1.0, 2.0, 3.0], [1.0, 2.0])
