"""The averages of recovery errors, by hand."""

import math

import numpy as np
import pytest

from steppe.evaluation.recovery import Recovery, decibels, recovery


def numbers(found: Recovery) -> list[float | None]:
    return [found.vectors, found.mean_db, found.aggregate_db, found.success, found.nonfinite]


TRUTH = np.array([[3.0, 4.0], [0.0, 1.0], [0.0, 0.0]])


def test_both_averages_success_and_what_is_not_finite():
    x = TRUTH + np.array([[0.05, 0.0], [0.0, 1e-4], [0.0, 0.1]])
    # −40 dB, −80 dB, and −20 dB of a truth 0, whose size counts as 1
    assert decibels(x, TRUTH) == pytest.approx([-40, -80, -20])
    aggregate = 10 * math.log10((0.05**2 + 1e-8 + 0.01) / 26)
    assert numbers(recovery(x, TRUTH)) == pytest.approx([3, -140 / 3, aggregate, 1 / 3, 0])


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e200])
def test_a_vector_that_explodes_is_counted_and_no_success(bad):
    x = TRUTH.copy()
    x[1, 0] = bad
    x[0] += [0.05, 0.0]
    assert numbers(recovery(x[:2], TRUTH[:2])) == pytest.approx([2, -40, -40, 0, 1])
    assert recovery(x[1:2], TRUTH[1:2]) == Recovery(1, None, None, 0.0, 1)


def test_a_few_bad_vectors_are_seen_in_the_aggregate_alone():
    truth = np.eye(100)
    x = truth + 1e-5 * np.eye(100)[::-1]
    x[0] += 100.0
    found = recovery(x, truth)
    assert found.mean_db is not None and found.mean_db < -95
    assert found.aggregate_db is not None and found.aggregate_db > 35 and found.success == 0.99


def test_exact_is_finite_and_the_floor_is_an_option():
    assert recovery(TRUTH, TRUTH) == Recovery(3, -300.0, -300.0, 1.0, 0)
    assert recovery(TRUTH, TRUTH, floor=-90) == Recovery(3, -90.0, -90.0, 1.0, 0)


@pytest.mark.parametrize(
    ("x", "truth", "words"),
    [
        (TRUTH[0], TRUTH[0], r"one shape \(vectors, n\), got \(2,\) and \(2,\)"),
        (TRUTH, TRUTH[:2], r"got \(3, 2\) and \(2, 2\)"),
        (TRUTH[:0], TRUTH[:0], r"got \(0, 2\)"),
        (TRUTH, TRUTH * math.nan, "truth has entries that are not finite"),
    ],
)
def test_bad_arrays_are_refused(x, truth, words):
    with pytest.raises(ValueError, match=words):
        recovery(x, truth)


def test_a_floor_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="recovery: floor must be a finite number, got nan"):
        recovery(TRUTH, TRUTH, floor=math.nan)
