"""docs/theory.md: the table of checks holds and can fail, and each statement has its test."""

import ast
import re
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.stats import beta, binom, norm

from steppe.flatness.gradient import GradNorm
from steppe.flatness.hessian import HessianTrace, LogDet, TopEigenvalue
from steppe.flatness.units import Relative
from steppe.studies.theory import bounds, oracle, table
from steppe.studies.theory.row import at_most, equal, within

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


@pytest.fixture(scope="module")
def rows():
    return [row for _, part in table.parts(jr.key(0)) for row in part]


# The table


def test_every_check_holds(rows):
    assert len(rows) == 63
    assert [row for row in rows if not row.holds] == []


def test_rows_are_numbered_in_order_and_fit_their_line(rows):
    parts = [tuple(map(int, row.name[1:].split("."))) for row in rows]
    assert parts == sorted(set(parts)) and {part for part, _ in parts} == {*range(1, 9)}
    assert max(len(row.statement) for row in rows) <= 48


def test_a_factor_of_two_in_the_flatness_term_is_seen(monkeypatch):
    right = bounds.free_energy.quadratic

    def wrong(value, gradient, hessian, *, gamma, temperature):
        return right(value, gradient, hessian, gamma=gamma, temperature=2 * temperature)

    monkeypatch.setattr(bounds.free_energy, "quadratic", wrong)
    failed = {row.name for part in table.PARTS[:1] for row in part.rows(jr.key(0)) if not row.holds}
    assert failed == {"E1.1", "E1.2"}
    seen = {row.name: row.holds for row in bounds.rows(jr.key(0))}
    assert not seen["E4.3"]


def test_the_worst_pair_is_shown_and_nan_does_not_hold():
    row = equal("E", "", [1.0, 2.2, 3.0], [1.0, 2.0, 3.0], relative=0.05)
    assert (row.computed, row.expected, row.holds) == (2.2, 2.0, False)
    assert row.error == pytest.approx(0.1)
    # An entry of a vector is off by so much of the largest one.
    assert equal("E", "", [[1e-9, 2.0]], [[0.0, 2.0]], relative=1e-9).error == 5e-10
    assert not equal("E", "", [1.0, np.nan], [1.0, 1.0], relative=1.0).holds
    row = at_most("E", "", [0.0, 3.0, 1.0], 2.0)
    assert (row.computed, row.error, row.holds) == (3.0, 0.5, False)
    assert at_most("E", "", 2.0, 2.0).holds
    assert not at_most("E", "", np.nan, 2.0).holds
    samples = np.random.default_rng(0).normal(1.0, 2.0, (400, 3))
    row = within("E", "", samples, 1.0)
    assert row.holds and row.tolerance == pytest.approx(4 * 2 / 20, rel=0.1)
    assert not within("E", "", samples, [1.0, 1.5, 1.0]).holds
    assert not within("E", "", np.full((4, 2), np.nan), 1.0).holds


def test_checks_run_in_float64_where_float32_is_the_rule():
    with jax.enable_x64(False):
        [*_], part = next(table.parts(jr.key(0)))
        assert all(row.holds for row in part)
        assert jnp.zeros(()).dtype == jnp.float32


# The page


@cache
def statements() -> dict[str, str]:
    """Label → text of every statement of the page: a heading "### B1. …" and what follows."""
    page = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")
    parts = re.split(r"^### ([A-Z]\d)\. ", page, flags=re.M)
    end = lambda text: re.split(r"^##? ", text, maxsplit=1, flags=re.M)[0]
    return dict(zip(parts[1::2], map(end, parts[2::2]), strict=True))


def test_every_statement_names_a_test_that_exists():
    assert {"B1", "B5", "G1", "G4", "M1", "M2", "M3", "M4", "M5", "M6", "M7"} <= set(statements())
    for label, text in statements().items():
        named = NAME.findall(text.partition("Checked by")[2])
        assert named, f"{label} names no test"
        for file, test in named:
            source = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            there = {node.name for node in source.body if isinstance(node, ast.FunctionDef)}
            assert test in there, f"{label}: {file} has no {test}"


def test_every_row_is_named_by_a_statement_and_the_other_way_round(rows):
    named = {row for text in statements().values() for row in re.findall(r"E\d\.\d+", text)}
    assert named == {row.name for row in rows}


# Statements that no other file tests


GAMMA, TAU = 1.7, 0.6


def double_well(w):
    return (w**2 - 1) ** 2 + 0.2 * w


def free_energy(theta, f=double_well):
    return oracle.gibbs(f, theta, gamma=GAMMA, temperature=TAU).free_energy


def test_slope_and_curvature_of_the_free_energy_are_moments_of_the_gibbs_law():
    for theta in (-0.8, 0.1, 1.3):
        law = oracle.gibbs(double_well, theta, gamma=GAMMA, temperature=TAU)
        mean = law.mean(law.points)
        variance = law.mean((law.points - mean) ** 2)
        h = 1e-3
        low, here, high = (free_energy(theta + step) for step in (-h, 0, h))
        assert (high - low) / (2 * h) == pytest.approx(GAMMA * (theta - mean), abs=1e-5)
        curvature = (high - 2 * here + low) / h**2
        assert curvature == pytest.approx(GAMMA - GAMMA**2 / TAU * variance, abs=1e-4)


def test_flatness_term_goes_from_trace_to_volume():
    lam = np.array([0.3, 1.0, 4.0])
    term = lambda gamma: np.sum(np.log1p(lam / gamma)) / 2
    assert term(1e6) == pytest.approx(lam.sum() / 2e6, rel=1e-5)
    volume = np.sum(np.log(lam)) / 2 - 3 / 2 * np.log(1e-6)
    assert term(1e-6) == pytest.approx(volume, abs=1e-5)


def test_without_a_floor_a_second_basin_breaks_the_bound():
    sharp = lambda w: 0.5 * 50 * (w * (1 - w)) ** 2  # f″ = 50 at both minima, 0 and 1
    excess = oracle.gibbs(sharp, 0.0, gamma=1.0, temperature=1.0).free_energy
    assert np.expm1(2 * excess) < 50 / 2


def test_a_shifted_loss_rises_by_what_curvature_allows():
    rng = np.random.default_rng(0)
    n, M = 4, 0.7
    W = rng.normal(size=(n, n))
    H = W @ W.T / n
    f = lambda w: (
        0.5 * np.sum(w @ H * w, -1) + M * np.sum(np.sin(w) - w, -1)
    )  # H(0) = H, M-Lipschitz
    lam, U = np.linalg.eigh(H)
    for r in (0.1, 0.5):
        s = rng.normal(size=(2000, n))
        s = r * np.concatenate([s / np.linalg.norm(s, axis=1, keepdims=True), U.T, -U.T])
        rise = f(s)  # f(0) = 0
        slack = M * r**3 / 6
        assert np.all(np.abs(rise - 0.5 * np.sum(s @ H * s, -1)) <= slack + 1e-14)
        assert rise.max() <= lam[-1] * r**2 / 2 + slack
        assert rise.min() >= lam[0] * r**2 / 2 - slack
        assert rise.max() >= lam[-1] * r**2 / 2 - slack  # the worst shift is reached
        isotropic = np.concatenate([r * U.T, -r * U.T])
        average = f(isotropic).mean()
        assert abs(average - r**2 / (2 * n) * np.trace(H)) <= slack


def kl(p, q):
    """Of coins with these chances of heads."""
    term = lambda a, b: np.where(a == 0, 0, a * np.log(np.where(a == 0, 1, a) / b))
    return term(p, q) + term(1 - p, 1 - q)


def test_mean_exponential_of_the_divergence_of_a_sample_is_at_most_2_sqrt_n():
    """E e^{n kl(k/n ‖ p)} = Σ_k (n choose k) (k/n)^k (1 − k/n)^{n−k}, whatever p."""
    k, p = np.arange(9), 0.3
    mean = np.sum(binom.pmf(k, 8, p) * np.exp(8 * kl(k / 8, p)))
    assert mean == pytest.approx(np.sum(binom.pmf(k, 8, k / 8)), rel=1e-12)
    for n in range(1, 1001):
        k = np.arange(n + 1)
        assert np.sum(binom.pmf(k, n, k / n)) <= 2 * np.sqrt(n) * (1 + 1e-12)


def test_divergence_of_two_gaussians_is_the_formula():
    theta, sigma, wide, n = 0.8, 0.3, 1.2, 3
    x = np.linspace(-8, 8, 20001)
    q, p = norm.pdf(x, theta, sigma), norm.logpdf(x, 0, wide)
    one = np.sum(q * (norm.logpdf(x, theta, sigma) - p)) * (x[1] - x[0])
    ratio = (sigma / wide) ** 2
    formula = 0.5 * (n * theta**2 / wide**2 + n * (ratio - 1 - np.log(ratio)))
    assert n * one == pytest.approx(formula, rel=1e-9)


def test_certificate_holds_for_all_posteriors_at_once():
    """ℓ(θ, z) = 1 if θ and the sign z differ: Q = N(m, σ²) errs with chance Φ(∓m/σ)."""
    n, eta, wide = 20, 0.2, 1.0
    m, sigma = np.meshgrid(np.linspace(-3, 3, 61), np.exp(np.linspace(-3, 1, 21)))
    divergence = 0.5 * (m**2 / wide**2 + (sigma / wide) ** 2 - 1 - 2 * np.log(sigma / wide))
    slack = np.sqrt((divergence + np.log(2 * np.sqrt(n) / eta)) / (2 * n))
    error = lambda share: share * norm.cdf(-m / sigma) + (1 - share) * norm.cdf(m / sigma)
    for chance in (0.5, 0.8):
        heads = np.arange(n + 1)  # z = +1 so often among n
        gap = np.array([np.max(error(chance) - error(k / n) - slack) for k in heads])
        assert np.sum(binom.pmf(heads, n, chance) * (gap > 0)) <= eta
    assert np.any(error(0.0) - error(1.0) > slack)  # a bad sample does break it


@pytest.mark.parametrize("N", [5, 20, 100])
def test_held_out_tasks_bound_the_expected_test_loss(N):
    """The chance that the bound is below the truth, exactly, for every rate of failure p."""
    eta, k = 0.05, np.arange(N + 1)
    hoeffding = k / N + np.sqrt(np.log(1 / eta) / (2 * N))
    exact = np.where(k < N, beta.ppf(1 - eta, k + 1, np.maximum(N - k, 1)), 1.0)
    p = np.linspace(0.001, 0.999, 499)[:, None]
    for bound in (hoeffding, exact):
        missed = np.sum(binom.pmf(k[None], N, p) * (bound[None] < p), axis=1)
        assert np.all(missed <= eta + 1e-12)
        assert missed.max() > 0


def test_the_same_function_can_be_flat_or_sharp(getkey):
    """f = ½ (ab − 1)²: at (c, 1/c) always the same function, with λ_max = tr H = c² + 1/c²."""
    f = lambda w: 0.5 * (w[0] * w[1] - 1) ** 2
    key = getkey()
    measures = (HessianTrace(probes=8), TopEigenvalue(), LogDet(1.0, k=2, probes=8), GradNorm())
    at = jax.jit(lambda w: [m(f, w, key=key) for m in (*measures, Relative(TopEigenvalue()))])
    for c in (1.0, 5.0):
        size = c**2 + c**-2
        trace, top, volume, slope, relative = at(jnp.array([c, 1 / c]))
        assert top == pytest.approx(size) and slope == pytest.approx(0, abs=1e-12)
        assert relative == pytest.approx(size**2)
        if c > 1:
            assert trace > 10 and volume > 1
