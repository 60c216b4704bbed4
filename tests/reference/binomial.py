"""The same quantities in 60-digit arithmetic, from their definitions."""

import math

import mpmath

mpmath.mp.dps = 60


def kl(q: float, p: float) -> mpmath.mpf:
    q, p = mpmath.mpf(q), mpmath.mpf(p)
    term = lambda a, b: mpmath.mpf(0) if a == 0 else a * mpmath.log(a / b)
    return term(q, p) + term(1 - q, 1 - p)


def at_most(successes: int, n: int, p: float) -> mpmath.mpf:
    """P[Bin(n, p) ≤ successes], added up."""
    p = mpmath.mpf(p)
    return mpmath.fsum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(successes + 1))
