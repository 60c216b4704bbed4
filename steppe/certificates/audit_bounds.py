"""Each bound of a certificate worked out anew, by code of another kind than that which made it.

    share of failures      the binomial tail, added up from its largest term: δ at the bound
    mean of capped counts  n · kl(mean‖bound) = ln(1/δ), kl by its textbook formula in 40 digits
    order statistic        the rank from the tail added up, the value from the stored counts
    box of measures        the same rank; runs set aside one by one, from a heap for each measure

A bound is borne out if it is the right one to 1e-10 of itself: one that is lower is false, one that
is higher is none that `certify` writes. Nothing is imported from `bounds.py`. A tail is added up in
blocks until the terms no longer count, some ten standard deviations, so that the work for n runs
grows as √n.
"""

import decimal
import functools
import heapq
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

NEAR = 1e-10  # relative: what bounds may be off
ROOM = 1e-9  # relative: sums of several numbers, and ties of ranks
BLOCK = 4096
DIGITS = decimal.Context(prec=40)
Values = Sequence[Sequence]


def of_failures(bound: float, failures: int, n: int, delta: float, method: str) -> bool:
    """True if so many failures of n runs give this bound of the chance of failure."""
    if method != "clopper_pearson":
        return of_mean(bound, failures / n, n, delta, method)
    if failures == n or bound == 0:
        return bound == failures / n
    off = NEAR * min(bound, 1 - bound) + 4 * math.ulp(bound)
    target, noise = math.log(delta), 1e-15 * n * math.log(n + 1)
    return (
        log_at_most(failures, n, min(1.0, bound + off)) <= target + noise
        and log_at_most(failures, n, max(0.0, bound - off)) >= target - noise
    )


def of_mean(bound: float, mean: float, n: int, delta: float, method: str) -> bool:
    """True if n values in [0, 1] of this mean give this bound of their expectation."""
    nats = math.log((2 if method == "kl2" else 1) / delta) / n
    if method in ("hoeffding", "dkw"):
        return near(bound, min(1.0, mean + math.sqrt(nats / 2)))
    return of_entropy(bound, mean, nats)


def of_entropy(bound: float, mean: float, nats: float) -> bool:
    """True if `bound` is the largest p with kl(mean‖p) ≤ nats."""
    if not mean <= bound <= 1:
        return False
    off = NEAR * min(bound - mean, 1 - bound) + 4 * math.ulp(bound)
    high, low = bound + off, bound - off
    return (high >= 1 or entropy(mean, high) >= nats) and (
        low <= mean or entropy(mean, low) <= nats
    )


def of_order(bound: float | None, values: Values, level: float, n: int, delta: float) -> bool:
    """True if the bound is the value of the sample that bounds its `level`-quantile.

    That is the value of the smallest rank r with P[Bin(n, level) ≥ r] ≤ δ.
    """
    place = [value for value, _ in values].index(bound)
    below = sum(count for _, count in values[:place])
    target = math.log(delta)
    noise = ROOM * min(1, -target) + 2e-12 + 1e-15 * n * math.log(n + 1)
    return (
        log_at_least(below + values[place][1], n, level) <= target + noise
        and log_at_least(below, n, level) >= target - noise
    )


def of_box(
    bound: Sequence[float | None],
    rows: Sequence[Sequence[float | None]],
    level: float,
    delta: float,
) -> bool:
    """True if these are the measures x_j of the last runs set aside, see `ends.py`.

    Where the tail of a rank is δ up to rounding, that rank may be in or out.
    """
    n, target = len(rows), math.log(delta)
    noise = ROOM * min(1, -target) + 2e-12 + 1e-15 * n * math.log(n + 1)
    tail = lambda rank: log_at_least(rank, n, level)
    high = next((r for r in _halved(n, lambda r: tail(r) <= target - noise)), n + 1)
    low = next((r for r in _halved(n, lambda r: tail(r) <= target + noise)), n + 1)
    return any(list(bound) == _box(rows, n + 1 - rank) for rank in range(low, high + 1))


def _halved(n: int, holds: Callable[[int], bool]) -> list[int]:
    """The least of 1 … n for which `holds` is true, which then is for all above; [] if none."""
    if not holds(n):
        return []
    low, high = 0, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return [high]


def _box(rows: Sequence[Sequence[float | None]], count: int) -> list[float | None]:
    """The bounds after so many runs are set aside."""
    number = lambda x: math.inf if x is None else x
    heaps = [[(-number(row[j]), i) for i, row in enumerate(rows)] for j in range(len(rows[0]))]
    for heap in heaps:
        heapq.heapify(heap)
    gone: set[int] = set()
    found: list[float | None] = [None] * len(heaps)
    for turn in range(count):
        heap = heaps[turn % len(heaps)]
        while heap[0][1] in gone:
            heapq.heappop(heap)
        run = heap[0][1]
        gone.add(run)
        found[turn % len(heaps)] = rows[run][turn % len(heaps)]
    return found


def near(x: float, right: float, room: float = NEAR) -> bool:
    return abs(x - right) <= room * abs(right)


@functools.lru_cache(maxsize=4096)
def log_at_most(k: int, n: int, p: float) -> float:
    """ln P[Bin(n, p) ≤ k], for k in 0 … n and p in [0, 1]."""
    if k == n or p == 0:
        return 0.0
    if p == 1:
        return -math.inf
    if k < n * p:
        return _far(k, n, math.log(p), math.log1p(-p))
    return math.log1p(-math.exp(_far(n - k - 1, n, math.log1p(-p), math.log(p))))


@functools.lru_cache(maxsize=4096)
def log_at_least(r: int, n: int, p: float) -> float:
    """ln P[Bin(n, p) ≥ r], for r in 0 … n and p in (0, 1)."""
    if r == 0:
        return 0.0
    if r > n * p:
        return _far(n - r, n, math.log1p(-p), math.log(p))
    return math.log1p(-math.exp(_far(r - 1, n, math.log(p), math.log1p(-p))))


def _far(k: int, n: int, log_p: float, log_q: float) -> float:
    """ln P[Bin(n, p) ≤ k] for k below the mean, where the terms fall from the last to the first."""
    last = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    last += k * log_p + (n - k) * log_q
    total, term = 1.0, 1.0
    for first in range(k, 0, -BLOCK):
        i = np.arange(first, max(first - BLOCK, 0), -1)
        terms = term * np.cumprod(i / (n - i + 1) * math.exp(log_q - log_p))
        total, term = total + float(terms.sum()), float(terms[-1])
        if term < 1e-20 * total:
            break
    return last + math.log(total)


@functools.lru_cache(maxsize=4096)
def entropy(q: float, p: float) -> float:
    """kl(q‖p) in nats as the textbook has it, for q in [0, 1] and p in (0, 1)."""
    with decimal.localcontext(DIGITS):
        x, y, one = decimal.Decimal(q), decimal.Decimal(p), decimal.Decimal(1)
        first = x * (x / y).ln() if x else x
        second = (one - x) * ((one - x) / (one - y)).ln() if x != one else one - x
        return float(first + second)


def divergence(posterior: Sequence[float], prior: Sequence[float]) -> float:
    """KL(q‖p) of two finite distributions, in nats."""
    pairs = zip(posterior, prior, strict=True)
    return max(0.0, math.fsum(q * math.log(q / p) for q, p in pairs if q > 0))


def budget(divergence: float, tasks: int, delta: float, places: Sequence[int]) -> float:
    """B of a PAC-Bayes bound, in nats."""
    paid = math.fsum(math.log(math.pi**2 / 6) + 2 * math.log(a) for a in places)
    return (divergence + math.log(2 * math.sqrt(tasks) / delta) + paid) / tasks


def is_gibbs(posterior: Sequence[float], prior: Sequence[float], risks: ArrayLike, n: int) -> bool:
    """True if the posterior is ∝ prior · exp(−β n risk) for a β that is tried."""
    q, logs, r = np.array(posterior), np.log(prior), np.asarray(risks)
    for beta in (0.0, *(10.0**e for e in np.arange(-3, 3.01, 0.25))):
        weights = logs - beta * n * (r - r.min())
        weights = np.exp(weights - weights.max())
        if np.abs(q - weights / weights.sum()).max() <= 1e-5:
            return True
    return False
