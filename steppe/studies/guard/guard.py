"""Is a shipped optimizer with a guard safe on problems unlike its own, and what does that cost?

Three questions of `to_optax(opt, guard=True)`, see `optimizers/watchdog.py`:

- On four plain problems, does it come to the minimum? Alone and guarded, each shipped optimizer.
- On digits, what it was trained for: by how much is the training loss higher with the guard?
  The same starts and batches for both, seed by seed.
- Where the rule is turned against the loss, sign flipped and ten times as large, or gives NaN: how
  far is the guarded training from one by Adam alone?

    steppe reproduce guard --scale small

Results: `README.md` beside this file.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array

from ...core.optimizer import AbstractOptimizer
from ...core.types import Key, OptState, Params, Updates
from ...evaluation.engines import Row
from ...evaluation.records import Record as Evaluation
from ...evaluation.run import Train, evaluate, trainer
from ...evaluation.stats import Interval, paired
from ...interop.optax import ADAM_RATE
from ...optimizers.classic.from_optax import adam
from ...optimizers.watchdog import Watchdog
from ...tasks import build
from ...zoo import load
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
from .settings import Guards
from .suite import TOLERANCE, miss, problems

SHIPPED = (
    "dm-v1", "dm-flat-v1", "rnnprop-v1", "rnnprop-flat-v1", "l2o-scale-v1", "l2o-scale-flat-v1",
    "dm-flat-v1-symbolic", "rnnprop-flat-v1-symbolic",
)  # fmt: skip
TASK = "digits-relu"
ATTACKS = {"flipped, 10 times": -10.0, "flipped": -1.0, "NaN": math.nan}
COST = 1.03  # of the loss, at most


class Turned(AbstractOptimizer):
    """A multiple of the steps of another rule."""

    base: AbstractOptimizer
    factor: Array = eqx.field(converter=jnp.asarray)

    def init(self, params: Params, *, key: Key | None = None) -> OptState:
        return self.base.init(params, key=key)

    def update(
        self, grads: Updates, state: OptState, params: Params, **extra
    ) -> tuple[Updates, OptState]:
        updates, state = self.base.update(grads, state, params, **extra)
        return jtu.tree_map(lambda u: (self.factor * u).astype(u.dtype), updates), state


def cells(settings: Guards) -> Iterator[Cell]:
    sizes = {"seeds": settings.seeds, "horizon": settings.horizon}
    yield {"part": "adam", "task": TASK, **sizes}
    for name in SHIPPED:
        yield {"part": "plain", "optimizer": name, "steps": settings.steps}
        yield {"part": "digits", "optimizer": name, "task": TASK, **sizes}


def run(cell: Cell) -> dict[str, Any]:
    use_cores()
    return {"plain": plain, "digits": digits, "adam": by_adam}[cell["part"]](cell)


def plain(cell: Cell) -> dict[str, Any]:
    """Distance to the minimum in tolerances, with and without a guard."""
    opt, found = load(cell["optimizer"]), []
    for name, problem in problems().items():
        alone, _ = miss(opt, problem, False, cell["steps"])
        guarded, dismissals = miss(opt, problem, True, cell["steps"])
        row = {"problem": name, "alone": figure(alone), "guarded": figure(guarded)}
        found.append({**row, "dismissals": int(dismissals)})
    return {"rows": found}


def digits(cell: Cell) -> dict[str, Any]:
    """Training losses seed by seed: alone, guarded, and guarded against the attacks."""
    opt = load(cell["optimizer"])
    turned = lambda factor: Watchdog(Turned(opt, factor), adam(ADAM_RATE))
    task = build(cell["task"], start="he")
    train = trainer(task, turned(1.0), horizon=cell["horizon"], points=1)
    guarded = losses(cell, turned(1.0), train)
    return {
        "alone": losses(cell, opt).final("train_loss"),
        "guarded": guarded.final("train_loss"),
        "dismissals": [row[-1] for row in guarded.metrics["dismissals"]],
        "attacks": {
            name: losses(cell, turned(factor), train).final("train_loss")
            for name, factor in ATTACKS.items()
        },
    }


def by_adam(cell: Cell) -> dict[str, Any]:
    """Training losses of the fallback alone, and at the start."""
    found = losses(cell, adam(ADAM_RATE))
    start = [row[0] for row in found.metrics["train_loss"]]
    return {"alone": found.final("train_loss"), "start": start}


def losses(cell: Cell, opt: AbstractOptimizer, train: Train | None = None) -> Evaluation:
    return evaluate(
        build(cell["task"], start="he"), opt, name="", task_name="", horizon=cell["horizon"],
        seeds=cell["seeds"], key=jr.key(0), points=1, ms_per_step=1.0, train=train,
    )  # fmt: skip


def figure(x: Any) -> float | None:
    """Three digits, or None for what is not finite."""
    return float(f"{float(x):.3g}") if math.isfinite(x) else None


def conclude(settings: Guards, rows: Sequence[Row]) -> Conclusion:
    found = records(rows)
    plain, digits, adams = (
        [record for record in found if record["part"] == part]
        for part in ("plain", "digits", "adam")
    )
    said = verdicts(plain, digits, adams[0])
    length, runs = adams[0]["horizon"], adams[0]["seeds"]
    parts = [
        f"Distance to the minimum after {plain[0]['steps']} steps, in tolerances of {TOLERANCE}: "
        "alone → guarded (dismissals)",
        plain_table(plain),
        f"Training loss after {length} steps on digits, {runs} trainings: geometric means, and the "
        "ratio seed by seed",
        digits_table(digits),
        "The same loss where the rule is turned against it, guarded",
        attack_table(digits, adams[0]),
        sentences(said),
    ]
    return Conclusion("\n\n".join(parts), {"records": found}, said)


def verdicts(plain: list[Record], digits: list[Record], adam: Record) -> list[Verdict]:
    inside = [passes(record["guarded"]) for record in plain]
    alone = sum(passes(record["alone"]) for record in plain)
    costs = [cost(record) for record in digits]
    ends = [
        (math.inf if end is None else end, start, theirs)
        for record in digits
        for losses in record["attacks"].values()
        for end, start, theirs in zip(losses, adam["start"], adam["alone"], strict=True)
    ]
    return [
        Verdict(
            "Guarded, every shipped optimizer comes to every minimum",
            all(inside),
            f"{sum(inside)} of {len(inside)}; alone {alone}",
        ),
        Verdict(
            f"The guard costs at most {COST - 1:.0%} of the loss on digits",
            max(costs) <= COST,
            f"the largest of {len(costs)} mean ratios is {max(costs):.3f}",
        ),
        Verdict(
            "No attack ends above its start",
            all(end < start for end, start, _ in ends),
            f"{len(ends)} trainings, at most {max(a / c for a, _, c in ends):.2f} × Adam's loss",
        ),
    ]


def passes(missed: float | None) -> bool:
    return missed is not None and missed <= 1


def cost(record: Record) -> float:
    """Mean ratio of the losses, guarded to alone: geometric, seed by seed."""
    mean = ratio(record).mean
    return math.inf if mean is None or None in record["guarded"] else math.exp(mean)


def ratio(record: Record) -> Interval:
    """ln of that ratio."""
    logs = [[x and math.log(x) for x in record[side]] for side in ("guarded", "alone")]
    return paired(*logs).difference


def plain_table(found: list[Record]) -> str:
    """Distances in tolerances; the dismissals of the guarded run."""
    head = ["optimizer", *dict.fromkeys(record["problem"] for record in found)]
    lines = []
    for name in dict.fromkeys(record["optimizer"] for record in found):
        own = [record for record in found if record["optimizer"] == name]
        lines.append([name, *(
            f"{distance(r['alone'])} → {distance(r['guarded'])} ({r['dismissals']})" for r in own
        )])  # fmt: skip
    return markdown(head, lines)


def distance(missed: float | None) -> str:
    """Bold where the tolerance is missed."""
    if missed is None:
        return "**not finite**"
    return f"{missed:.2g}" if passes(missed) else f"**{missed:.3g}**"


def digits_table(found: list[Record]) -> str:
    head = ["optimizer", "loss alone", "loss guarded", "ratio, mean [95 %]", "most", "dismissals"]
    lines = []
    for record in found:
        logs, pairs = ratio(record), zip(record["guarded"], record["alone"], strict=True)
        known = [math.exp(x) for x in (logs.mean, logs.low, logs.high) if x is not None]
        lines.append([
            record["optimizer"],
            *(f"{geometric(record[side]):.3g}" for side in ("alone", "guarded")),
            "{:.4f} [{:.4f}, {:.4f}]".format(*known) if len(known) == 3 else "–",
            f"{max(a / b for a, b in pairs if a and b):.3f}",
            f"{sum(record['dismissals']) / len(record['dismissals']):.1f}",
        ])  # fmt: skip
    return markdown(head, lines)


def attack_table(digits: list[Record], adam: Record) -> str:
    start, theirs = (f"{geometric(adam[side]):.3g}" for side in ("start", "alone"))
    lines = [
        [
            record["optimizer"],
            start,
            *(f"{geometric(losses):.3g}" for losses in record["attacks"].values()),
            theirs,
        ]
        for record in digits
    ]
    return markdown(["optimizer", "start", *ATTACKS, "Adam alone"], lines)


def geometric(losses: list[float | None]) -> float:
    """Geometric mean; NaN if one is not finite."""
    logs = [math.log(x) if x else math.nan for x in losses]
    return math.exp(sum(logs) / len(logs))


STUDY = Study(cells, f"{__name__}:run", conclude)
