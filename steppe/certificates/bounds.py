"""Bounds from a sample, each valid at its confidence for every sample size. NumPy and SciPy alone.

    f failures in n runs   p ≤ Beta⁻¹(1 − δ; f + 1, n − f)     `clopper_pearson`, binary outcomes
    mean q in [0, 1]       p ≤ kl⁻¹(q | ln(1/δ)/n)             `kl_bound`, any losses in [0, 1]
                           p ≤ kl⁻¹(q | ln(2/δ)/n)             its two-sided form, of the reference
                           p ≤ q + √(ln(1/δ)/2n)               `hoeffding`, for comparison
    n sorted values        the a-quantile ≤ X₍ᵣ₎                r = `order_rank`
    all thresholds at once F ≥ Fₙ − √(ln(1/δ)/2n)              `dkw`, δ ≤ 1/2

All are one-sided, hold with probability 1 − δ over the sample, and are rounded outward.

Clopper & Pearson, Biometrika 1934; Hoeffding, JASA 1963; Massart,
"The tight constant in the Dvoretzky–Kiefer–Wolfowitz inequality", Annals of Probability 1990.

The binary relative entropy is

    kl(q‖p) = q ln(q/p) + (1 − q) ln((1 − q)/(1 − p)),   0 ln 0 = 0

    upper(q, c) = sup {p ∈ [q, 1] : kl(q‖p) ≤ c}
    lower(q, c) = inf {p ∈ [0, q] : kl(q‖p) ≤ c}

As written, its two terms cancel where p is near q. With φ(x) = x − ln(1 + x) ≥ 0 they do not:

    kl(q‖p) = q φ((p − q)/q) + (1 − q) φ(−(p − q)/(1 − q))

since the two x add up to nothing, weighted by q and 1 − q. Both terms are then known to a few units
in the last place; the inverses charge `KL_GUARD` for them and return the outer end of a bracket
that no floating-point number divides further. Maurer, "A note on the PAC-Bayesian theorem", 2004;
Langford & Caruana, "(Not) bounding the true error", NeurIPS 2001.
"""

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy import special

from ..core.arguments import real, told

GUARD = 2.0**-40  # relative error of a computed incomplete beta function that is allowed for
METHODS = ("clopper_pearson", "kl", "kl2", "hoeffding")
KL_GUARD = (
    2.0**-45
)  # relative error of a computed kl that is allowed for; 5e-16 was the largest seen
RUNS = 2**63
TERMS = 30  # 4⁻²⁸ is below the last place
HALVINGS = 1100  # enough for any bracket of double-precision numbers, the smallest included


def failure_bound(failures: int, n: int, delta: float, method: str = "clopper_pearson") -> float:
    """Upper bound of the probability of failure, valid with probability 1 − δ.

    - `failures`: how many of the runs failed, 0 … n
    - `n`: number of independent runs, ≥ 1
    - `delta`: probability that the bound is wrong, in (0, 1)
    - `method`: one of `METHODS`
    """
    check_counts(failures, n)
    if method == "clopper_pearson":
        return clopper_pearson(failures, n, delta)
    return mean_bound(failures / n, n, delta, method)


def mean_bound(mean: float, n: int, delta: float, method: str = "kl") -> float:
    """Upper bound of the expectation of a loss in [0, 1], valid with probability 1 − δ.

    - `mean`: mean of the sample, in [0, 1]
    - `n`: number of independent values, ≥ 1
    - `delta`: probability that the bound is wrong, in (0, 1)
    - `method`: "kl", "kl2" (its two-sided form) or "hoeffding"
    """
    if method == "kl":
        return kl_bound(mean, n, delta)
    if method == "kl2":
        return kl_bound(mean, n, check_delta(delta) / 2)
    if method == "hoeffding":
        return hoeffding(mean, n, delta)
    raise ValueError(
        f"A mean in [0, 1] is bounded by one of {', '.join(METHODS[1:])}, not by {told(method)}; "
        "clopper_pearson is for counts of failures."
    )


def clopper_pearson(failures: int, n: int, delta: float) -> float:
    """The largest p with P[Bin(n, p) ≤ failures] ≥ δ; 1 if all failed.

    - `failures`: how many of the runs failed, 0 … n
    - `n`: number of independent runs, ≥ 1
    - `delta`: probability that the bound is wrong, in (0, 1)

    >>> f"{clopper_pearson(10, 100, 1e-4):.4f}"
    '0.2538'
    """
    check_counts(failures, n)
    check_delta(delta)
    if failures == n:
        return 1.0
    # The upper tail of the beta distribution is the lower one of the mirrored: no 1 − δ.
    p = float(special.betainccinv(failures + 1, n - failures, delta))
    return min(1.0, p + GUARD * min(p, 1 - p) + math.ulp(p))


def kl_bound(mean: float, n: int, delta: float) -> float:
    """kl⁻¹(mean | ln(1/δ)/n): upper bound of the expectation of a loss in [0, 1].

    - `mean`: mean of the sample, in [0, 1]
    - `n`: number of independent values, ≥ 1
    - `delta`: probability that the bound is wrong, in (0, 1)

    >>> f"{kl_bound(0.1, 100, 1e-4):.4f}"
    '0.2735'
    """
    check_delta(delta)
    check_counts(0, n)
    mean = real("A mean", mean)
    return float(kl_upper(mean, math.log(1 / delta) / n * (1 + GUARD)))


def hoeffding(mean: float, n: int, delta: float) -> float:
    """mean + √(ln(1/δ)/2n), at most 1: upper bound of the expectation of a loss in [0, 1].

    - `mean`: mean of the sample, in [0, 1]
    - `n`: number of independent values, ≥ 1
    - `delta`: probability that the bound is wrong, in (0, 1/2]
    """
    mean = real("A mean", mean)
    if not 0 <= mean <= 1:
        raise ValueError(f"A mean of losses must be in [0, 1], got {mean:g}.")
    return min(1.0, (mean + dkw(n, delta)) * (1 + GUARD))


def dkw(n: int, delta: float) -> float:
    """Half-width of the one-sided DKW band for n samples at confidence 1 − δ, δ ≤ 1/2."""
    check_delta(delta)
    check_counts(0, n)
    if delta > 0.5:
        raise ValueError(f"The band over all tolerances needs delta ≤ 0.5, got {delta:g}.")
    return math.sqrt(math.log(1 / delta) / (2 * n)) * (1 + GUARD)


def order_rank(level: float, n: int, delta: float) -> int | None:
    """The smallest r for which the r-th smallest of `n` values bounds the `level`-quantile.

    None if there is no such r ≤ n: see `min_samples`.

    - `level`: fraction of all tasks, in (0, 1)
    - `n`: number of independent values, ≥ 1
    - `delta`: probability that the bound is wrong, in (0, 1)

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


def min_samples(level: float, delta: float, ranks: int = 1) -> int:
    """The smallest sample that can certify a `level`-quantile: level^n ≤ δ.

    - `ranks`: how many of its largest values bound the quantile, ≥ 1

    >>> min_samples(0.9, 0.05), min_samples(0.99, 1e-4), min_samples(0.9, 0.05, 3)
    (29, 917, 61)
    """
    check_level(level)
    check_delta(delta)
    low = max(0, math.ceil(math.log(delta) / math.log(level)) - 2)
    enough = lambda n: (order_rank(level, n, delta) or n + 1) <= n + 1 - ranks
    step = 1
    while not enough(low + step):
        low, step = low + step, 2 * step
    high = low + step
    while high - low > 1:  # enough at `high` and not at `low`
        n = (low + high) // 2
        low, high = (low, n) if enough(n) else (n, high)
    return high


def check_delta(delta: float) -> float:
    """The probability as a float, if it is one in (0, 1)."""
    what = "delta, the probability with which a statement may be wrong,"
    found = real(what, delta, expected="in (0, 1)")
    if not 0 < found < 1:
        raise ValueError(f"{what} must be in (0, 1), got {told(delta)}.")
    return found


def check_level(level: float) -> float:
    """The level as a float, if it is in (0, 1)."""
    found = real("A level", level, expected="a fraction of all tasks, in (0, 1)")
    if not 0 < found < 1:
        raise ValueError(f"A level is a fraction of all tasks, in (0, 1), got {told(level)}.")
    return found


def check_counts(failures: int, n: int) -> None:
    for count in (failures, n):
        if not isinstance(count, int | np.integer) or isinstance(count, bool):
            raise ValueError(f"Counts of runs are whole numbers, got {told(count)}.")
    if not 1 <= n < RUNS:
        raise ValueError(f"A bound needs at least 1 run and at most {RUNS}, got {told(n)}.")
    if not 0 <= failures <= n:
        raise ValueError(f"Failures must be from 0 to the {n} runs, got {told(failures)}.")


def kl(q: ArrayLike, p: ArrayLike) -> Float[np.ndarray, "..."]:
    """kl(q‖p) in nats, elementwise, for q and p in [0, 1]; ∞ if q > 0 = p or q < 1 = p."""
    q, p = np.broadcast_arrays(np.asarray(q, np.float64), np.asarray(p, np.float64))
    for name, x in (("q", q), ("p", p)):
        if not np.all((x >= 0) & (x <= 1)):
            raise ValueError(f"kl: {name} must be in [0, 1], got {x[~((x >= 0) & (x <= 1))][0]}.")
    d = p - q  # exact where p and q are near each other
    return _term(q, d, p) + _term(1 - q, -d, 1 - p)


def kl_upper(q: ArrayLike, c: ArrayLike) -> Float[np.ndarray, "..."]:
    """The largest p with kl(q‖p) ≤ c, rounded up: an upper bound of a mean in [0, 1].

    - `q`: observed mean, in [0, 1]; `c`: ≥ 0, in nats
    """
    q, c = _checked(q, c)
    inside, outside = q.copy(), np.ones_like(q)
    _bisect(q, c, inside, outside)
    found = np.where(q == 0, np.nextafter(-np.expm1(-c), 1.0), outside)
    return np.where(c == 0, q, np.clip(found, q, 1))


def kl_lower(q: ArrayLike, c: ArrayLike) -> Float[np.ndarray, "..."]:
    """The smallest p with kl(q‖p) ≤ c, rounded down: a lower bound of a mean in [0, 1]."""
    q, c = _checked(q, c)
    inside, outside = q.copy(), np.zeros_like(q)
    _bisect(q, c, inside, outside)
    found = np.where(q == 1, np.nextafter(np.exp(-c), 0.0), outside)
    return np.where(c == 0, q, np.clip(found, 0, q))


def _checked(q: ArrayLike, c: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    q, c = np.broadcast_arrays(np.asarray(q, np.float64), np.asarray(c, np.float64))
    if not np.all((q >= 0) & (q <= 1)):
        raise ValueError(f"The mean q must be in [0, 1], got {q[~((q >= 0) & (q <= 1))][0]}.")
    if not np.all(c >= 0):
        raise ValueError(f"The budget c must not be negative, got {c[~(c >= 0)][0]}.")
    return q, c


def _bisect(q: np.ndarray, c: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> None:
    """Move `inside` (kl ≤ c) and `outside` (kl > c, or 0 or 1) together until they touch."""
    for _ in range(HALVINGS):
        middle = inside + (outside - inside) / 2
        alive = (middle != inside) & (middle != outside)
        if not alive.any():
            return
        within = (1 - KL_GUARD) * kl(q, middle) <= c
        np.copyto(inside, middle, where=alive & within)
        np.copyto(outside, middle, where=alive & ~within)


def _term(q: np.ndarray, d: np.ndarray, p: np.ndarray) -> np.ndarray:
    """q φ(d/q) where p = q + d; its limit d at q = 0."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        x, ratio = d / q, p / q
        near = np.abs(x) < 0.25
        whole = (ratio > 1e-300) & (ratio < 1e300)  # neither digits nor the number were lost
        log = np.log(ratio)
        if not whole.all():
            log = np.where(whole, log, np.log(p) - np.log(q))
        term = d - q * log
        if near.any():
            term = np.where(near, q * _phi(np.where(near, x, 0.0)), term)
        return np.where(q == 0, d, term)


def _phi(x: np.ndarray) -> np.ndarray:
    """x − ln(1 + x) = x² (1/2 − x/3 + x²/4 − …) for |x| < 1/4."""
    total = np.zeros_like(x)
    for n in range(TERMS, 1, -1):
        total = 1 / n - x * total
    return x * x * total
