"""M1 to M7 of docs/theory.md: wrong versions are seen, and the page has the numbers of the rows."""

import itertools
import math
import re
from pathlib import Path

import jax.random as jr
import numpy as np
import pytest
from scipy import stats

from steppe.certificates import bounds, pac_bayes, transfer
from steppe.studies.theory import carry_over, promise, tasks, to_test_loss

PAGE = Path(__file__).parents[2] / "docs" / "theory.md"


def failed(part) -> set[str]:
    return {row.name for row in part.rows(jr.key(0)) if not row.holds}


# Wrong versions.


def test_a_price_that_is_left_out_is_seen(monkeypatch):
    right = pac_bayes.budget
    monkeypatch.setattr(pac_bayes, "budget", lambda kl, n, delta: right(0.0, n, delta))
    assert failed(carry_over) == {"E6.2", "E6.8"}  # E6.8 compares M2 with a bound that is none
    monkeypatch.setattr(pac_bayes, "budget", lambda kl, n, delta: 1e-9)
    assert {"E6.2", "E6.3"} <= failed(carry_over)
    assert {"E7.3", "E7.4"} <= failed(to_test_loss)


def test_a_share_that_forgets_the_threshold_is_seen(monkeypatch):
    monkeypatch.setattr(transfer, "share_above", lambda mean, threshold: mean)
    assert failed(carry_over) == {"E6.4"}


def test_a_gibbs_posterior_that_pays_nothing_is_seen(monkeypatch):
    right = transfer.gibbs_budget
    monkeypatch.setattr(transfer, "gibbs_budget", lambda rate, n, delta: right(0.0, n, delta))
    assert "E6.6" in failed(carry_over)
    monkeypatch.setattr(transfer, "gibbs_budget", lambda rate, n, delta: 1e-9)
    assert {"E6.6", "E6.7"} <= failed(carry_over)


def test_a_mean_moves_by_its_range_over_n(monkeypatch):
    best, n = np.array([-2.0, 0.5, 1.0]), 4
    for drawn in itertools.product(range(3), repeat=n):
        for other in range(3):
            moved = best[[*drawn[1:], other]].mean() - best[[*drawn]].mean()
            assert abs(moved) <= carry_over.moved_by(best) / n + 1e-12
    monkeypatch.setattr(carry_over, "moved_by", lambda best: np.ptp(best) / 10)
    assert {"E6.10", "E6.11"} <= failed(carry_over)


@pytest.mark.parametrize("name, row", [("worst_shift", "E7.1"), ("average_shift", "E7.2")])
def test_half_of_the_curvature_is_not_enough(monkeypatch, name, row):
    right = getattr(transfer, name)
    half = lambda loss, *more, **how: right(loss, *more[:-1], more[-1] / 2, **how)
    monkeypatch.setattr(transfer, name, half)
    assert failed(to_test_loss) == {row}


def test_a_training_error_without_its_price_is_no_bound(monkeypatch):
    monkeypatch.setattr(to_test_loss, "price", lambda divergence: 0.0)
    assert "E7.6" in failed(to_test_loss)


def test_a_penalty_of_the_wrong_sign_is_seen(monkeypatch):
    right = promise.picked
    monkeypatch.setattr(promise, "picked", lambda loss, flat, rho: right(loss, flat, -rho))
    assert {"E8.1", "E8.3", "E8.4", "E8.8"} <= failed(promise)


def test_the_flattest_of_many_is_flat_by_luck():
    """Chances of the rows, by adding up all outcomes of three members on three tasks."""
    p, n, members = 0.3, 3, 3
    for most in (0, 1, 2):
        seen = 0.0
        for sharp in itertools.product(range(n + 1), repeat=members):
            seen += math.prod(stats.binom.pmf(sharp, n, p)) * (min(sharp) <= most)
        assert tasks.chance_of_a_lucky_one(members, n, p, most) == pytest.approx(seen)
    assert tasks.chance_of_a_lucky_one(members, n, p, -1) == 0


# Families.


def test_runs_of_the_family_are_gradient_descent_and_end_where_short_steps_are_sharp():
    runs = tasks.descents()
    for i, k in ((10, 0), (40, 1), (30, 2)):
        w = np.array(tasks.STARTS[k])
        for _ in range(tasks.RUN):
            w = w - np.exp(runs.phi[i]) * (w[0] * w[1] - 1) * w[::-1]
        assert runs.ends[:, i, k] == pytest.approx(w)
        a, b = w
        H = np.array([[b * b, 2 * a * b - 1], [2 * a * b - 1, a * a]])
        assert runs.flat[i, k] * tasks.CLIP == pytest.approx(np.linalg.eigvalsh(H)[-1])
        assert runs.loss[i, k] * tasks.LOSS == pytest.approx((a * b - 1) ** 2 / 2)
    assert runs.flat[0, 0] > 3 * runs.flat[:, 0].min() and runs.flat[-1, 0] == 1  # it diverges


def test_outcomes_are_all_and_cells_are_the_whole_law():
    seen, chance = tasks.counts(5, np.array(tasks.CHANCE))
    assert len(seen) == math.comb(7, 2) and chance.sum() == pytest.approx(1)
    assert chance @ seen == pytest.approx(5 * np.array(tasks.CHANCE))
    cells = tasks.gaussian_cells(np.array([-3.0, 9.0]), np.array([0.1, 1.0]))
    assert cells.sum(axis=1) == pytest.approx([1, 1]) and cells[1, -1] == pytest.approx(1)


# Functions.


def test_budgets_are_their_formulas():
    n, delta, log = 50, 0.02, math.log(2 * math.sqrt(50) / 0.02)
    assert transfer.gibbs_budget(0.0, n, delta) == pytest.approx(log / n)
    assert transfer.gibbs_budget(7.0, n, delta) == pytest.approx((log**0.5 + 0.7) ** 2 / n)
    far = 1 + math.sqrt(math.log(2 / delta))
    paid = (3 * far) ** 2 / (4 * 0.25 * n) + math.log(4 * math.sqrt(n) / delta)
    assert transfer.stable_budget(3.0, 0.5, n, delta) == pytest.approx(paid / n)
    assert transfer.mean_on_new_tasks(5.0, 0.1, 20.0) == 20 * bounds.kl_upper(0.25, 0.1)
    assert transfer.share_above(2.0, 1.0) == 1 and transfer.share_above(2.0, 8.0) == 0.25


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda: transfer.unit([1.0], 0.0), "clip must be a positive number, got 0"),
        (lambda: transfer.mean_on_new_tasks(3.0, 0.1, 2.0), r"in \[0, 1\], got 1.5"),
        (lambda: transfer.mean_on_new_tasks(0.3, -0.1), "must not be negative"),
        (lambda: transfer.share_above(0.3, math.nan), "a positive number, got nan"),
        (lambda: transfer.gibbs_budget(-1.0, 50, 0.1), "must not be negative, got -1"),
        (lambda: transfer.gibbs_budget(1.0, 7, 0.1), "at least 8 tasks, got 7"),
        (lambda: transfer.gibbs_budget(1.0, 50, 1.0), r"in \(0, 1\)"),
        (lambda: transfer.stable_budget(1.0, 0.0, 50, 0.1), "spread must be a positive number"),
        (lambda: transfer.stable_budget(-1.0, 0.5, 50, 0.1), "is not negative, got -1"),
    ],
)
def test_refused_in_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


# The page.


def test_numbers_of_the_page_are_those_of_the_rows():
    rows = {r.name: r for part in (carry_over, promise) for r in part.rows(jr.key(0))}
    said = {
        "E6.8": ("0.206", "0.211"),
        "E6.9": ("0.514", "0.564"),
        "E6.13": ("0.086", "0.137"),
        "E8.5": ("0.1", "0.54"),
        "E8.6": ("0.0015", "0.1"),
        "E8.8": ("4.25", "5.65"),
        "E8.9": ("0.00028", "0.00105"),
        "E8.10": ("0.096", "0.117"),
    }
    text = PAGE.read_text(encoding="utf-8").partition("## From meta-training to new tasks")[2]
    for name, numbers in said.items():
        for shown, value in zip(numbers, (rows[name].computed, rows[name].expected), strict=True):
            digits = len(shown.partition(".")[2])
            assert f"{value:.{digits}f}" == shown, name
            assert re.search(rf"(?<![\d.]){re.escape(shown)}(?!\d)", text), f"{name}: {shown}"
