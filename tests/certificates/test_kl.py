"""kl and its inverses: fixtures of 50 digits, and rounding that never flatters."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import binomial as exact

from steppe.certificates.kl import kl, kl_lower, kl_upper

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
def test_inverses_are_never_optimistic_and_next_to_exact(q, c):
    upper, lower = float(kl_upper(q, c)), float(kl_lower(q, c))
    assert 0 <= lower <= q <= upper <= 1
    if upper < 1:
        assert exact.kl(q, upper) >= c
    if lower > 0:
        assert exact.kl(q, lower) >= c
    for end in (upper, lower):  # a bound that is only a little further in is within the budget
        inner = end + (q - end) * 1e-9
        if inner not in (q, end):
            assert exact.kl(q, inner) <= c


@settings(max_examples=60, deadline=None)
@given(q=means, c=budgets, more=st.floats(0, 1))
def test_monotone(q, c, more):
    assert kl_upper(q, c * (1 + more)) >= kl_upper(q, c)
    assert kl_upper(q + (1 - q) * more, c) >= kl_upper(q, c) * (1 - 1e-15)
    assert kl_lower(q, c * (1 + more)) <= kl_lower(q, c)


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
