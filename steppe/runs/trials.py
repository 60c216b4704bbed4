"""Equal trials: both sides of a comparison may try, or neither.

    0-k    the learned optimizer as it is, rivals tuned on the task: the hardest for it
    0-0    neither has seen the task; rivals have the rate that is best on the task of meta-training
    k-k    each has k trials on the task: a rival its rate, the learned one a factor on its updates,
           with or without a cosine that ends them

A trial is one training on the task, judged on its validation split. `tuned_equally` prepares either
side of k-k: 10 settings, 2 trainings each, so that k = 20.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..zoo.registry import ready_made
from .subject import Prepared

if TYPE_CHECKING:
    from ..core.optimizer import AbstractOptimizer
    from ..core.task import AbstractTask
    from ..core.types import Key

WORDS = {"0-k": "", "0-0": "0 against 0 trials", "k-k": "k against k trials"}
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)  # each with and without a cosine
RATES = tuple(float(f"{10 ** (k / 2):.3g}") for k in range(-8, 2))  # 1e-4 … 3.16
SEEDS = 2  # trainings of a setting


def tuned_equally(
    optimizer: str | Path,
    task: "AbstractTask",
    *,
    horizon: int,
    key: "Key",
    say: Callable[[str], None],
) -> Prepared:
    """The optimizer of a file, or a hand-made one, after k trials on the task.

    Other settings of a hand-made one keep their customary values. One that takes its steps from
    the problem has nothing to try.
    """
    from ..evaluation.tuning import tune_all
    from ..optimizers.scheduled import Scheduled
    from ..zoo.io import load
    from ..zoo.registry import build, check_players, tries, with_rate

    makers: dict[tuple[tuple[str, Any], ...], Callable[[Any], AbstractOptimizer]]
    if optimizer in ready_made():
        return Prepared(build(str(optimizer)), None, {})
    if isinstance(optimizer, Path):
        learned, name, what, grid = load(optimizer), optimizer.stem, "factor", FACTORS
        makers = {
            (("cosine", cosine),): lambda a, cosine=cosine: Scheduled(
                learned, a, horizon if cosine else None
            )
            for cosine in (False, True)
        }
    else:
        name, what, grid = optimizer, "learning rate", RATES
        customary: dict[str, Any] = {**tries(optimizer)[0]}
        makers = {
            tuple(customary.items()): lambda lr: with_rate(
                optimizer, lr, steps=horizon, **customary
            )
        }
    check_players(name, next(iter(makers.values()))(1.0), task)
    say(f"tuning the {what} of {name}…")
    how = {"horizon": horizon, "key": key, "grid": grid, "seeds": SEEDS}
    setting, found = tune_all(task, makers, **how)
    if found.edge:
        say(f"{name}: the best {what}, {found.best:g}, is the {found.edge} tried")
    told = dataclasses.asdict(found) | {"setting": dict(setting), "of": what}
    return Prepared(makers[setting](found.best), found.best, told)
