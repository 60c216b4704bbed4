"""Means over seeds with 95 % intervals, and differences between paired seeds.

    x̄ ± t₀.₉₇₅(n−1) · s / √n        Student's t, s with n − 1 in the denominator

The interval covers the true mean in 95 % of repetitions if the values are normal, and
nearly so for the mean of ten mildly skewed ones. Differences are taken seed by seed
(same start, same batches), which removes what the two runs have in common.

A run that diverged has no value (None). It is never replaced by a number: it is counted,
and the side that diverged more often cannot be called better. Where one side diverges and
the other does not more often than chance explains (exact sign test, 5 %), that decides.

For a whole table of comparisons, by tests that do not need normal values: `paired_tests`.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Literal

import numpy as np

from ..core.messages import at_least, reals

LEVEL = 0.95  # of every interval
EXACT = 200  # differences whose signed ranks are counted out, in milliseconds
DIGITS = 9  # by which sizes of differences are told apart

Verdict = Literal["better", "worse", "no difference seen"]


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean over `n` finite values; `low` and `high` are None for n < 2, `mean` for n = 0."""

    mean: float | None
    low: float | None
    high: float | None
    n: int
    missing: int  # values that were not finite

    @property
    def half(self) -> float | None:
        """Half the width of the interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


@dataclasses.dataclass(frozen=True)
class Paired:
    """Ours minus theirs over the seeds where both are finite, and what that says."""

    difference: Interval
    diverged: int  # ours that were not finite
    diverged_theirs: int
    verdict: Verdict


def interval(values: Sequence[float | None]) -> Interval:
    """The mean of the finite values with its 95 % interval.

    >>> found = interval([1.0, 2.0, 3.0])
    >>> found.mean, round(found.half, 3)
    (2.0, 2.484)
    """
    finite = [x for x in values if x is not None and math.isfinite(x)]
    n, missing = len(finite), len(values) - len(finite)
    if n == 0:
        return Interval(None, None, None, 0, missing)
    mean = math.fsum(finite) / n
    if n == 1:
        return Interval(mean, None, None, 1, missing)
    s = math.sqrt(math.fsum((x - mean) ** 2 for x in finite) / (n - 1))
    half = _quantile(n - 1) * s / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n, missing)


def paired(
    ours: Sequence[float | None], theirs: Sequence[float | None], *, lower_is_better: bool = True
) -> Paired:
    """Compare two lists of equal seeds; "better" means ours is.

    "better" and "worse" are said only if the interval of the differences leaves out zero, or
    if one side diverges significantly more often. A difference in favour of the side that
    diverged more often counts for nothing.
    """
    seen = interval(differences(ours, theirs))
    a, b = _finite(ours), _finite(theirs)
    alone = sum(x is None and y is not None for x, y in zip(a, b, strict=True))
    alone_theirs = sum(x is not None and y is None for x, y in zip(a, b, strict=True))
    verdict = _verdict(seen, alone, alone_theirs, lower_is_better)
    return Paired(seen, a.count(None), b.count(None), verdict)


def differences(ours: Sequence[float | None], theirs: Sequence[float | None]) -> list[float | None]:
    """Ours minus theirs, seed by seed; None where either is not finite."""
    if len(ours) != len(theirs):
        raise ValueError(
            f"paired: {len(ours)} values against {len(theirs)}; give one of each per seed, in the "
            "same order."
        )
    pairs = zip(_finite(ours), _finite(theirs), strict=True)
    return _finite([None if x is None or y is None else x - y for x, y in pairs])


def _verdict(seen: Interval, alone: int, alone_theirs: int, lower_is_better: bool) -> Verdict:
    """Verdict from the differences, and from the seeds on which one side alone diverged."""
    if sign_test(alone, alone_theirs) <= 1 - LEVEL:
        return "worse" if alone > alone_theirs else "better"
    if seen.low is None or seen.high is None or seen.low <= 0 <= seen.high:
        return "no difference seen"
    if (seen.high < 0) == lower_is_better:
        return "better" if alone <= alone_theirs else "no difference seen"
    return "worse" if alone >= alone_theirs else "no difference seen"


def sign_test(k: int, m: int) -> float:
    """Two-sided p-value of k wins against m losses if either side is equally likely.

    >>> sign_test(6, 0)
    0.03125
    """
    from scipy.stats import binomtest

    return float(binomtest(k, k + m).pvalue) if k + m else 1.0


def bootstrap(
    values: Sequence[float | None], *, level: float = 0.95, draws: int = 10_000, seed: int = 0
) -> Interval:
    """The mean of the finite values with its BCa bootstrap interval.

        quantiles Φ(z₀ + (z₀ + z) / (1 − a(z₀ + z))) of the means of resamples,  z = ±Φ⁻¹(…)
        Φ(z₀) = the share of them below x̄,   a = Σd³ / 6(Σd²)^{3/2},  d = x − x̄

    Efron, "Better bootstrap confidence intervals", JASA 1987; a is his jackknife estimate, which
    for a mean has this form. Good to second order in n, but for n < 15 or so still too narrow: a
    resample spreads √(1 − 1/n) too little.

    Not `scipy.stats.bootstrap`: with the same resamples its bounds differ where values are few or
    tied, up to half the interval at n = 3, and the records of our studies were judged by these.
    """
    reals("bootstrap", finite=False, level=level)
    at_least(0, "bootstrap", draws=draws, seed=seed)
    if not 0 < level < 1 or draws < 100:
        raise ValueError(
            f"bootstrap: level must be within (0, 1) and draws at least 100, got {level}, {draws}."
        )
    x = np.array([v for v in _finite(values) if v is not None])
    n, missing = len(x), len(values) - len(x)
    if n < 2:
        return Interval(float(x[0]) if n else None, None, None, n, missing)
    if np.ptp(x) == 0:
        return Interval(float(x[0]), float(x[0]), float(x[0]), n, missing)
    mean = math.fsum(x) / n
    d = x - mean

    means = mean + d[_resamples(n, draws, seed)].mean(1)  # (draws,)
    below = (np.mean(means < mean) + np.mean(means <= mean)) / 2
    normal = NormalDist()
    z0 = normal.inv_cdf(min(max(float(below), 1 / draws), 1 - 1 / draws))
    a = float(np.sum(d**3) / (6 * np.sum(d**2) ** 1.5))

    def place(z: float) -> float:
        # |a| ≤ 1/6: only levels beyond 0.9999 reach the pole, and the outermost mean
        return normal.cdf(z0 + (z0 + z) / max(1 - a * (z0 + z), 1e-12))

    z = normal.inv_cdf((1 + level) / 2)
    low, high = np.quantile(means, [place(-z), place(z)])
    return Interval(mean, float(low), float(high), n, missing)


def wilcoxon(values: Sequence[float | None]) -> float:
    """The two-sided p-value of Wilcoxon's signed-rank test that the differences lie around zero.

    Zeros are left out, as Wilcoxon did; equal sizes share their mean rank. Up to 200 differences
    the distribution is exact, given the ranks; beyond it is the normal one. Sizes are
    compared by nine digits, so that 0.3 − 0.2 equals 0.1. Without a difference that is not zero: 1.

    >>> wilcoxon([0.5, 1.0, 2.0, 3.0, 4.0])
    0.0625
    """
    signs, ranks = _signed_ranks(values)
    if len(ranks) > EXACT:
        z = (signs * ranks).sum() / math.sqrt((ranks**2).sum())
        return math.erfc(abs(z) / math.sqrt(2))

    # P(the positive ranks sum to k/2), by one rank after the other: mean ranks are whole halves
    halves = np.rint(2 * ranks).astype(int)
    chance = np.zeros(halves.sum() + 1)
    chance[0] = 1.0
    for r in halves:
        shifted = np.concatenate([np.zeros(r), chance[:-r]])
        chance = (chance + shifted) / 2
    w = halves[signs > 0].sum()
    smaller = min(w, halves.sum() - w)
    return min(1.0, 2 * float(chance[: smaller + 1].sum()))


def equivalence(values: Sequence[float | None], margin: float) -> float:
    """The p-value of two one-sided t tests that the mean lies within ±`margin`.

        p = max(P(T ≥ (margin + x̄) / e), P(T ≥ (margin − x̄) / e)),   e = s / √n, T with n − 1

    Below 5 % if and only if the 90 % interval of the mean lies within the margins. Schuirmann, "A
    comparison of the two one-sided tests procedure and the power approach", 1987. 1 for less than
    two finite values.

    >>> round(equivalence([0.01, -0.02, 0.015, -0.005], 0.05), 4)
    0.004
    """
    reals("equivalence", margin=margin)
    if not margin > 0:
        raise ValueError(f"equivalence: margin must be positive, got {margin}.")
    x = [v for v in _finite(values) if v is not None]
    if len(x) < 2:
        return 1.0
    mean = math.fsum(x) / len(x)
    error = float(np.std(x, ddof=1)) / math.sqrt(len(x))
    room = margin - abs(mean)
    if not error:
        return 0.0 if room > 0 else 1.0
    from scipy.stats import t

    return float(t.sf(room / error, len(x) - 1))


def rank_biserial(values: Sequence[float | None]) -> float | None:
    """(W₊ − W₋) / (W₊ + W₋) of the signed ranks: 1 if all differences are positive.

    Kerby, "The simple difference formula", 2014. 0 if all are zero, None if there are none.
    """
    signs, ranks = _signed_ranks(values)
    if len(ranks):
        return float((signs * ranks).sum() / ranks.sum())
    return 0.0 if any(x is not None for x in _finite(values)) else None


def cohens_dz(values: Sequence[float | None]) -> float | None:
    """x̄ / s of paired differences; None if s is zero or there is one difference only."""
    x = [v for v in _finite(values) if v is not None]
    if len(set(x)) < 2:
        return None
    return float(np.mean(x) / np.std(x, ddof=1))


def hedges_gz(values: Sequence[float | None]) -> float | None:
    """Cohen's d_z less its bias for normal differences: 4 % at n = 20, 16 % at n = 6.

        g = d_z · Γ(m/2) / (√(m/2) Γ((m − 1)/2)),   m = n − 1

    Hedges, "Distribution theory for Glass's estimator", 1981. None for n < 3, where no unbiased
    estimate exists.
    """
    m = sum(x is not None for x in _finite(values)) - 1
    d = cohens_dz(values)
    if d is None or m < 2:
        return None
    return d * math.exp(math.lgamma(m / 2) - math.lgamma((m - 1) / 2)) / math.sqrt(m / 2)


@dataclasses.dataclass(frozen=True)
class PairedTest:
    """Test of ours minus theirs in one cell of a table: below zero, ours is smaller."""

    difference: Interval  # Student's t
    bootstrap: Interval  # BCa
    p: float  # Wilcoxon's
    adjusted: float  # Holm's, over the table
    d_z: float | None  # Cohen's
    g_z: float | None  # Hedges': d_z less its bias
    rank_biserial: float | None

    @property
    def n(self) -> int:
        """Pairs with both values."""
        return self.difference.n

    @property
    def missing(self) -> int:
        """Pairs without; who diverged in them is what `stats.paired` tells."""
        return self.difference.missing

    @property
    def mean(self) -> float | None:
        return self.difference.mean


def paired_tests(
    cells: Mapping[str, tuple[Sequence[float | None], Sequence[float | None]]], *, seed: int = 0
) -> dict[str, PairedTest]:
    """Test (ours, theirs), one value each per seed, in every cell. `seed`: of the bootstrap.

    p₍₁₎ ≤ … ≤ p₍ₘ₎,   adjusted p₍ₖ₎ = max over j ≤ k of min(1, (m − j + 1) p₍ⱼ₎)

    Among twenty comparisons of equal optimizers one looks significant at 5 %. Holm's adjusted
    p-values are below 5 % anywhere in such a table in at most 5 % of tables, however its cells
    depend on one another. Holm, "A simple sequentially rejective multiple test procedure", 1979.

    Exact Wilcoxon needs seeds: with n differences p is never below 2¹⁻ⁿ, and Holm multiplies the
    smallest by m. A table of m = 10 shows nothing at 5 % with fewer than nine seeds. A cell without
    pairs has p = 1 and counts in the family: the comparison was planned.
    """
    found = {name: differences(ours, theirs) for name, (ours, theirs) in cells.items()}
    ps = [wilcoxon(d) for d in found.values()]
    return {
        name: PairedTest(
            interval(d),
            bootstrap(d, seed=seed),
            p,
            adjusted,
            cohens_dz(d),
            hedges_gz(d),
            rank_biserial(d),
        )
        for (name, d), p, adjusted in zip(found.items(), ps, holm(ps), strict=True)
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given.

    >>> holm([0.01, 0.5, 0.02])
    [0.03, 0.5, 0.04]
    """
    p = np.array(p_values, dtype=float)
    if not np.all((p >= 0) & (p <= 1)):
        raise ValueError(f"holm: p-values lie within [0, 1], got {list(p_values)}.")
    order = np.argsort(p)
    factors = np.arange(len(p), 0, -1)  # m … 1
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(np.minimum(1, factors * p[order]))
    return adjusted.tolist()


def _signed_ranks(values: Sequence[float | None]) -> tuple[np.ndarray, np.ndarray]:
    """Signs and mean ranks of what is finite and not zero."""
    from scipy.stats import rankdata

    x = np.array([float(f"{v:.{DIGITS}g}") for v in _finite(values) if v is not None and v != 0])
    return np.sign(x), rankdata(np.abs(x))


def _finite(values: Sequence[float | None]) -> list[float | None]:
    return [x if x is not None and math.isfinite(x) else None for x in values]


@functools.lru_cache(maxsize=8)  # a study resamples hundreds of samples of the same few sizes
def _resamples(n: int, draws: int, seed: int) -> np.ndarray:
    """(draws, n), the places of the values of each resample."""
    picks = np.random.default_rng(seed).integers(n, size=(draws, n))
    picks.flags.writeable = False  # it is shared
    return picks


@functools.cache  # the same few sizes of samples come a thousand times in a report
def _quantile(freedom: int) -> float:
    """t such that Student's t with so many degrees of freedom lies in (−t, t) 95 % of the time."""
    from scipy.stats import t  # takes half a second to import

    return float(t.ppf((1 + LEVEL) / 2, freedom))
