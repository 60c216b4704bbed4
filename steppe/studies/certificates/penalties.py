"""Do flat optimizers pay a smaller PAC-Bayes penalty than their plain twins, at equal risk?

A flat minimum bears more noise at the same risk, so that its posterior may be wider and its
KL(Q‖P) smaller. "Flat" is said of the networks that an optimizer trains; whether the optimizer's
own weights θ then bear more noise is the question.

    Q_s = N(θ, s I)          θ meta-trained: none, with a penalty on ‖weights‖², with a flatness one
    P   = N(θ₀, Λ)           θ₀ before meta-training, λ_j the best for leaf j, on the paid-for grid
    R_s = P(loss after STEPS > tolerance), w ~ Q_s, on fresh tasks
    B_s = (KL(Q_s‖P) + ln(2√N/δ) + J ln(π²/6) + 2 Σ_j ln a_j) / N

Equal risk r: the largest s of the grid, interpolated, up to which R_s ≤ r. There s and B are read.

    steppe reproduce certificates.penalties --scale small

Meta-training is that of the study (`steppe/studies/flatness/scales.py`, "small", plain technique).
Everything is fixed here before anything runs, but for the grid of s: four cells with 1e-7 … 0.1 had
shown that risks rise above 1e-4 alone. What came out is in `README.md` beside this file.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from ...certificates import pac_bayes
from ...certificates.pac_bayes import Gaussian, around
from ...certificates.randomised import Pairs
from ...core.optimizer import AbstractOptimizer
from ...core.types import Split
from ...evaluation.engines import Row
from ...evaluation.stats import Interval, differences, interval
from ..flatness import design, work
from ..flatness.scales import SMALL
from ..study import Cell, Conclusion, Study, markdown
from .settings import Penalties

ARMS = (design.NONE, design.NORM, design.CHOICE)
SPREADS = tuple(float(f"{10 ** (k / 2):.3g}") for k in range(-9, -1))  # s, 3e-5 … 0.1
SPLITS: tuple[Split, ...] = ("valid",)
STEPS = 200
TOLERANCES = (0.5, 0.3, 0.2)
LEVELS = (0.1, 0.2, 0.5)  # of risk
N, DELTA = 1000, 0.01  # of the bound


def cells(settings: Penalties) -> Iterator[Cell]:
    for seed in settings.seeds:
        for optimizer in design.OPTIMIZERS:
            for arm in ARMS:
                arm = arm.replace(design.CHOICE, SMALL.flat[optimizer])
                cell = design.learned(SMALL, optimizer, "plain", arm, seed)
                keep = ("optimizer", "arm", "meta_seed", "recipe", "meta_task")
                sizes = {"spreads": list(SPREADS), "steps": STEPS, "pairs": settings.pairs}
                yield {name: cell[name] for name in keep} | sizes | {"tolerances": list(TOLERANCES)}


def measure(cell: Mapping[str, Any]) -> dict[str, Any]:
    """Divergence and risks by spread; the weights and tasks are the same for every twin."""
    first, _, _ = work.start(cell)
    opt, meta = work.train(cell)
    task = work.build_task(cell["meta_task"])
    tasks = jr.split(jr.key(cell["meta_seed"]), 4096)
    found: dict[str, Any] = {"meta": meta, "weights": 0, "divergence": [], "places": []}
    risks: dict[str, list] = {split: [] for split in SPLITS}
    for s in cell["spreads"]:
        posterior, places = spread(opt, first, s)
        found["weights"] = sum(leaf.size for leaf in jax.tree.leaves(posterior.mean))
        found["divergence"].append(posterior.exact_divergence())
        found["places"].append(places)
        for split in SPLITS:
            runs = Pairs(task, posterior, tasks, split=split)
            ends = runs.run(0, range(cell["pairs"]), cell["steps"]).errors[:, -1]
            risks[split].append([float(np.mean(~(ends <= t))) for t in cell["tolerances"]])
    return found | {"risks": risks}


def spread(
    opt: AbstractOptimizer, first: AbstractOptimizer, s: float
) -> tuple[Gaussian, list[int]]:
    """N(θ, s I) beside a prior around `first` with the variances that make KL least."""
    q = around(opt, first, apart=True)
    pairs = zip(jax.tree.leaves(q.mean), jax.tree.leaves(q.prior_mean), strict=True)
    best = [s + float(np.mean((np.asarray(m, np.float64) - np.asarray(p)) ** 2)) for m, p in pairs]
    q = eqx.tree_at(
        lambda q: (q.log_variance, q.log_prior),
        q,
        (
            jax.tree.map(lambda m: jnp.full_like(m, math.log(s)), q.mean),
            jnp.log(jnp.asarray(best, q.log_prior.dtype)),
        ),
    )
    return q.on_grid()


def at_risk(
    spreads: Sequence[float], risks: Sequence[float], budgets: Sequence[float], level: float
) -> tuple[float, float] | None:
    """ln s and B where the risk first exceeds `level`; None if it does from the start.

    >>> at_risk([1.0, 10.0, 100.0], [0.0, 0.0, 0.4], [3.0, 2.0, 1.0], 0.2)
    (3.453877639491069, 1.5)
    """
    above = [risk > level for risk in risks]
    if above[0]:
        return None
    if not any(above):
        return math.log(spreads[-1]), budgets[-1]
    k = above.index(True)
    share = (level - risks[k - 1]) / (risks[k] - risks[k - 1])
    between = lambda low, high: low + share * (high - low)
    return between(math.log(spreads[k - 1]), math.log(spreads[k])), between(*budgets[k - 1 : k + 1])


def table(rows: Iterable[Row]) -> str:
    done = {
        (row.cell["optimizer"], row.cell["arm"], row.cell["meta_seed"]): row
        for row in rows
        if row.result is not None
    }
    seeds = sorted({seed for _, _, seed in done})
    head = ["optimizer", "loss on", "tolerance", "risk", "B, plain", "B, norm − plain",
            "B, flat − plain", "ln s, flat − plain", "B, flat − norm"]  # fmt: skip
    lines = []
    for optimizer in design.OPTIMIZERS:
        for split in SPLITS:
            for j, tolerance in enumerate(TOLERANCES):
                for level in LEVELS:
                    seen = {
                        arm: [read(done.get((optimizer, arm, s)), split, j, level) for s in seeds]
                        for arm in (design.NONE, design.NORM, SMALL.flat[optimizer])
                    }
                    place = [optimizer, split, str(tolerance), str(level)]
                    lines.append([*place, *line(*seen.values())])
    return markdown(head, lines)


Read = tuple[float, float] | None  # ln s and B


def read(row: Row | None, split: str, j: int, level: float) -> Read:
    if row is None or row.result is None:
        return None
    result = row.result
    budgets = [
        pac_bayes.budget(kl, N, DELTA, places)
        for kl, places in zip(result["divergence"], result["places"], strict=True)
    ]
    risks = [at[j] for at in result["risks"][split]]
    return at_risk(row.cell["spreads"], risks, budgets, level)


def line(plain: list, norm: list, flat: list) -> list[str]:
    take = lambda seen, k: [None if x is None else x[k] for x in seen]
    less = lambda ours, theirs, k: shown(interval(differences(take(ours, k), take(theirs, k))))
    return [
        shown(interval(take(plain, 1))),
        less(norm, plain, 1),
        less(flat, plain, 1),
        less(flat, plain, 0),
        less(flat, norm, 1),
    ]


def shown(x: Interval) -> str:
    if x.mean is None:
        return "–"
    half = "" if x.half is None else f" ± {x.half:.2f}"
    return f"{x.mean:+.2f}{half} (n = {x.n})"


def conclude(settings: Penalties, rows: Sequence[Row]) -> Conclusion:
    return Conclusion(table(rows))


STUDY = Study(cells, f"{__name__}:measure", conclude)
