"""Bounds of a sample: published numbers, exact tails, coverage where the truth is known."""

import math

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from reference import binomial as exact
from scipy import stats

from steppe.certificates import bounds
from steppe.certificates.bounds import kl, kl_lower, kl_upper

METHODS = ("kl2", "kl", "clopper_pearson", "hoeffding")


@pytest.mark.parametrize(
    ("n", "failures", "expected"),
    [
        (10, 0, (0.6286, 0.6019, 0.6019, 0.6786)),
        (100, 0, (0.0943, 0.0880, 0.0880, 0.2146)),
        (100, 10, (0.2813, 0.2735, 0.2538, 0.3146)),
        (1000, 1, (0.0134, 0.0127, 0.0117, 0.0689)),
        (1000, 100, (0.1474, 0.1456, 0.1396, 0.1679)),
    ],
)
def test_published_numbers(n, failures, expected):
    found = [bounds.failure_bound(failures, n, 1e-4, method) for method in METHODS]
    assert [round(x, 4) for x in found] == list(expected)


@pytest.mark.parametrize(
    ("failures", "n", "delta", "expected"),
    [
        (0, 10, 0.05, 0.25886555089305),
        (0, 10, 0.025, 0.30849710781877),
        (0, 100, 0.05, 0.02951304960704),
        (0, 100, 0.025, 0.03621669264519),
        (3, 20, 0.05, 0.34366380431428),
        (3, 20, 0.025, 0.37892682654530),
        (95, 100, 0.05, 0.980094436337838),
    ],
)
def test_clopper_pearson_fixtures(failures, n, delta, expected):
    assert bounds.clopper_pearson(failures, n, delta) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("n", "expected"), [(10, 0.70495), (100, 0.11491), (1000, 0.01213)])
def test_two_sided_kl_of_the_reference(n, expected):
    assert bounds.mean_bound(0.0, n, 1e-5, "kl2") == pytest.approx(expected, abs=5e-6)


deltas = st.floats(-12, -0.05).map(lambda x: 10**x)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 200), share=st.floats(0, 1), delta=deltas)
def test_clopper_pearson_is_never_optimistic(n, share, delta):
    failures = int(share * n)
    p = bounds.clopper_pearson(failures, n, delta)
    if failures == n:
        assert p == 1
        return
    if p < 1:
        assert exact.at_most(failures, n, p) <= delta
    inner = p - 1e-9 * min(p, 1 - p)
    assume(inner < p)
    assert exact.at_most(failures, n, inner) >= delta * (1 - 1e-6)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 200), level=st.floats(0.01, 0.99), delta=deltas)
def test_order_rank_is_the_smallest_that_holds(n, level, delta):
    reach = lambda r: 1 - exact.at_most(r - 1, n, level)  # P[Bin(n, level) ≥ r]
    r = bounds.order_rank(level, n, delta)
    if r is None:
        assert reach(n) > delta * (1 - 1e-9)
        assert n < bounds.min_samples(level, delta)
    else:
        assert reach(r) <= delta
        assert r == 1 or reach(r - 1) > delta * (1 - 1e-9)
        assert n >= bounds.min_samples(level, delta)


def test_order_ranks_and_smallest_samples_as_published():
    rank = lambda n, levels: [bounds.order_rank(a, n, 1e-4) for a in levels]
    assert rank(100, (0.3, 0.5, 0.9, 0.95)) == [49, 69, 100, None]
    assert rank(1000, (0.3, 0.5, 0.9, 0.95, 0.99)) == [356, 560, 934, 975, 1000]
    need = lambda a: [bounds.min_samples(a, delta) for delta in (1e-4, 1e-2, 0.05)]
    assert [need(a) for a in (0.9, 0.95, 0.99)] == [[88, 44, 29], [180, 90, 59], [917, 459, 299]]


REPEATS = 20_000
ALLOWED = lambda delta: stats.binom.ppf(0.9999, REPEATS, delta)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("n", "p", "delta"), [(50, 0.1, 0.1), (200, 0.1, 0.05), (200, 0.5, 0.05)])
def test_coverage_of_failure_bounds(method, n, p, delta):
    failures = np.random.default_rng(0).binomial(n, p, REPEATS)
    counts, times = np.unique(failures, return_counts=True)
    found = [bounds.failure_bound(int(count), n, delta, method) for count in counts]
    missed = int(times[np.array(found) < p].sum())
    assert missed <= ALLOWED(delta)


@pytest.mark.parametrize(
    ("n", "level", "delta", "rank"), [(100, 0.9, 0.1, 95), (200, 0.9, 0.05, 188)]
)
def test_coverage_of_order_statistics_and_the_power_to_see_a_false_one(n, level, delta, rank):
    assert bounds.order_rank(level, n, delta) == rank
    values = np.sort(np.random.default_rng(1).uniform(size=(REPEATS, n)), axis=1)
    missed = lambda r: int(np.sum(values[:, r - 1] < level))  # the true quantile is `level` itself
    assert missed(rank) <= ALLOWED(delta)
    plug_in = math.ceil(level * n)  # the quantile of the sample, uncorrected
    assert missed(plug_in) > ALLOWED(delta)
    ten_times = bounds.order_rank(level, n, min(0.9, 10 * delta))
    assert missed(ten_times) > ALLOWED(delta)


def test_band_over_all_tolerances_covers():
    n, delta, repeats = 100, 0.1, 4000
    values = np.sort(np.random.default_rng(2).uniform(size=(repeats, n)), axis=1)
    above = np.arange(1, n + 1) / n - values  # F_n − F is largest just after a jump
    missed = int(np.sum(above.max(axis=1) > bounds.dkw(n, delta)))
    assert missed <= stats.binom.ppf(0.9999, repeats, delta)
    assert missed > 0.5 * delta * repeats  # the constant is tight


@pytest.mark.parametrize("delta", [0.0, 1.0, -0.1, 2.0, math.nan])
def test_bad_deltas_are_refused(delta):
    for bound in (
        lambda: bounds.clopper_pearson(1, 10, delta),
        lambda: bounds.kl_bound(0.1, 10, delta),
        lambda: bounds.order_rank(0.9, 10, delta),
        lambda: bounds.dkw(10, delta),
    ):
        with pytest.raises(ValueError, match="delta"):
            bound()


def test_other_bad_input_is_refused():
    with pytest.raises(ValueError, match="at least 1 run"):
        bounds.clopper_pearson(0, 0, 0.1)
    with pytest.raises(ValueError, match="from 0 to the 10 runs, got 11"):
        bounds.clopper_pearson(11, 10, 0.1)
    with pytest.raises(ValueError, match="level"):
        bounds.order_rank(1.0, 10, 0.1)
    with pytest.raises(ValueError, match="clopper_pearson is for counts"):
        bounds.mean_bound(0.35, 10, 0.1, "clopper_pearson")
    with pytest.raises(ValueError, match="needs delta"):
        bounds.dkw(10, 0.7)


FIXTURES = [  # q, c, upper, lower: from 50-digit arithmetic
    (0.0, 0.01, 0.00995016625083195, 0.0),
    (0.0, 1e-12, 9.999999999995e-13, 0.0),
    (0.1, 0.01, 0.147675539298007, 0.0629106298472583),
    (0.2, 0.3, 0.578365119037115, 0.0198012022049446),
    (0.5, 0.01, 0.570358593457453, 0.429641406542547),
    (0.5, 5.0, 0.999988649888734, 1.1350111265647e-5),
    (0.9, 0.01, 0.937089370152742, 0.852324460701993),
    (0.99, 0.001, 0.993819969112823, 0.984876954395738),
    (0.999, 0.5, 1.0, 0.602002645822284),
    (1e-8, 1e-6, 1.05660173262751e-6, 0.0),
    (1.0, 0.3, 1.0, 0.740818220681718),
    (0.3, 1e-10, 0.300006480767365, 0.299993519285969),
    (0.0, 0.05, 0.04877057549928598, 0.0),
    (0.0, 0.5, 0.39346934028736, 0.0),
    (0.1, 0.05, 0.220078601106925, None),
    (0.5, 0.1, 0.71287863145582, None),
    (0.9, 0.05, 0.968721603727721, None),
]

means = st.one_of(
    st.floats(0, 1),
    st.floats(-12, 0).map(lambda x: 10**x),
    st.floats(-12, 0).map(lambda x: 1 - 10**x),
)
budgets = st.floats(-12, 1.5).map(lambda x: 10**x)


@pytest.mark.parametrize(("q", "c", "upper", "lower"), FIXTURES)
def test_fixtures(q, c, upper, lower):
    assert kl_upper(q, c) == pytest.approx(upper, rel=1e-12, abs=1e-15)
    if lower is not None:
        assert kl_lower(q, c) == pytest.approx(lower, rel=1e-12, abs=1e-15)


@settings(max_examples=150, deadline=None)
@given(q=means, p=means)
def test_kl_has_no_cancellation(q, p):
    if 0 < p < 1 and p != q:
        assert float(kl(q, p)) == pytest.approx(float(exact.kl(q, p)), rel=1e-14)


@settings(max_examples=100, deadline=None)
@given(q=means, c=budgets)
@example(q=1.0, c=1e-7)  # the bound is a few last places from q
def test_inverses_are_never_optimistic_and_next_to_exact(q, c):
    upper, lower = float(kl_upper(q, c)), float(kl_lower(q, c))
    assert 0 <= lower <= q <= upper <= 1
    if upper < 1:
        assert exact.kl(q, upper) >= c
    if lower > 0:
        assert exact.kl(q, lower) >= c
    for end in (upper, lower):  # a bound that is only a little further in is within the budget
        further = max(abs(q - end) * 1e-9, 2 * np.spacing(max(q, end)))
        inner = end + np.copysign(min(further, abs(q - end)), q - end)
        if inner not in (q, end):
            assert exact.kl(q, inner) <= c


@settings(max_examples=60, deadline=None)
@given(q=means, c=budgets, more=st.floats(0, 1))
def test_monotone(q, c, more):
    bound, of_more, of_larger = kl_upper([q, q, q + (1 - q) * more], [c, c * (1 + more), c])
    assert of_more >= bound and of_larger >= bound * (1 - 1e-15)
    bound, of_more = kl_lower(q, [c, c * (1 + more)])
    assert of_more <= bound


@settings(max_examples=60, deadline=None)
@given(q=st.floats(0, 1), c=budgets)
def test_lower_is_the_mirror_of_upper(q, c):
    mirrored = 1 - q
    if 1 - mirrored == q:
        assert float(kl_lower(q, c)) == pytest.approx(1 - float(kl_upper(mirrored, c)), abs=4e-15)


def test_special_cases():
    assert kl_upper(0.3, 0.0) == kl_lower(0.3, 0.0) == 0.3
    assert kl_upper(0.2, np.inf) == 1 and kl_lower(0.2, np.inf) == 0
    assert kl(0.0, 0.0) == kl(1.0, 1.0) == kl(0.4, 0.4) == 0
    assert kl(0.5, 0.0) == kl(0.5, 1.0) == np.inf
    assert np.array_equal(kl_upper([0.1, 0.2], 0.05), [kl_upper(0.1, 0.05), kl_upper(0.2, 0.05)])


@pytest.mark.parametrize(("q", "c"), [(-0.1, 1), (1.1, 1), (np.nan, 1), (0.5, -1), (0.5, np.nan)])
def test_refused(q, c):
    with pytest.raises(ValueError, match="must"):
        kl_upper(q, c)
    with pytest.raises(ValueError, match="must"):
        kl_lower(q, c)
