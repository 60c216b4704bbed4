"""E8: what a penalty in meta-training promises and what not, M6 and M7 of docs/theory.md."""

import math

import numpy as np

from ...certificates import pac_bayes
from ...core.types import Key
from . import carry_over, tasks
from .carry_over import ETA, MEMBERS, N
from .row import Row, at_most, equal
from .tasks import Array

TITLE = "What a penalty in meta-training can promise"
PENALTIES = (0.0, 0.003, 0.03, 0.3, 3.0)  # ρ
SMALL, LARGE = 0.01, 0.2  # radii of a shift
MANY = 200  # tasks, where a bound of M6 says something


def rows(key: Key) -> list[Row]:
    runs = tasks.descents()
    return [*_trade(runs), _new_tasks(runs), *_points(), *_worse(runs), _same_function()]


def picked(loss: Array, flat: Array, penalty: float) -> Array:
    """The member of lowest L_N + ρ S_N, one an outcome."""
    return np.argmin(loss + penalty * flat, axis=-1)


def _trade(runs: tasks.Runs) -> list[Row]:
    """M6 on the training tasks: of all outcomes, and of penalties next to each other."""
    seen, _ = tasks.counts(N, runs.chance)
    loss, flat = seen / N @ runs.loss.T, seen / N @ runs.flat.T
    at = lambda values, which: np.take_along_axis(values, which[:, None], axis=1)[:, 0]
    found = [picked(loss, flat, penalty) for penalty in PENALTIES]
    flatness = np.stack([at(flat, which) for which in found])
    losses = np.stack([at(loss, which) for which in found])
    price = np.array(PENALTIES)[:, None]
    paid = losses - losses[:1]
    gained = price * (flatness[:1] - flatness)
    return [
        at_most("E8.1", "M6  S_N falls as ρ grows", flatness[1:], flatness[:-1]),
        at_most("E8.2", "M6  L_N rises as ρ grows", 1 + losses[:-1], 1 + losses[1:]),
        at_most("E8.3", "M6  L_N rises by ρ(S_N falls) at most", 1 + paid, 1 + gained),
    ]


def _new_tasks(runs: tasks.Runs) -> Row:
    """M6 on new tasks: how often L + ρS of the picked member is above the best by more."""
    seen, chance = tasks.counts(MANY, runs.chance)
    loss, flat = seen / MANY @ runs.loss.T, seen / MANY @ runs.flat.T
    failed = []
    for penalty in PENALTIES:
        new = (runs.loss + penalty * runs.flat) @ runs.chance
        slack = 2 * (1 + penalty) * math.sqrt(math.log(2 * len(new) / ETA) / (2 * MANY))
        failed.append(chance @ (new[picked(loss, flat, penalty)] > new.min() + slack))
    return at_most("E8.4", "M6  J(φ̂) ≤ min J + slack: wrong ≤ η", failed, ETA)


def _points() -> list[Row]:
    """M7: the flattest of many on N training tasks, as flat as any other on new ones."""
    p = 0.5
    free = carry_over.too_small(pac_bayes.budget(0.0, N, ETA), p)
    paid = carry_over.too_small(pac_bayes.budget(math.log(MEMBERS), N, ETA), p)
    lucky = lambda most: tasks.chance_of_a_lucky_one(MEMBERS, N, p, most)
    all_flat = tasks.chance_of_a_lucky_one(5 * 2**N, N, p, 0)
    return [
        at_most("E8.5", "M7  a point, without ln(1/p): wrong > η", ETA, lucky(free)),
        at_most("E8.6", "M7  the same with ln(1/p): wrong ≤ η", lucky(paid), ETA),
        at_most("E8.7", "M7  S_N = 0, S = ½ with chance > 0.99", 0.99, all_flat),
    ]


def _worse(runs: tasks.Runs) -> list[Row]:
    """M7: the penalised optimizer is flatter; its test loss is by how far the loss shifts."""
    plain, flat = (
        picked(runs.loss @ runs.chance, runs.flat @ runs.chance, rho) for rho in (0.0, 0.3)
    )
    worst = lambda which, radius: float(shifted(runs.ends[:, which], radius) @ runs.chance)
    curvature = tasks.CLIP * (runs.flat @ runs.chance)[[flat, plain]]
    return [
        at_most("E8.8", "M7  penalised: flatter on new tasks", *curvature),
        at_most("E8.9", "M7  and worse, r = 0.01", worst(plain, SMALL), worst(flat, SMALL)),
        at_most("E8.10", "M7  but better, r = 0.2", worst(flat, LARGE), worst(plain, LARGE)),
    ]


def shifted(ends: Array, radius: float) -> Array:
    """The worst loss ½ (ab − 1)² within `radius` of each point (a, b), of 720 directions."""
    angle = np.linspace(0, 2 * np.pi, 720, endpoint=False)[:, None]
    a, b = ends[0] + radius * np.cos(angle), ends[1] + radius * np.sin(angle)
    return np.max((a * b - 1) ** 2 / 2, axis=0)


def _same_function() -> Row:
    """M7: (c, 1/c) and (1, 1) have one product, so one loss on any data, and other curvatures."""
    c = np.array([2.0, 5.0, 10.0])
    target = np.linspace(0.2, 2.0, 10)[:, None]  # what data ask of the product
    loss = lambda a, b: np.mean((a * b - target) ** 2, axis=0) / 2
    return equal(
        "E8.11",
        "M7  flatter, and the same test loss",
        loss(c, 1 / c),
        loss(1.0, 1.0),
        relative=1e-12,
    )
