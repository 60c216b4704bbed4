"""The binary relative entropy and its inverses, never optimistic by rounding.

    kl(q‖p) = q ln(q/p) + (1 − q) ln((1 − q)/(1 − p)),   0 ln 0 = 0

    upper(q, c) = sup {p ∈ [q, 1] : kl(q‖p) ≤ c}
    lower(q, c) = inf {p ∈ [0, q] : kl(q‖p) ≤ c}

As written, its two terms cancel where p is near q. With φ(x) = x − ln(1 + x) ≥ 0 they do not:

    kl(q‖p) = q φ((p − q)/q) + (1 − q) φ(−(p − q)/(1 − q))

since the two x add up to nothing, weighted by q and 1 − q. Both terms are then known to a few units
in the last place; the inverses charge `GUARD` for them and return the outer end of a bracket that
no floating-point number divides further.

Maurer, "A note on the PAC-Bayesian theorem", 2004; Langford & Caruana, "(Not) bounding the true
error", NeurIPS 2001.
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

GUARD = 2.0**-45  # relative error of a computed kl that is allowed for; 5e-16 was the largest seen
TERMS = 30  # 4⁻²⁸ is below the last place
HALVINGS = 1100  # enough for any bracket of double-precision numbers, the smallest included


def kl(q: ArrayLike, p: ArrayLike) -> Float[np.ndarray, "..."]:
    """kl(q‖p) in nats, elementwise; ∞ where q > 0 = p or q < 1 = p."""
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
        within = (1 - GUARD) * kl(q, middle) <= c
        np.copyto(inside, middle, where=alive & within)
        np.copyto(outside, middle, where=alive & ~within)


def _term(q: np.ndarray, d: np.ndarray, p: np.ndarray) -> np.ndarray:
    """q φ(d/q) where p = q + d; its limit d at q = 0."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        x, ratio = d / q, p / q
        near = np.abs(x) < 0.25
        whole = (ratio > 1e-300) & (ratio < 1e300)  # neither digits nor the number were lost
        log = np.where(whole, np.log(ratio), np.log(p) - np.log(q))
        term = np.where(near, q * _phi(np.where(near, x, 0.0)), d - q * log)
        return np.where(q == 0, d, term)


def _phi(x: np.ndarray) -> np.ndarray:
    """x − ln(1 + x) = x² (1/2 − x/3 + x²/4 − …) for |x| < 1/4."""
    total = np.zeros_like(x)
    for n in range(TERMS, 1, -1):
        total = 1 / n - x * total
    return x * x * total
