"""Bounds from a sample, each valid at its confidence for every sample size. NumPy and SciPy alone.

    f failures in n runs   p ≤ Beta⁻¹(1 − δ; f + 1, n − f)     `clopper_pearson`, binary outcomes
    mean q in [0, 1]       p ≤ kl⁻¹(q | ln(1/δ)/n)             `kl_bound`, any losses in [0, 1]
                           p ≤ kl⁻¹(q | ln(2/δ)/n)             its two-sided form, of the reference
                           p ≤ q + √(ln(1/δ)/2n)               `hoeffding`, for comparison
    n sorted values        the a-quantile ≤ X₍ᵣ₎                r = `order_rank`
    all thresholds at once F ≥ Fₙ − √(ln(1/δ)/2n)              `dkw`, δ ≤ 1/2

All are one-sided, hold with probability 1 − δ over the sample, and are rounded outward.

Clopper & Pearson, Biometrika 1934; Langford & Caruana, NeurIPS 2001; Hoeffding, JASA 1963; Massart,
"The tight constant in the Dvoretzky–Kiefer–Wolfowitz inequality", Annals of Probability 1990.
"""

import math

import numpy as np
from scipy import special

from .kl import kl_upper

GUARD = 2.0**-40  # relative error of a computed incomplete beta function that is allowed for
METHODS = ("clopper_pearson", "kl", "kl2", "hoeffding")


def failure_bound(failures: int, n: int, delta: float, method: str = "clopper_pearson") -> float:
    """An upper bound of the probability of failure, of which `failures` were seen in `n` runs."""
    check_counts(failures, n)
    if method == "clopper_pearson":
        return clopper_pearson(failures, n, delta)
    return mean_bound(failures / n, n, delta, method)


def mean_bound(mean: float, n: int, delta: float, method: str = "kl") -> float:
    """An upper bound of the expectation of a loss in [0, 1], of which `n` values had this mean."""
    if method == "kl":
        return kl_bound(mean, n, delta)
    if method == "kl2":
        return kl_bound(mean, n, delta / 2)
    if method == "hoeffding":
        return hoeffding(mean, n, delta)
    raise ValueError(
        f"A mean in [0, 1] is bounded by one of {', '.join(METHODS[1:])}, not by {method!r}; "
        "clopper_pearson is for counts of failures."
    )


def clopper_pearson(failures: int, n: int, delta: float) -> float:
    """The largest p with P[Bin(n, p) ≤ failures] ≥ δ; 1 where all failed.

    >>> f"{clopper_pearson(10, 100, 1e-4):.4f}"
    '0.2538'
    """
    check_counts(failures, n)
    check_delta(delta)
    if failures == n:
        return 1.0
    # The upper tail of the beta distribution is the lower one of the mirrored: no 1 − δ.
    p = float(special.betainccinv(failures + 1, n - failures, delta))
    return min(1.0, p + GUARD * min(p, 1 - p) + np.spacing(p))


def kl_bound(mean: float, n: int, delta: float) -> float:
    """kl⁻¹(mean | ln(1/δ)/n).

    >>> f"{kl_bound(0.1, 100, 1e-4):.4f}"
    '0.2735'
    """
    check_delta(delta)
    check_counts(0, n)
    return float(kl_upper(mean, math.log(1 / delta) / n * (1 + GUARD)))


def hoeffding(mean: float, n: int, delta: float) -> float:
    """mean + √(ln(1/δ)/2n), at most 1."""
    return min(1.0, (mean + dkw(n, delta)) * (1 + GUARD))


def dkw(n: int, delta: float) -> float:
    """What the empirical distribution of `n` values is to be lowered by, everywhere at once."""
    check_delta(delta)
    check_counts(0, n)
    if delta > 0.5:
        raise ValueError(f"The band over all tolerances needs delta ≤ 0.5, got {delta:g}.")
    return math.sqrt(math.log(1 / delta) / (2 * n)) * (1 + GUARD)


def order_rank(level: float, n: int, delta: float) -> int | None:
    """The smallest r for which the r-th smallest of `n` values bounds the `level`-quantile.

    None where there is no such r ≤ n: see `min_samples`.

    >>> order_rank(0.9, 100, 1e-4), order_rank(0.95, 100, 1e-4)
    (100, None)
    """
    check_level(level)
    check_delta(delta)
    check_counts(0, n)
    low, high = 0, n + 1  # P[Bin(n, level) ≥ r] ≤ δ holds at `high` and not at `low`
    while high - low > 1:
        r = (low + high) // 2
        tail = float(special.betainc(r, n - r + 1, level))
        low, high = (low, r) if tail * (1 + GUARD) <= delta else (r, high)
    return high if high <= n else None


def min_samples(level: float, delta: float) -> int:
    """The smallest sample that can certify a `level`-quantile: level^n ≤ δ.

    >>> min_samples(0.9, 0.05), min_samples(0.99, 1e-4)
    (29, 917)
    """
    check_level(level)
    check_delta(delta)
    n = max(1, math.ceil(math.log(delta) / math.log(level)) - 1)
    while order_rank(level, n, delta) is None:
        n += 1
    return n


def check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(
            "delta, the probability with which a statement may be wrong, must be in (0, 1), got "
            f"{delta:g}."
        )


def check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"A level is a fraction of all tasks, in (0, 1), got {level:g}.")


def check_counts(failures: int, n: int) -> None:
    if n < 1:
        raise ValueError(f"A bound needs at least 1 run, got {n}.")
    if not 0 <= failures <= n:
        raise ValueError(f"Failures must be from 0 to the {n} runs, got {failures}.")
