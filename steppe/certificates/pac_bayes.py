"""PAC-Bayes: a bound for an optimizer that was trained on the very tasks it is judged by.

The weights w are drawn anew for each task from a posterior Q, which may depend on the N tasks; a
prior P may not. With probability 1 − δ over the tasks, for all Q at once,

    kl(R̂(Q) ‖ R(Q)) ≤ B = (KL(Q‖P) + ln(2√N/δ)) / N,   N ≥ 8            (Maurer 2004)

R the share of failures on future tasks, R̂ that on the N. Where the prior's variances λ_j, one for
each of J groups of weights, are trained as well, they are rounded to λ_j = c exp(−a_j/b), a_j = 1,
2, … and the union over that grid is paid for:

    B = (KL(Q‖P) + ln(2√N/δ) + J ln(π²/6) + 2 Σ_j ln a_j) / N

R̂(Q) is an expectation over w. Pairs of a fresh w and one of the N tasks drawn at random fail
independently with just that probability, so that Clopper–Pearson at δ′ bounds it by R̄. Then

    R(Q) ≤ kl⁻¹(R̄ | B)   with confidence 1 − δ − δ′

Dziugaite & Roy, "Computing nonvacuous generalization bounds for deep (stochastic) neural networks",
UAI 2017; Sambharya & Stellato, 2024, whose union over groups is J-fold here and whose calibration
runs every draw on every task.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import special

from .bounds import GUARD, check_delta, kl_upper

B, C = 100.0, 100.0  # b and c of the grid of prior variances
SMALLEST = 8  # tasks, for ln(2√N)


def budget(divergence: float, n: int, delta: float, grid: Sequence[int] = ()) -> float:
    """B for a posterior of this divergence.

    - `divergence`: KL(Q‖P) ≥ 0, in nats
    - `n`: number of tasks N ≥ 8
    - `delta`: probability that the bound is wrong, in (0, 1)
    - `grid`: a_j ≥ 1 of each group whose prior variance was trained; () if none was
    """
    check_delta(delta)
    if n < SMALLEST:
        raise ValueError(f"A PAC-Bayes bound needs at least {SMALLEST} tasks, got {n}.")
    if not divergence >= 0:
        raise ValueError(f"KL(Q‖P) must not be negative, got {divergence:g}.")
    if any(a < 1 for a in grid):
        raise ValueError(f"Places on the grid of variances begin at 1, got {list(grid)}.")
    paid = len(grid) * math.log(math.pi**2 / 6) + 2 * math.fsum(math.log(a) for a in grid)
    total = divergence + math.log(2 * math.sqrt(n) / delta) + paid
    return total / n * (1 + GUARD)


def risk_bound(seen: float, budget: float) -> float:
    """Bound kl⁻¹(R̄ | B) of the risk on future tasks, from R̄ = `seen` and B = `budget`."""
    return float(kl_upper(seen, budget))


def on_grid(
    variances: Float[np.ndarray, " groups"],
) -> tuple[Float[np.ndarray, " groups"], list[int]]:
    """Prior variances rounded to the grid, and their places a_j ≥ 1 on it."""
    places = [max(1, round(B * math.log(C / float(x)))) for x in variances]
    return np.array([C * math.exp(-a / B) for a in places]), places


def gaussian_divergence(
    mean: Float[np.ndarray, " n"],
    variance: Float[np.ndarray, " n"],
    prior_mean: Float[np.ndarray, " n"],
    prior_variance: Float[np.ndarray, " n"],
) -> float:
    """KL(N(mean, diag variance) ‖ N(prior_mean, diag prior_variance)), in nats.

    - `mean`, `variance`: of the posterior, (n,), variances positive
    - `prior_mean`, `prior_variance`: of the prior, (n,), variances positive
    """
    if not (np.all(variance > 0) and np.all(prior_variance > 0)):
        raise ValueError("Variances of posterior and prior must be positive.")
    ratio = variance / prior_variance
    off = (mean - prior_mean) ** 2 / prior_variance
    return max(0.0, 0.5 * math.fsum(ratio - 1 - np.log(ratio) + off))


def gibbs(
    risks: Float[np.ndarray, " support"],
    prior: Float[np.ndarray, " support"],
    n: int,
    delta: float,
    temperatures: Sequence[float] = tuple(10.0**e for e in np.arange(-3, 3.01, 0.25)),
) -> tuple[Float[np.ndarray, " support"], float]:
    """The posterior q ∝ p exp(−β n r̂) with the lowest bound, and its KL(q‖p).

    Any β may be picked after a look at the risks, as the bound holds for all posteriors at once.

    - `risks`: r̂, share of failures of each member on the n tasks, (support,), in [0, 1]
    - `prior`: p, probability of each member, (support,)
    - `n`: number of tasks N ≥ 8
    - `delta`: probability that the bound is wrong, in (0, 1)
    - `temperatures`: the β > 0 to try, besides β = 0
    """
    betas = np.array([0.0, *temperatures])[:, None]
    logits = np.log(prior) - betas * n * (risks - risks.min())
    q = special.softmax(logits, axis=1)  # (temperatures, support)
    divergences = np.maximum(0.0, special.rel_entr(q, prior).sum(axis=1))
    budgets = [budget(float(divergence), n, delta) for divergence in divergences]
    best = int(kl_upper(np.minimum(1.0, q @ risks), budgets).argmin())
    return q[best], float(divergences[best])
