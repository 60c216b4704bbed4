"""Does M-L2O beat fair transfer, and if so, what is the gain due to?

RNNProp is meta-trained on LASSO problems of small spread, once for what it is, once for what a step
of adaptation makes of it, and in the ways between. Each then adapts to problems of larger spread by
the same few updates, and is judged on others of these. Beside them: an untrained start, Adam tuned
for each spread, and optimizers that adapt while they run, with controls. Then a family where theory
predicts the gain, families of quite another kind, and the price of adapting while it runs.

    steppe reproduce m-l2o --scale small

What is expected: `expectations.py`, written down before the run; what came out: `README.md`.
"""

import functools
import time
from collections.abc import Iterator, Sequence
from typing import Any

from ...evaluation.engines import Row
from ...tasks import build
from ...zoo import load
from ..study import Cell, Conclusion, Study, records, sentences
from . import arms, curvatures, judging, running, summary
from .expectations import tests, verdicts
from .settings import ALONE, PREDICTED, RUNNING, STARTS, MetaAdaptation

SEEDS_OF_PREDICTED = 3


def cells(settings: MetaAdaptation) -> Iterator[Cell]:
    """One an arm, with all its seeds: then a program is compiled once."""
    for arm in PREDICTED:
        for seed in range(SEEDS_OF_PREDICTED):
            yield {"part": "predicted", "arm": arm, "seed": seed, "updates": settings.predicted}
    sizes = {name: getattr(settings, name) for name in ("instances", "draws", "problems", "steps")}
    lists = {name: list(getattr(settings, name)) for name in ("spreads", "adapted")}
    for arm in settings.arms:
        yield {"part": "arms", "arm": arm, "seeds": settings.seeds, "updates": settings.updates,
               **sizes, **lists}  # fmt: skip
    of_start = {name: getattr(settings, name) for name in ("instances", "updates", "steps")}
    for family in settings.families:
        for base in STARTS:
            yield {"part": "elsewhere", "arm": base, "family": family, "seeds": settings.starts,
                   **of_start}  # fmt: skip
    for task in settings.priced:
        yield {"part": "price", "arm": "shipped", "task": task}


def run(cell: Cell) -> dict[str, Any]:
    if cell["part"] == "predicted":
        return curvatures.measured(cell["arm"], cell["seed"], cell["updates"])
    if cell["part"] == "elsewhere":
        return {"rows": [running.elsewhere(cell, seed) for seed in range(cell["seeds"])]}
    if cell["part"] == "price":
        return {"price": running.price(build(cell["task"]), load("rnnprop-v1"))}
    return {"rows": [of_seed(cell, seed) for seed in range(cell["seeds"])]}


def of_seed(cell: Cell, seed: int) -> dict[str, Any]:
    """Losses of one optimizer of an arm, and the cost of its meta-training."""
    arm, began = cell["arm"], time.process_time()
    if arm == "tuned":
        found, rates = judging.tuned(seed, cell)
        return {"seed": seed, "spreads": found, "rates": rates}
    if arm == "vanilla":
        opt, about = arms.untrained(arm, seed), {"window_gradients": 0}
    elif arm in RUNNING or arm in ALONE:
        opt, about = running.optimizer(arm, seed, cell), {}
    else:
        opt, about = arms.made(arm, seed, cell["instances"], cell["updates"])
    seconds = time.process_time() - began
    found = judging.judged(arm, opt, seed, cell)
    return {"seed": seed, "spreads": found, "cpu_seconds": round(seconds, 1), **about}


def conclude(settings: MetaAdaptation, rows: Sequence[Row]) -> Conclusion:
    found = records(rows)
    tested = tests(found)
    said = verdicts(found, tested)
    return Conclusion(
        text="\n\n".join([*summary.tables(found, tested), sentences(said)]),
        content={"records": found},
        verdicts=said,
        files={"page.html": functools.partial(summary.write, found, tested, said)},
    )


def cost(settings: MetaAdaptation) -> str:
    return "days" if settings.updates > 1000 else ""


STUDY = Study(cells, f"{__name__}:run", conclude, cost, keep_programs=True)
