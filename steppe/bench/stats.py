"""Means over seeds with 95 % intervals, and differences between paired seeds.

    x̄ ± t₀.₉₇₅(n−1) · s / √n        Student's t, s with n − 1 in the denominator

The interval covers the true mean in 95 % of repetitions if the values are normal, and
nearly so for the mean of ten mildly skewed ones. Differences are taken seed by seed
(same start, same batches), which removes what the two runs have in common.

A run that diverged has no value (None). It is never replaced by a number: it is counted,
and the side that diverged more often cannot be called better. Where one side diverges and
the other does not more often than chance explains (exact sign test, 5 %), that decides.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

LEVEL = 0.95  # of every interval

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

    >>> interval([1.0, 2.0, 3.0])
    Interval(mean=2.0, low=-0.4841377117117763, high=4.484137711711776, n=3, missing=0)
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
    if len(ours) != len(theirs):
        raise ValueError(
            f"paired: {len(ours)} values against {len(theirs)}; give one of each per seed, in the "
            "same order."
        )
    a, b = _finite(ours), _finite(theirs)
    both = [x - y for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    seen = interval(both)
    difference = dataclasses.replace(seen, missing=len(a) - len(both))

    alone = sum(x is None and y is not None for x, y in zip(a, b, strict=True))
    alone_theirs = sum(x is not None and y is None for x, y in zip(a, b, strict=True))
    return Paired(
        difference,
        a.count(None),
        b.count(None),
        _verdict(seen, alone, alone_theirs, lower_is_better),
    )


def _verdict(seen: Interval, alone: int, alone_theirs: int, lower_is_better: bool) -> Verdict:
    """From the differences, and the seeds on which one side alone diverged."""
    if sign_test(alone, alone_theirs) <= 1 - LEVEL:
        return "worse" if alone > alone_theirs else "better"
    if seen.low is None or seen.high is None or seen.low <= 0 <= seen.high:
        return "no difference seen"
    if (seen.high < 0) == lower_is_better:
        return "better" if alone <= alone_theirs else "no difference seen"
    return "worse" if alone >= alone_theirs else "no difference seen"


def sign_test(k: int, m: int) -> float:
    """How likely k : m or more uneven is if either side is equally likely, two-sided.

    >>> sign_test(6, 0)
    0.03125
    """
    n = k + m
    tail = sum(math.comb(n, i) for i in range(max(k, m), n + 1)) / 2**n
    return min(1.0, 2 * tail)


def _finite(values: Sequence[float | None]) -> list[float | None]:
    return [x if x is not None and math.isfinite(x) else None for x in values]


def _quantile(freedom: int) -> float:
    """t such that Student's t with so many degrees of freedom lies in (−t, t) 95 % of the time."""
    from scipy.stats import t  # takes half a second to import

    return float(t.ppf((1 + LEVEL) / 2, freedom))
