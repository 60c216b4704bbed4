"""A family whose truth is known in closed form, and the test that certificates keep their word.

gradient descent on ½ a x² with rate η, a ~ U(1, 9), x₀ = 1:   error_k = (1 − η a)^k,  η = 0.1
error_k ≤ x   ⇔   a ≥ (1 − x^(1/k))/η
"""

import numpy as np
from scipy import stats

LOW, HIGH, ETA = 1.0, 9.0, 0.1
STEPS = 60


def solve(rng: np.random.Generator) -> np.ndarray:
    return np.power(1 - ETA * rng.uniform(LOW, HIGH), np.arange(STEPS + 1))


def share(x: float, k: float) -> float:
    """P[error_k ≤ x]."""
    if k == 0:
        return float(x >= 1)
    a = (1 - x ** (1 / k)) / ETA
    return float(np.clip((HIGH - a) / (HIGH - LOW), 0, 1))


def false(claim: dict) -> bool:
    """Whether what is certified is not so."""
    bound = np.inf if claim["bound"] is None else claim["bound"]
    if claim["type"] == "success":
        return 1 - share(claim["tolerance"], claim["k"]) > bound
    if np.isinf(bound):
        return False
    if claim["type"] == "quantile":
        return share(bound, claim["k"]) < claim["level"]
    assert claim["type"] == "iterations"
    return share(claim["tolerance"], bound) < claim["level"]


def too_often(violations: int, repeats: int, delta: float) -> bool:
    """More than chance would, once in ten thousand such tests."""
    return violations > stats.binom.ppf(0.9999, repeats, delta)
