"""Do a formula's numbers gain by meta-training, and does the formula stay good elsewhere?

    start    FORMULA, numbers like those of its teacher, rnnprop-v1
    plain    the same after ordinary meta-training on TASK: truncated BPTT, validation
    flat     the same with a penalty: STRENGTH · ln of the Gauss–Newton trace, after each unroll

Fresh trainings of TASK, and of tasks that the numbers were not tuned on; each of the arms and the
start on the same problems, batches and starts. In the table are geometric means of the ratio of
losses, tuned to start.

    steppe reproduce symbolic.tuning --scale small
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax.random as jr
import optax

from ...core.objective import AbstractObjective
from ...core.optimizer import AbstractOptimizer
from ...core.task import AbstractTask
from ...estimators.bptt import BPTT
from ...evaluation.engines import Row
from ...evaluation.run import evaluate, trainer
from ...flatness.hessian import GaussNewtonTrace
from ...objectives.regularized import Regularized
from ...objectives.trajectory import Trajectory
from ...optimizers.learned.symbolic import Symbolic
from ...tasks import build
from ...train.loop import meta_train
from ...train.validate import Validation
from ..study import (
    Cell,
    Conclusion,
    Record,
    Study,
    Verdict,
    markdown,
    records,
    sentences,
    use_cores,
)
from .sizes import Tuning

FORMULA = "-0.01 * tanh(1 * mn95 + 0.4 * gn95)"
TASK = "digits-relu"
OTHERS = ("digits-mlp", "digits-deeper", "lasso")
ARMS = ("plain", "flat")
STRENGTH = 0.1  # of ln(trace) beside the log loss
RATE = 0.02  # of Adam: a share of each number
EPISODES, LENGTH = 8, 20
WORSE = 1.05


def cells(settings: Tuning) -> Iterator[Cell]:
    sizes = {"updates": settings.updates, "horizon": settings.horizon, "fresh": settings.fresh}
    for seed in range(settings.seeds):
        for arm in ARMS:
            yield {"arm": arm, "seed": seed, "task": TASK, "others": list(OTHERS), **sizes}


def run(cell: Cell) -> dict[str, Any]:
    """The tuned formula, and its losses beside those of the start."""
    use_cores()
    start = Symbolic(FORMULA)
    tuned = tune(cell, start)
    tasks = [cell["task"], *cell["others"]]
    return {
        "formula": tuned.text(4),
        "losses": {name: compared(name, start, tuned, cell) for name in tasks},
    }


def tune(cell: Cell, start: Symbolic) -> Symbolic:
    objective: AbstractObjective = Trajectory()
    if cell["arm"] == "flat":
        objective = Regularized(objective, GaussNewtonTrace(), STRENGTH, normalise="log")
    steps = cell["updates"]
    found, _ = meta_train(
        problem(cell["task"]),
        start,
        estimator=BPTT(EPISODES, LENGTH, cell["horizon"]),
        objective=objective,
        meta_tx=optax.adam(optax.cosine_decay_schedule(RATE, steps)),
        steps=steps,
        key=jr.key(cell["seed"]),
        validation=Validation(every=max(1, steps // 4), horizon=cell["horizon"], episodes=8),
    )
    assert isinstance(found, Symbolic)
    return found


def problem(name: str) -> AbstractTask:
    return build(name, start="he") if name.startswith("digits") else build(name)


def compared(
    name: str, start: AbstractOptimizer, tuned: AbstractOptimizer, cell: Cell
) -> dict[str, list[float | None]]:
    """Training losses at the horizon, problem by problem."""
    task = problem(name)
    train = trainer(task, start, horizon=cell["horizon"], points=1)
    how = {"horizon": cell["horizon"], "seeds": cell["fresh"], "points": 1, "ms_per_step": 1.0}
    key = jr.key(1000 + cell["seed"])
    found = [
        evaluate(task, opt, name="", task_name="", key=key, train=train, **how)
        for opt in (start, tuned)
    ]
    return dict(zip(("start", "tuned"), (r.final("train_loss") for r in found), strict=True))


def conclude(settings: Tuning, rows: Sequence[Row]) -> Conclusion:
    found = records(rows)
    head = ["arm", "meta-seed", "formula", *(f"{name}, ratio (better)" for name in (TASK, *OTHERS))]
    lines = [
        [
            r["arm"],
            str(r["seed"]),
            f"`{r['formula']}`",
            *(said(r["losses"][n]) for n in (TASK, *OTHERS)),
        ]
        for r in found
    ]
    verdicts = [verdict for arm in ARMS for verdict in judged(found, arm)]
    parts = [f"Start: `{FORMULA}`", markdown(head, lines), sentences(verdicts)]
    return Conclusion("\n\n".join(parts), {"records": found}, verdicts)


def said(losses: dict[str, list[float | None]]) -> str:
    better, count = wins(losses)
    return f"{ratio(losses):.3f} ({better} of {count})"


def wins(losses: dict[str, list[float | None]]) -> tuple[int, int]:
    """On how many problems the tuned formula has the lower loss, and of how many."""
    pairs = list(zip(losses["start"], losses["tuned"], strict=True))
    return sum(b is not None and (a is None or b < a) for a, b in pairs), len(pairs)


def ratio(losses: dict[str, list[float | None]]) -> float:
    """Geometric mean of the ratio of losses; infinite where the tuned formula diverged alone."""
    pairs = [(a, b) for a, b in zip(losses["start"], losses["tuned"], strict=True) if a is not None]
    if any(b is None for _, b in pairs):
        return math.inf
    return math.exp(sum(math.log(b / a) for a, b in pairs if b) / max(len(pairs), 1))


def judged(found: Sequence[Record], arm: str) -> list[Verdict]:
    mine = [r["losses"] for r in found if r["arm"] == arm]
    won = [wins(losses[TASK]) for losses in mine]
    away = {name: max(ratio(losses[name]) for losses in mine) for name in OTHERS}
    return [
        Verdict(
            f"{arm}: tuning lowers the loss on 8 of 10 fresh trainings of its task, for every seed",
            all(better >= 0.8 * count for better, count in won),
            ", ".join(f"{better} of {count}" for better, count in won),
        ),
        Verdict(
            f"{arm}: on no other task is the mean loss more than {WORSE - 1:.0%} worse",
            max(away.values()) <= WORSE,
            "the largest ratios are " + ", ".join(f"{x:.3f} on {name}" for name, x in away.items()),
        ),
    ]


STUDY = Study(cells, f"{__name__}:run", conclude)
