"""Intervals and verdicts against hand-computed numbers and by how often they are right."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from steppe.evaluation.stats import (
    Interval,
    bootstrap,
    cohens_dz,
    hedges_gz,
    holm,
    interval,
    paired,
    paired_tests,
    rank_biserial,
    sign_test,
    wilcoxon,
)


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


def exact_wilcoxon(values):
    """By all 2ⁿ ways to sign the mean ranks."""
    kept = [x for x in values if x != 0]
    sizes = sorted(abs(x) for x in kept)
    rank = {s: sizes.index(s) + (sizes.count(s) + 1) / 2 for s in sizes}
    centre = sum(rank[abs(x)] for x in kept) / 2
    seen = abs(sum(rank[x] for x in kept if x > 0) - centre)
    signings = itertools.product([0, 1], repeat=len(kept))
    sums = [sum(rank[abs(x)] for x, s in zip(kept, ss, strict=True) if s) for ss in signings]
    return np.mean([abs(w - centre) >= seen for w in sums])


def test_wilcoxon_by_hand():
    """Of 2⁴ signings of 1, 2, 3, 4 the sum of the negative ranks is ≤ 1 in two: ∅ and {1}."""
    assert wilcoxon([5.0, 2.0, 3.0, -1.0]) == 4 / 16
    assert wilcoxon([1.0, 2.0, 3.0, 4.0, None, math.nan]) == 2 / 16


@pytest.mark.parametrize("ties", [False, True])
def test_wilcoxon_is_exact(ties):
    rng = np.random.default_rng(3)
    for n in range(1, 11):
        x = rng.integers(-3, 4, n) if ties else rng.standard_normal(n) + 0.3
        values = [float(v) for v in x]
        assert wilcoxon(values) == pytest.approx(exact_wilcoxon(values), rel=1e-12)


def test_wilcoxon_is_that_of_scipy():
    rng = np.random.default_rng(4)
    small, large = rng.standard_normal(40) + 0.2, rng.standard_normal(300) + 0.1
    theirs = scipy.stats.wilcoxon(small, method="exact").pvalue
    assert wilcoxon(list(small)) == pytest.approx(theirs, rel=1e-9)
    theirs = scipy.stats.wilcoxon(large, method="asymptotic").pvalue
    assert wilcoxon(list(large)) == pytest.approx(theirs, rel=1e-9)


def test_exact_and_normal_wilcoxon_meet():
    x = [float(v) for v in np.random.default_rng(5).standard_normal(201) + 0.1]
    assert wilcoxon(x) == pytest.approx(wilcoxon(x[:200]), rel=0.2)


def test_wilcoxon_leaves_out_zeros_and_sees_through_rounding():
    assert wilcoxon([0.0, 0.0, 0.0]) == wilcoxon([]) == wilcoxon([None]) == 1
    assert wilcoxon([1.0, 0.0, 2.0, 3.0]) == wilcoxon([1.0, 2.0, 3.0]) == 0.25
    assert 0.3 - 0.2 != 0.1
    assert wilcoxon([0.3 - 0.2, -0.1, 1.0]) == wilcoxon([0.1, -0.1, 1.0])


def test_bootstrap_is_that_of_scipy():
    """Both have a Monte Carlo error of about 1 % of the width at 10 000 draws."""
    x = np.random.default_rng(6).exponential(size=15)
    found = bootstrap(list(x), seed=1)
    theirs = scipy.stats.bootstrap((x,), np.mean, n_resamples=10_000, rng=2).confidence_interval
    width = theirs.high - theirs.low
    assert found.mean == pytest.approx(x.mean())
    assert found.low == pytest.approx(theirs.low, abs=0.05 * width)
    assert found.high == pytest.approx(theirs.high, abs=0.05 * width)


@pytest.mark.parametrize(
    ("draw", "mean"),
    [("standard_normal", 0.0), ("standard_exponential", 1.0)],
    ids=["normal", "exponential"],
)
def test_bootstrap_covers_the_mean(draw, mean):
    """1000 repetitions: the standard error of the coverage is 0.7 %."""
    samples = getattr(np.random.default_rng(7), draw)((1000, 30))
    found = [bootstrap(list(x), draws=500, seed=i) for i, x in enumerate(samples)]
    covered = np.mean([x.low < mean < x.high for x in found])
    assert 0.91 < covered < 0.965


def test_bootstrap_leans_to_the_long_tail():
    """The correction of second order: for a skewed sample the interval is longer above the mean."""
    x = np.random.default_rng(8).standard_exponential(30) ** 2
    found, mirrored = bootstrap(list(x)), bootstrap(list(-x))
    plain = np.random.default_rng(0).choice(x, (10_000, 30)).mean(1)
    assert found.high - found.mean > 1.2 * (found.mean - found.low)
    assert found.high > np.quantile(plain, 0.975)
    assert found.low > np.quantile(plain, 0.025)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low), rel=0.03)


def test_bootstrap_of_one_seed_is_one_interval():
    x = [*np.random.default_rng(12).standard_normal(12), None, math.inf]
    assert bootstrap(x) == bootstrap(x)
    assert bootstrap(x) != bootstrap(x, seed=1)
    assert (bootstrap(x).n, bootstrap(x).missing) == (12, 2)
    wide, narrow = bootstrap(x, level=0.99), bootstrap(x, level=0.5)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_bootstrap_without_spread():
    assert bootstrap([0.1] * 3) == Interval(0.1, 0.1, 0.1, 3, 0)
    assert bootstrap([2.0, None]) == Interval(2.0, None, None, 1, 1)
    assert bootstrap([]) == Interval(None, None, None, 0, 0)
    with pytest.raises(ValueError, match="level must be within"):
        bootstrap([1.0, 2.0], level=95)


def test_effect_sizes_by_hand():
    """x = 2, 4, 6, −8: mean 1, s² = 116/3; signed ranks 1, 2, 3, −4; J(3) = Γ(1.5)/√1.5."""
    x = [2.0, 4.0, 6.0, -8.0]
    d = 1 / math.sqrt(116 / 3)
    assert cohens_dz(x) == pytest.approx(d)
    assert hedges_gz(x) == pytest.approx(d * math.sqrt(math.pi) / 2 / math.sqrt(1.5))
    assert rank_biserial(x) == pytest.approx((6 - 4) / 10)
    assert rank_biserial([1.0, 2.0, None]) == 1
    assert rank_biserial([0.0, 0.0]) == 0


def test_hedges_has_no_bias():
    """True d_z = 0.5 in 20 000 samples of 6; the standard error of the mean is 0.003."""
    x = 0.5 + np.random.default_rng(9).standard_normal((20_000, 6))
    g = hedges_gz(list(x[0])) / cohens_dz(list(x[0]))  # the same factor for every sample
    d = x.mean(1) / x.std(1, ddof=1)
    assert np.mean(g * d) == pytest.approx(0.5, abs=0.012)
    assert np.mean(d) > 0.57


def test_effects_that_do_not_exist_are_none():
    for effect in (cohens_dz, hedges_gz, rank_biserial):
        assert effect([]) is effect([None]) is None
    assert cohens_dz([1.0]) is cohens_dz([0.1] * 3) is None
    assert hedges_gz([1.0, 2.0]) is None


def test_holm_by_hand():
    """0.005 · 4, 0.01 · 3, 0.03 · 2 and 0.04 · 1, which may not fall below the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    with pytest.raises(ValueError, match="within"):
        holm([0.5, math.nan])


def test_holm_rejects_what_stepping_down_rejects():
    """From the smallest on, reject while p ≤ 5 % / (how many are left)."""
    rng = np.random.default_rng(10)
    for _ in range(200):
        p = rng.random(6) ** 4
        rejected = set()
        for left, i in zip(range(6, 0, -1), np.argsort(p), strict=True):
            if p[i] > 0.05 / left:
                break
            rejected.add(int(i))
        assert {i for i, x in enumerate(holm(list(p))) if x <= 0.05} == rejected


def test_a_table_is_adjusted_as_a_whole():
    better = [float(i) for i in range(8)]
    cells = {
        "clear": (better, [x + 1 + x / 10 for x in better]),
        "same": (better, better),
        "gone": ([None] * 8, better),
    }
    found = paired_tests(cells)
    assert {name: t.p for name, t in found.items()} == {"clear": 2 / 256, "same": 1, "gone": 1}
    assert found["clear"].adjusted == 3 * 2 / 256
    assert (found["clear"].n, found["clear"].missing, found["gone"].missing) == (8, 0, 8)
    assert found["clear"].rank_biserial == -1
    assert found["clear"].mean == found["clear"].bootstrap.mean == pytest.approx(-1.35)
    assert found["clear"].difference == paired(*cells["clear"]).difference
    assert (found["gone"].mean, found["gone"].d_z) == (None, None)


def test_a_table_of_equals_raises_a_false_alarm_once_in_twenty():
    """400 tables of ten: at most 5 %, exact tests being on the safe side; unadjusted, a third."""
    draws = np.random.default_rng(11).standard_normal((400, 10, 10))
    ps = np.array([[wilcoxon(list(x)) for x in table] for table in draws])
    assert np.mean([min(holm(list(p))) <= 0.05 for p in ps]) < 0.07
    assert np.mean(ps.min(1) <= 0.05) > 0.25
