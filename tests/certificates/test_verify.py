"""verify: what `certify` writes is borne out, whatever was asked of it and whatever came out."""

import dataclasses
import time

import mpmath
import numpy as np
import pytest
from reference import binomial as exact

from steppe.certificates import audit_bounds, bounds, certify, load, verify
from steppe.certificates.audit import statement
from steppe.certificates.bounds import METHODS
from steppe.certificates.claims import Holds, Iterations, MeanIterations, Quantile, Success
from steppe.certificates.ends import Ends
from steppe.certificates.runs import AbstractRun, Calls, Metric, Runs


class Made(AbstractRun):
    """Errors out of a generator: rising, falling, equal, missing."""

    def __init__(self, seed: int, signed: bool, dtype: str):
        self.seed, self.dtype = seed, dtype
        self.metric = Metric("error", "made up", signed=signed)
        self.measures = (Metric("gap", "made up", signed=True), Metric("trace", "made up"))

    def run(self, seed, which, steps):
        rng = np.random.default_rng((self.seed, seed, which.start))
        shape = (len(which), steps + 1)
        errors = 10.0 ** rng.integers(-7, 3, shape) * rng.choice([1.0, 2.5], shape)
        if rng.uniform() < 0.5:
            errors = np.minimum.accumulate(errors, axis=1)
        errors = errors * rng.choice([0, 1], shape, p=[0.1, 0.9])
        if self.metric.signed:
            errors = errors * rng.choice([-1, 1], shape)
        for strange in (np.nan, np.inf, -np.inf):
            errors[rng.uniform(size=shape) < rng.choice([0, 0, 0.02])] = strange
        lost = ~np.isfinite(errors).all(axis=1, keepdims=True)
        found = rng.integers(0, 9, (len(which), 2)) / 4 - [1, 0]
        return Runs(errors, [], self.dtype, None, np.where(lost, np.nan, found))

    def described(self):
        return {"optimizer": {"name": "none"}, "tasks": {"name": "made up"}}


def claims_of(rng, steps: int, signed: bool, measures: tuple[Metric, ...]) -> list:
    """Some claims of every type, about few tolerances, so that they speak of the same runs."""
    tolerances = [1e-6, 0.01, 0.123456789, 2.5, 100.0] + [-1.0] * signed
    tolerance = lambda: float(rng.choice(tolerances))
    k = lambda: int(rng.integers(0, steps + 1))
    level = lambda: float(rng.choice([0.1, 0.25, 0.5, 1 / 3]))
    way = lambda: str(rng.choice(["first_hit", "stay"]))
    makers = [
        lambda: Success(tolerance(), k()),
        lambda: Holds("it never rises", lambda e: bool(np.all(e[1:] <= e[:-1]))),
        lambda: Quantile(level(), k()),
        lambda: Iterations(level(), tolerance(), way()),
        lambda: MeanIterations(tolerance(), way()),
        lambda: Ends(level(), measures),
    ]
    found = [makers[rng.integers(len(makers))]() for _ in range(rng.integers(1, 8))]
    return list(dict.fromkeys(found))


def honest(seed: int):
    """A certificate of a plan that a seed draws, and what was asked for; None if it is refused."""
    rng = np.random.default_rng(seed)
    signed, steps = bool(rng.integers(2)), int(rng.integers(1, 6))
    run = Made(seed, signed, str(rng.choice(["", "float32", "float64"])))
    how = {
        "steps": steps,
        "claims": claims_of(rng, steps, signed, run.measures),
        "delta": float(rng.choice([1e-290, 1e-8, 0.01, 0.1, 0.25, 0.45, 0.9, 1 - 1e-12])),
        "n": int(rng.choice([1, 2, 7, 30, 200])),
        "method": str(rng.choice(METHODS)),
        "simultaneous": str(rng.choice(["grid", "pointwise", "uniform"])),
        "candidates": int(rng.choice([1, 1, 3, 10**6])),
        "stage": [None, None, 1, 3][rng.integers(4)],
        "repeats": True,
        "batch": int(rng.choice([1, 50, 1000])),
    }
    try:
        return certify.certify(run, **how), how
    except ValueError as error:
        wanted = ("cannot be certified", "needs delta ≤ 0.5", "say nothing together")
        assert any(words in str(error) for words in wanted), error
        return None


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Where and when it was made takes six times as long as all else."""
    monkeypatch.setattr(certify, "environment", dict)


@pytest.mark.parametrize(
    "seeds",
    [range(60), pytest.param(range(60, 3000), marks=pytest.mark.slow)],
    ids=["sixty", "thousands"],
)
def test_what_certify_writes_is_borne_out(seeds, tmp_path):
    issued = 0
    for seed in seeds:
        if (made := honest(seed)) is None:
            continue
        cert, how = made
        issued += 1
        assert verify(cert) == [], how
        if seed % 10 == 0:
            read = load(cert.save(tmp_path / "c.json"))
            assert read == cert and read.digest == cert.digest and verify(read) == [], how
    assert issued > len(seeds) / 2


# The other code: against 60 digits, and at any size.


@pytest.mark.parametrize("n", [1, 2, 9, 40])
def test_tails_are_those_of_sixty_digits(n):
    for p in (1e-12, 0.01, 0.3, 0.5, 0.97, 1 - 2**-40):
        for k in range(n):
            right = exact.at_most(k, n, p)
            found = audit_bounds.log_at_most(k, n, p)
            assert found == pytest.approx(float(mpmath.log(right)), rel=1e-12, abs=1e-13)
            above = audit_bounds.log_at_least(k + 1, n, p)
            if 1 - right < 1e-30:
                continue  # 60 digits do not tell the rest
            assert above == pytest.approx(float(mpmath.log(1 - right)), rel=1e-11, abs=1e-13)


@pytest.mark.parametrize(("q", "p"), [(0.0, 1e-9), (0.3, 0.3 + 1e-9), (0.5, 1 - 1e-16), (1.0, 0.2)])
def test_entropy_is_that_of_sixty_digits(q, p):
    assert audit_bounds.entropy(q, p) == pytest.approx(float(exact.kl(q, p)), rel=1e-15)


@pytest.mark.parametrize("n", [50, 10**4, 10**7])
@pytest.mark.parametrize("delta", [1e-100, 1e-3, 0.5, 1 - 1e-6])
def test_bounds_are_borne_out_and_no_others(n, delta):
    for failures in {0, 1, n // 10, n // 2, n - 1}:
        bound = bounds.clopper_pearson(failures, n, delta)
        borne = lambda x: audit_bounds.of_failures(x, failures, n, delta, "clopper_pearson")  # noqa: B023
        assert borne(bound)
        if bound < 1 - 1e-6 and delta < 0.9:
            off = (1e-9 if n < 10**5 else 1e-6) * bound * (1 - bound)
            assert not borne(bound - off) and not borne(bound + off)
    values = [(float(i), n // 50) for i in range(50)]
    rank = bounds.order_rank(0.5, n, delta)
    if rank is not None:
        place = (rank - 1) // (n // 50)
        of = lambda i: audit_bounds.of_order(values[i][0], values, 0.5, n, delta)
        assert of(place) and not (place and of(place - 1)) and not (place < 49 and of(place + 1))


def test_a_large_sample_costs_little():
    """A tail of ten million runs: some thousands of terms, not all."""
    start = time.process_time()
    for i in range(20):
        audit_bounds.log_at_most(10**6 - 10**3 + i, 10**7, 0.1)
    assert time.process_time() - start < 1


# Words.


@pytest.mark.parametrize("delta", [1e-300, 1e-18, 1e-9])
def test_certainty_is_never_said(delta):
    cert = certify.certify(Made(0, False, ""), steps=2, claims=[Success(1e9, 1)], n=40, delta=delta)
    assert cert.statement.startswith("With confidence 99.9999 %")
    sure = dataclasses.replace(cert, claims=[cert.claims[0] | {"bound": 1e-300}])
    assert "100 %" not in statement(sure) and "at least 99.9999 % of" in statement(sure)
    assert "100 %" not in Quantile(1 - 2**-53, 1).statement(0.1, "loss", 2)


def test_a_tolerance_is_rounded_up():
    assert "loss ≤ 0.123457 " in Success(0.12345649, 3).statement(0.1, "loss", 3)
    assert "loss ≤ 0.1 " in Success(0.1, 3).statement(0.1, "loss", 3)
    assert "gain ≤ -12.3456 " in Success(-12.34564, 3).statement(0.1, "gain", 3)


def test_the_statement_of_many_claims_can_be_read_again(tmp_path):
    claims = [Success(1.0, k) for k in range(500)]
    cert = certify.certify(Made(0, False, ""), steps=500, claims=claims, n=5, delta=0.5)
    assert verify(load(cert.save(tmp_path / "c.json"))) == []


def test_a_file_that_could_not_be_read_again_is_refused_before_anything_runs():
    never = Calls(lambda rng: pytest.fail("it ran"))
    with pytest.raises(ValueError, match="could come to 3,000,520 numbers"):
        certify.certify(never, steps=10, claims=[Quantile(0.5, 3)], n=10**6)
    for strange in ({"a": float("nan")}, {"a": object()}, {"a": "\ud800"}, {"a\n": 1}):
        run = Made(0, False, "")
        run.measures = ()
        run.described = lambda strange=strange: {"optimizer": strange, "tasks": {}}
        run.run = never.run
        with pytest.raises(ValueError, match="The description of a run"):
            certify.certify(run, steps=2, tolerances=[0.1], n=9)
