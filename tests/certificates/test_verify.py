"""verify: what `certify` writes is borne out, whatever was asked of it and whatever came out."""

import numpy as np
import pytest

from steppe.certificates import certify, load, verify
from steppe.certificates.bounds import METHODS
from steppe.certificates.claims import Holds, Iterations, MeanIterations, Quantile, Success
from steppe.certificates.runs import AbstractRun, Metric, Runs


class Made(AbstractRun):
    """Errors out of a generator: rising, falling, equal, missing."""

    def __init__(self, seed: int, signed: bool, dtype: str):
        self.seed, self.dtype = seed, dtype
        self.metric = Metric("error", "made up", signed=signed)

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
        return Runs(errors, [], self.dtype)

    def described(self):
        return {"optimizer": {"name": "none"}, "tasks": {"name": "made up"}}


def claims_of(rng, steps: int, signed: bool) -> list:
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
        "claims": claims_of(rng, steps, signed),
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
