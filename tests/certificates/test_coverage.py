"""Certificates keep their word where the truth is known, and false ones are caught."""

import functools
import math

import numpy as np
import pytest
from reference import descents
from reference.descents import STEPS, false, solve, too_often

from steppe.certificates import bounds, certify
from steppe.certificates.claims import Iterations, Quantile, Success
from steppe.certificates.runs import AbstractRun, Calls, Runs

REPEATS, N, DELTA = 1000, 50, 0.1
CLAIMS = {
    "success": {"tolerances": [1e-2], "at": [20]},
    "quantile": {"levels": [0.8], "at": [10]},
    "iterations": {"claims": [Iterations(0.8, 1e-3)]},
    "stay": {"claims": [Iterations(0.8, 1e-3, "stay")]},
    "grid": {
        "claims": [
            *(Success(e, k) for e in (1e-1, 1e-2, 1e-3) for k in (5, 20)),
            Quantile(0.5, 10),
            Iterations(0.5, 1e-3),
        ]
    },
    "uniform": {
        "claims": [Success(e, 20) for e in np.logspace(-6, -0.1, 40)],
        "simultaneous": "uniform",
    },
}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Where and when it was made takes six times as long as all else."""
    monkeypatch.setattr(certify, "environment", dict)


@functools.cache
def runs(seed: int, which: range, steps: int) -> Runs:
    return Calls(solve).run(seed, which, steps)


class Kept(AbstractRun):
    """The runs of `solve`, made once for all tests: they are most of the time."""

    metric = Calls(solve).metric

    def run(self, seed, which, steps):
        return runs(seed, which, steps)

    def described(self):
        return Calls(solve).described()


@pytest.fixture(scope="module", autouse=True)
def forgotten_at_the_end():
    yield
    runs.cache_clear()


def violations(repeats=REPEATS, **how):
    made = (
        certify.certify(Kept(), steps=STEPS, seed=seed, delta=DELTA, n=N, **how)
        for seed in range(repeats)
    )
    return sum(any(false(claim) for claim in cert.claims) for cert in made)


@pytest.mark.parametrize("name", CLAIMS)
def test_wrong_no_more_often_than_delta(name):
    assert not too_often(violations(**CLAIMS[name]), REPEATS, DELTA)


def test_looking_again_and_again_is_paid_for():
    """Three looks, at 20, 40 and 80 tasks: any wrong one counts."""
    wrong = 0
    for seed in range(400):
        looks = [
            certify.certify(
                solve, steps=STEPS, seed=seed, delta=DELTA, n=20, stage=stage, **CLAIMS["success"]
            )
            for stage in (1, 2, 3)
        ]
        assert [cert.n for cert in looks] == [20, 40, 80]
        wrong += any(false(cert.claims[0]) for cert in looks)
    assert not too_often(wrong, 400, DELTA)


def test_the_quantile_of_the_sample_is_caught(monkeypatch):
    monkeypatch.setattr(bounds, "order_rank", lambda level, n, delta: math.ceil(level * n))
    assert too_often(violations(**CLAIMS["quantile"]), REPEATS, DELTA)
    assert too_often(violations(**CLAIMS["iterations"]), REPEATS, DELTA)


def test_a_delta_ten_times_too_large_is_caught(monkeypatch):
    honest = bounds.clopper_pearson
    monkeypatch.setattr(
        bounds, "clopper_pearson", lambda f, n, delta: honest(f, n, min(0.99, 10 * delta))
    )
    assert too_often(violations(**CLAIMS["success"]), REPEATS, DELTA)


def test_the_closed_form_is_that_of_the_runs():
    errors = np.stack([solve(np.random.default_rng(seed)) for seed in range(4000)])
    for x, k in ((1e-2, 20), (1e-1, 5), (1e-3, 30)):
        seen = np.mean(errors[:, k] <= x)
        assert seen == pytest.approx(descents.share(x, k), abs=4 * 0.5 / math.sqrt(4000))
