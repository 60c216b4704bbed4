"""E6: flatness learned on training tasks carries over to new ones, M1 to M3 of docs/theory.md.

Every probability over the N training tasks is a sum over all their outcomes, not an estimate.
"""

import math

import numpy as np
from scipy import special

from ...certificates import bounds, pac_bayes, transfer
from ...core.types import Key
from . import tasks
from .row import Row, at_most, equal
from .tasks import Array

TITLE = "Flatness learned on training tasks, on new ones"
N, ETA = 24, 0.1  # training tasks, and the chance that a bound may be wrong
MEMBERS = 1000  # of a finite posterior
RATES = (1.0, 10.0, 100.0)  # λ of Gibbs posteriors
PRIOR = (math.log(0.03), 0.7)  # mean and deviation of φ
MEANS = np.log(np.geomspace(0.02, 0.5, 12))  # of Gaussian posteriors
SPREADS = (0.1, 0.3, 1.0)  # their deviations, and σ of M3
MANY = 10_000  # tasks, where numbers alone are compared


def rows(key: Key) -> list[Row]:
    runs = tasks.descents()
    seen, chance = tasks.counts(N, runs.chance)
    on_tasks = seen / N @ runs.flat.T  # S_N of each member, (outcomes, members)
    on_new = runs.flat @ runs.chance  # S, (members,)
    return [
        _exponential(runs, seen, chance),
        _finite(),
        _gaussian(on_tasks, on_new, chance),
        _threshold(runs),
        *_gibbs(on_tasks, on_new, chance),
        *_which(on_new),
        *_stable(runs, seen, on_tasks, on_new, chance),
    ]


def wrong(seen: Array, new: Array, budget: Array, chance: Array) -> float:
    """Chance of the outcomes in which the bound is below the truth for any of the posteriors.

    - `seen`: S_N(Q), (outcomes, posteriors); `new`: S(Q), and `budget`: B, of the same shape
    """
    false = transfer.mean_on_new_tasks(np.clip(seen, 0, 1), budget) < new - 1e-12
    return float(chance @ false.reshape(len(chance), -1).any(axis=1))


def _exponential(runs: tasks.Runs, seen: Array, chance: Array) -> Row:
    """The core of M1, for the members and for a coin, where it is nearest to equality."""
    values = np.vstack([runs.flat, [1.0, 0.0, 0.0]])
    small = np.clip(seen / N @ values.T, 0, 1)
    mean = chance @ np.exp(N * bounds.kl(small, np.clip(values @ runs.chance, 0, 1)))
    return at_most("E6.1", "M1  E exp(N kl(S_N‖S)) ≤ 2√N", mean, 2 * math.sqrt(N))


def too_small(budget: float, p: float) -> int:
    """The most sharp runs of N for which the bound is below p; −1 if there is none."""
    bound = transfer.mean_on_new_tasks(np.arange(N + 1) / N, budget)
    return int((bound < p).sum()) - 1


def _finite() -> Row:
    """M1 of `MEMBERS` members that are sharp with chance p each, whichever is picked."""
    budget = pac_bayes.budget(math.log(MEMBERS), N, ETA)
    failed = [
        tasks.chance_of_a_lucky_one(MEMBERS, N, p, too_small(budget, p))
        for p in np.linspace(0.05, 0.95, 181)
    ]
    return at_most("E6.2", "M1  finite Q: wrong with chance ≤ η", failed, ETA)


def _gaussian(on_tasks: Array, on_new: Array, chance: Array) -> Row:
    """M1 for Gaussian posteriors of φ, all of a grid at once."""
    mean, spread = (x.ravel() for x in np.meshgrid(MEANS, SPREADS))
    cells = tasks.gaussian_cells(mean, spread)
    budgets = [
        pac_bayes.budget(gaussian(m, s, *PRIOR), N, ETA) for m, s in zip(mean, spread, strict=True)
    ]
    failed = wrong(on_tasks @ cells.T, cells @ on_new, np.array(budgets), chance)
    return at_most("E6.3", "M1  Gaussian Q, all at once: chance ≤ η", failed, ETA)


def gaussian(mean: float, spread: float, prior_mean: float, prior_spread: float) -> float:
    """KL of two Gaussians of one dimension, given by their deviations."""
    numbers = (mean, spread**2, prior_mean, prior_spread**2)
    return pac_bayes.gaussian_divergence(*(np.array([x]) for x in numbers))


def _threshold(runs: tasks.Runs) -> Row:
    """Shares of values against means of clipped values, for thresholds up to the clip."""
    levels = np.linspace(0.02, 1, 50)
    above = (runs.flat[..., None] >= levels) * runs.chance[:, None]  # (members, kinds, levels)
    bound = [[transfer.share_above(s, t) for t in levels] for s in runs.flat @ runs.chance]
    return at_most("E6.4", "M1  P[h ≥ t] ≤ E min(h, c)/t, t ≤ c", above.sum(axis=1), bound)


def _gibbs(on_tasks: Array, on_new: Array, chance: Array) -> list[Row]:
    """M2 on every outcome: its identity, its step, and how often it is wrong."""
    left, right, paid, allowed, failed = [], [], [], [], []
    log = math.log(2 * math.sqrt(N) / ETA)
    prior = tasks.gaussian_cells(np.array(PRIOR[:1]), np.array(PRIOR[1:]))[0]
    with np.errstate(divide="ignore"):
        logits = np.log(prior)
    for rate in RATES:
        q = tasks.normalised(logits - rate * on_tasks)
        local = np.broadcast_to(tasks.normalised(logits - rate * on_new), q.shape)
        forth, back = tasks.divergence(q, local), tasks.divergence(local, q)
        left.append(forth + back)
        right.append(rate * np.sum((q - local) * (on_new - on_tasks), axis=1))
        mean = lambda law, values: np.clip(np.sum(law * values, axis=1), 0, 1)
        good = N * bounds.kl(mean(q, on_tasks), mean(q, on_new)) <= forth + log
        good &= N * bounds.kl(mean(local, on_tasks), mean(local, on_new)) <= log
        budget = transfer.gibbs_budget(rate, N, ETA)
        paid.append((forth + log)[good])
        allowed.append(np.full(good.sum(), N * budget))
        failed.append(wrong(mean(q, on_tasks), mean(q, on_new), np.array(budget), chance))
    some = np.concatenate(left) > 1e-3  # a difference of rounding errors below
    left, right = np.concatenate(left)[some], np.concatenate(right)[some]
    return [
        equal("E6.5", "M2  KL(Q‖P*) + KL(P*‖Q) = λ(Δ_Q − Δ_P*)", left, right, relative=1e-9),
        at_most(
            "E6.6",
            "M2  so KL(Q‖P*) + L ≤ (√L + λ/√2N)²",
            np.concatenate(paid),
            np.concatenate(allowed),
        ),
        at_most("E6.7", "M2  Gibbs Q: wrong with chance ≤ η", failed, ETA),
    ]


def _which(on_new: Array) -> list[Row]:
    """M1 and M2 of the same Gibbs posteriors, where S_N = S: each is tighter somewhere."""
    prior = tasks.gaussian_cells(np.array([math.log(0.02)]), np.array([0.3]))[0]
    local, free = [], []
    for n, rate in ((MANY, 400.0), (100, 10.0)):
        with np.errstate(divide="ignore"):
            q = tasks.normalised(np.log(prior) - rate * on_new)
        seen = float(q @ on_new)
        paid = pac_bayes.budget(float(tasks.divergence(q, prior)), n, 0.01)
        free.append(transfer.mean_on_new_tasks(seen, paid))
        local.append(transfer.mean_on_new_tasks(seen, transfer.gibbs_budget(rate, n, 0.01)))
    return [
        at_most("E6.8", "M2 tighter than M1, N = 10⁴, a far posterior", local[0], free[0]),
        at_most("E6.9", "M1 tighter than M2, N = 100, a near one", free[1], local[1]),
    ]


def moved_by(best: Array) -> float:
    """κ: another task in place of one of N moves the mean of its weights by at most κ/N."""
    return float(np.ptp(best))


def _stable(
    runs: tasks.Runs, seen: Array, on_tasks: Array, on_new: Array, chance: Array
) -> list[Row]:
    """M3 with A the mean over the tasks of the weight that suits each of them best."""
    best = runs.phi[np.argmin(runs.loss + runs.flat, axis=0)]  # of each kind
    moved = moved_by(best)
    A, centre = seen / N @ best, float(best @ runs.chance)
    off = np.abs(A - centre)
    far = moved * (1 + math.sqrt(math.log(1 / ETA))) / math.sqrt(2 * N)
    failed = []
    for spread in SPREADS:
        cells = tasks.gaussian_cells(A, np.full_like(A, spread))
        budget = transfer.stable_budget(moved, spread, N, ETA)
        S_N = np.clip(np.sum(cells * on_tasks, axis=1), 0, 1)
        failed.append(wrong(S_N, np.clip(cells @ on_new, 0, 1), np.array(budget), chance))
    return [
        at_most("E6.10", "M3  E ‖A − EA‖² ≤ κ²/2N", chance @ off**2, moved**2 / (2 * N)),
        at_most("E6.11", "M3  ‖A − EA‖ is far with chance ≤ η", chance @ (off > far), ETA),
        at_most("E6.12", "M3  Gaussian Q: wrong with chance ≤ η", failed, ETA),
        _against_uniform_stability(),
    ]


def _against_uniform_stability() -> Row:
    """M3 and the classical bound for what is β-stable, at S_N = 0.05 and κ = 1."""
    n, delta, seen = 1000, 0.01, 0.05
    ours, classical = [], []
    for spread in SPREADS:
        beta = 2 * special.ndtr(1 / (2 * n * spread)) - 1  # total variation of two Gaussians
        slack = math.sqrt(math.log(1 / delta) / (2 * n))
        classical.append(seen + beta + (2 * n * beta + 1) * slack)
        budget = transfer.stable_budget(1.0, spread, n, delta)
        ours.append(transfer.mean_on_new_tasks(seen, budget))
    return at_most("E6.13", "M3 tighter than uniform stability, N = 1000", ours, classical)
