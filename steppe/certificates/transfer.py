"""Bounds for new tasks from those of meta-training: M1 to M5 of docs/theory.md.

s in [0, 1] is a measure h at the end of a run, clipped and divided by its clip c:

    s = min(max(h, 0), c)/c,   1 where h is no number         S_N on N tasks, S on new ones

    kl(S_N(Q) ‖ S(Q)) ≤ B    for weights φ ~ Q of the optimizer, with confidence 1 − δ

    any Q, prior P        B = (KL(Q‖P) + ln(2√N/δ))/N                       `pac_bayes.budget`
    Q ∝ P exp(−λ S_N)     B = (√L + λ/√(2N))²/N,   L = ln(2√N/δ)            `gibbs_budget`
    Q = N(A, σ² I)        B = (κ²(1 + √ln(2/δ))²/(4σ²N) + ln(4√N/δ))/N      `stable_budget`

A the weights that meta-training finds, which one task in place of another moves by at most κ/N.

    shifted by s, ‖s‖ ≤ r     f(θ + s) ≤ f + r‖∇f‖ + r² λ_max/2 + M r³/6    `worst_shift`
    by s of mean 0 and
    E ssᵀ = (r²/d) I          E f(θ + s) ≤ f + r² tr H/(2d) + M r³/6        `average_shift`

M a Lipschitz constant of the Hessian.
"""

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from ..core.arguments import real
from .bounds import GUARD, check_counts, check_delta, kl_upper
from .entries import LEAST_TASKS
from .pac_bayes import budget

Array = Float[np.ndarray, "..."]


def unit(values: ArrayLike, clip: float) -> Array:
    """Values clipped to [0, clip] and divided by it; 1 for what is not finite.

    >>> unit([-1.0, 2.5, 20.0, float("nan")], 10.0)
    array([0.  , 0.25, 1.  , 1.  ])
    """
    clip = positive("clip", clip)
    values = np.asarray(values, np.float64)
    known = np.isfinite(values)
    return np.where(known, np.clip(np.where(known, values, clip), 0, clip) / clip, 1.0)


def mean_on_new_tasks(seen: ArrayLike, budget: ArrayLike, clip: float = 1.0) -> Array:
    """Bound clip · kl⁻¹(seen/clip | B) of the mean on new tasks of a measure clipped to [0, clip].

    - `seen`: mean on the training tasks, in [0, clip]
    - `budget`: B ≥ 0, in nats
    - `clip`: c > 0, in the unit of the measure, fixed before the tasks were seen

    >>> f"{mean_on_new_tasks(2.0, 0.01, 20.0):.4f}"
    '2.9535'
    """
    clip = positive("clip", clip)
    return clip * kl_upper(np.asarray(seen, np.float64) / clip, budget)


def share_above(mean: float, threshold: float) -> float:
    """Bound mean/threshold of the chance of a measure of at least `threshold` (Markov), at most 1.

    - `mean`: bound of the mean of the measure, clipped to [0, c]
    - `threshold`: > 0 and at most c: there a measure and its clipped value exceed it alike
    """
    return min(1.0, real("A mean", mean) / positive("threshold", threshold))


def gibbs_budget(rate: float, n: int, delta: float) -> float:
    """B for the posterior ∝ prior · exp(−rate · S_N), whatever the prior and its dimension.

    - `rate`: λ ≥ 0, fixed before the tasks were seen
    - `n`: number of training tasks N ≥ 8
    - `delta`: probability that the bound is wrong, in (0, 1)

    >>> f"{gibbs_budget(20.0, 1000, 0.01):.5f}"
    '0.01160'
    """
    rate = real("The rate of a Gibbs posterior", rate)
    if not rate >= 0:
        raise ValueError(f"The rate of a Gibbs posterior must not be negative, got {rate:g}.")
    root = math.sqrt(_logarithm(n, delta)) + rate / math.sqrt(2 * n)
    return root**2 / n * (1 + GUARD)


def stable_budget(moved: float, spread: float, n: int, delta: float) -> float:
    """B for a Gaussian around the weights of a meta-training that no single task moves far.

    - `moved`: κ ≥ 0: another task in place of one moves the weights by at most κ/N, in norm
    - `spread`: σ > 0, the standard deviation of each weight
    - `n`: number of training tasks N ≥ 8
    - `delta`: probability that the bound is wrong, in (0, 1); half of it for how far the weights
      are from their mean

    >>> f"{stable_budget(1.0, 0.3, 1000, 0.01):.5f}"
    '0.00948'
    """
    moved, spread = real("How far a task moves the weights", moved), positive("spread", spread)
    if not moved >= 0:
        raise ValueError(f"How far a task moves the weights is not negative, got {moved:g}.")
    far = moved * (1 + math.sqrt(math.log(2 / check_delta(delta))))
    return budget(far**2 / (4 * spread**2 * n), n, delta / 2)


def worst_shift(
    loss: ArrayLike,
    gradient_norm: ArrayLike,
    top_eigenvalue: ArrayLike,
    *,
    radius: float,
    lipschitz: float,
) -> Array:
    """Bound of the loss at any point within `radius`, from what is known at one point.

    - `loss`, `gradient_norm`, `top_eigenvalue`: f, ‖∇f‖ and λ_max there
    - `radius`: r ≥ 0
    - `lipschitz`: M ≥ 0, of the Hessian, between the points
    """
    top = np.maximum(np.asarray(top_eigenvalue, np.float64), 0)
    slope = radius * np.asarray(gradient_norm, np.float64)
    return np.asarray(loss) + slope + radius**2 / 2 * top + lipschitz * radius**3 / 6


def average_shift(
    loss: ArrayLike, trace: ArrayLike, *, dimension: int, radius: float, lipschitz: float
) -> Array:
    """Bound of the mean loss over shifts s of mean 0 with ‖s‖ ≤ r and E ssᵀ = (r²/d) I.

    - `loss`, `trace`: f and tr H at the point
    - `dimension`: d ≥ 1
    - `radius`: r ≥ 0
    - `lipschitz`: M ≥ 0, of the Hessian, between the points
    """
    bend = radius**2 / (2 * dimension) * np.asarray(trace, np.float64)
    return np.asarray(loss) + bend + lipschitz * radius**3 / 6


def positive(what: str, x: float) -> float:
    """The number as a float, if it is positive."""
    found = real(f"The {what}", x, expected="a positive number")
    if not found > 0:
        raise ValueError(f"The {what} must be a positive number, got {found:g}.")
    return found


def _logarithm(n: int, delta: float) -> float:
    """L = ln(2√N/δ)."""
    check_counts(0, n)
    if n < LEAST_TASKS:
        raise ValueError(f"A PAC-Bayes bound needs at least {LEAST_TASKS} tasks, got {n}.")
    return math.log(2 * math.sqrt(n) / check_delta(delta))
