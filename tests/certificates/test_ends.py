"""Measures where runs end: read off as by hand, and bounded together as often as is said."""

import math

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from reference.descents import too_often
from reference.lines import Lines, by_hand
from reference.parabola import Parabola, Step
from scipy import stats

from steppe.certificates import audit_bounds, bounds, certify, ends, measured
from steppe.certificates.audit import recheck, verify
from steppe.certificates.ends import Ends, box, cuts
from steppe.certificates.measured import Measured
from steppe.certificates.runs import STREAM, AbstractRun, Metric, Runs
from steppe.core.episode import begin

NAMES = ("train-loss", "test-loss", "test-error", "gap", "trace", "top-eigenvalue", "squared-norm")
STEPS, RATE = 12, 0.4


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Where and when it was made takes six times as long as all else."""
    monkeypatch.setattr(certify, "environment", dict)


def gradient_steps(rate=RATE):
    return Step(jnp.log(jnp.asarray(rate)))


def instance_of(task, opt, seed, i):
    key = jr.split(jr.fold_in(jr.fold_in(jr.key(seed), STREAM), i), 3)[0]
    return begin(task, opt, key).instance


# Read off.


@pytest.fixture(scope="module")
def found():
    return Measured(Lines(), gradient_steps(), NAMES).run(5, range(3), STEPS)


def test_measures_at_the_end_are_those_by_hand(found):
    for i in range(3):
        right = by_hand(instance_of(Lines(), gradient_steps(), 5, i), RATE, STEPS)
        assert found.ends[i] == pytest.approx([right[-1][name] for name in NAMES], rel=1e-6)
        assert found.errors[i] == pytest.approx([x["train-loss"] for x in right], rel=1e-6)


def test_measures_at_a_training_loss_are_those_of_the_first_look_there(monkeypatch):
    monkeypatch.setattr(measured, "LOOKS", 4)  # one look every 3 steps
    right = [by_hand(instance_of(Lines(), gradient_steps(), 5, i), RATE, STEPS) for i in range(3)]
    level = right[0][5]["train-loss"]  # passed by the first run between two looks
    runs = Measured(Lines(), gradient_steps(), NAMES, at_loss=level).run(5, range(3), STEPS)
    for path, seen in zip(right, runs.ends, strict=True):
        there = [k for k in range(0, STEPS + 1, 3) if path[k]["train-loss"] <= level]
        expected = [path[there[0]][name] for name in NAMES] if there else [np.nan] * len(NAMES)
        assert seen == pytest.approx(expected, rel=1e-6, nan_ok=True)
    assert np.isnan(runs.ends).any()  # a run that does not come there
    assert runs.ends[0] == pytest.approx([right[0][6][name] for name in NAMES], rel=1e-6)


def test_what_diverges_is_at_infinity():
    run = Measured(Lines(), gradient_steps(1e200), ("test-loss", "squared-norm"))
    cert = certify.certify(run, steps=STEPS, levels=[0.5], n=20, delta=0.1)
    assert cert.claims[0]["bound"] == [None, None] and cert.diverged == 20
    assert "nothing about where 50 % of future tasks end: too many runs diverged" in cert.statement
    assert verify(cert) == []


def test_a_whole_certificate_and_its_runs_once_more():
    how = {"steps": STEPS, "levels": [0.5, 0.8], "n": 60, "delta": 0.1}
    cert = certify.certify(gradient_steps(), Lines(), metric=["gap", "trace"], **how)
    assert certify.certify(Measured(Lines(), gradient_steps(), ["gap", "trace"]), **how) == cert
    half, most = cert.claims
    assert (half["delta"], most["delta"]) == (0.05, 0.05)
    assert all(x < y for x, y in zip(half["bound"], most["bound"], strict=True))
    assert "80 % of future tasks end, after 12 iterations, with gap ≤ " in most["statement"]
    assert verify(cert) == []
    assert recheck(cert, Measured(Lines(), gradient_steps(), ["gap", "trace"])) == []
    other = recheck(cert, Measured(Lines(), gradient_steps(), ["gap", "top-eigenvalue"]))
    assert "of other measures than the runs have" in other[0]


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        (lambda: Measured(Lines(), gradient_steps(), ["tracee"]), "did you mean 'trace'"),
        (lambda: Measured(Lines(), gradient_steps(), "trace"), "must be a list"),
        (lambda: Measured(Lines(), gradient_steps(), ["gauss-newton"]), "a model and a criterion"),
        (lambda: Measured(Parabola(), gradient_steps(), ["gap"]), "of test examples"),
        (lambda: Measured(Lines(), gradient_steps(), ["gap"], at_loss=math.nan), "training loss"),
        (lambda: Ends(0.5, ()), "1 to 20 metrics"),
        (lambda: Ends(0.5, (Metric("a", ""), Metric("a", ""))), "have one name"),
        (lambda: certify.as_run(gradient_steps(), Lines(), "gap", 0.1), "at_loss is of measures"),
    ],
)
def test_refused_in_a_sentence(run, sentence):
    with pytest.raises(ValueError, match=sentence):
        run()


def test_levels_alone_and_enough_tasks():
    run = Planted("apart")
    with pytest.raises(ValueError, match="take levels alone"):
        certify.certify(run, steps=1, tolerances=[0.1])
    with pytest.raises(ValueError, match=r"Ends\(0.9, gap, trace\) .* least 38"):  # 22 for one
        certify.certify(run, steps=1, levels=[0.9], delta=0.1, n=22)
    assert bounds.min_samples(0.9, 0.1, 2) == 38
    assert stats.binom.sf(36, 38, 0.9) <= 0.1 < stats.binom.sf(35, 37, 0.9)


# Bounded together.


class Planted(AbstractRun):
    """Pairs of measures whose joint law is known."""

    metric = Metric("loss", "made up")
    measures = (Metric("gap", "x", signed=True), Metric("trace", "y"))

    def __init__(self, law: str):
        self.law = law

    def run(self, seed, which, steps):
        rng = np.random.default_rng((seed, which.start))
        u, v = rng.uniform(size=(2, len(which)))
        pairs = {
            "apart": (u, v),
            "alike": (u, u),
            "opposite": (u, 1 - u),
            "few values": (np.ceil(4 * u), np.ceil(4 * v)),
            "lost": (np.where(v > 0.95, np.nan, u), np.where(v > 0.95, np.inf, v)),
        }
        ends = np.stack(pairs[self.law], axis=-1)
        return Runs(np.zeros((len(which), steps + 1)), [], "", None, ends)

    def described(self):
        return {"optimizer": {"name": "planted"}, "tasks": {"name": self.law}}


def share(law: str, bound: list) -> float:
    """P[gap ≤ bound and trace ≤ bound]."""
    x, y = (math.inf if b is None else b for b in bound)
    inside = lambda z: min(max(z, 0.0), 1.0)
    return {
        "apart": lambda: inside(x) * inside(y),
        "alike": lambda: inside(min(x, y)),
        "opposite": lambda: max(0.0, inside(x) + inside(y) - 1),
        "few values": lambda: inside(math.floor(min(x, 4)) / 4) * inside(math.floor(min(y, 4)) / 4),
        "lost": lambda: (
            1.0 if x == y == math.inf else 0.95 * inside(x) * inside(min(y, 0.95) / 0.95)
        ),
    }[law]()


REPEATS, N, LEVEL, DELTA = 1000, 60, 0.8, 0.1


def violations(law: str) -> int:
    made = (
        certify.certify(Planted(law), steps=1, levels=[LEVEL], n=N, delta=DELTA, seed=seed)
        for seed in range(REPEATS)
    )
    return sum(share(law, cert.claims[0]["bound"]) < LEVEL - 1e-12 for cert in made)


@pytest.mark.parametrize("law", ["apart", "alike", "opposite", "few values", "lost"])
def test_wrong_no_more_often_than_delta(law):
    """And of continuous laws just as often as the Beta law of the share says, whichever it is."""
    count = cuts(LEVEL, N, DELTA)
    exact = stats.beta.cdf(LEVEL, N + 1 - count, count)
    assert exact <= DELTA < stats.beta.cdf(LEVEL, N - count, count + 1)
    wrong = violations(law)
    assert not too_often(wrong, REPEATS, DELTA)
    if law in ("apart", "alike", "opposite"):
        assert abs(wrong - REPEATS * exact) < 4 * math.sqrt(REPEATS * exact * (1 - exact))


def test_a_box_without_correction_is_caught(monkeypatch):
    each = lambda values, count: tuple(np.sort(values, axis=0)[-count].tolist())
    monkeypatch.setattr(ends, "box", each)  # every measure by an order statistic of its own
    assert too_often(violations("opposite"), REPEATS, DELTA)
    assert too_often(violations("apart"), REPEATS, DELTA)


def test_one_run_too_many_set_aside_is_caught(monkeypatch):
    monkeypatch.setattr(ends, "cuts", lambda level, n, delta: cuts(level, n, delta) + 2)
    assert too_often(violations("alike"), REPEATS, DELTA)


# The check by other code.


@pytest.mark.parametrize("seed", range(40))
def test_the_auditor_finds_the_same_box_and_no_other(seed):
    rng = np.random.default_rng(seed)
    n, wide = int(rng.integers(30, 80)), int(rng.integers(1, 5))
    values = rng.choice(rng.normal(size=6).round(1), (n, wide))
    values[rng.uniform(size=values.shape) < 0.05] = np.inf
    level, delta = float(rng.choice([0.3, 0.5, 0.8])), float(rng.choice([0.3, 0.05]))
    known = lambda x: None if np.isinf(x) else float(x)
    bound = list(map(known, box(values, cuts(level, n, delta))))
    rows = [list(map(known, row)) for row in values]
    assert audit_bounds.of_box(bound, rows, level, delta)
    for j, x in enumerate(bound):
        for other in [0.0, 1e9] if x is None else [None, x - 0.1, x + 0.1]:
            wrong = [*bound[:j], other, *bound[j + 1 :]]
            assert not audit_bounds.of_box(wrong, rows, level, delta)


def test_of_one_measure_it_is_the_order_statistic():
    values = np.random.default_rng(0).normal(size=(50, 1))
    rank = bounds.order_rank(0.8, 50, 0.1)
    assert box(values, cuts(0.8, 50, 0.1)) == (np.sort(values[:, 0])[rank - 1],)
    assert cuts(0.99, 50, 0.1) == 0 and box(values, 0) == (math.inf,)
