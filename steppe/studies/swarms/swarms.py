"""Does a swarm that learned to share what it sees find minima that others miss?

Rastrigin's function with a random optimum, in 2, 10 and 20 unknowns, from starts on U(−3, 3): the
best loss that any particle has seen, against the number of evaluations. Learned optimizers and
Adam see a gradient with each value, which counts as one evaluation, as published; the harder count
takes a gradient for two more. PSO and evolution strategies see values alone. All see the same
problems; rivals have numbers and populations that are tuned on others.

    steppe reproduce swarms --scale small

Cao, Chen, Wang & Shen, "Learning to optimize in swarms", NeurIPS 2019, whose optimum and mean
start are the origin, so that going there is enough to win. What is expected: `expectations.toml`,
there before the run; what came out: `README.md`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax.random as jr
import numpy as np

from ...core.task import AbstractTask
from ...evaluation.engines import Row
from ...evaluation.records import number
from .. import cost
from ..study import Cell, Conclusion, Study, records
from ..suite import concluded, own
from . import methods, summary
from .settings import LEARNED, Swarms

LETTER = "R2"
EXPECTATIONS = Path(__file__).with_name("expectations.toml")
TIMED = 20  # steps of the measurement of time


def cells(settings: Swarms) -> Iterator[Cell]:
    """Trainings first, which take longest; each is judged on all sizes."""
    sizes = {"problems": settings.problems, "evaluations": settings.evaluations}
    for name in settings.learned:
        own = {"tries": settings.tries} if name in methods.FORMATIONS else {}
        for seed in range(settings.seeds):
            yield {"suite": LETTER, "method": name, "sizes": list(settings.sizes), "seed": seed,
                   "updates": settings.updates, "batch": settings.batch,
                   **own, **sizes}  # fmt: skip
    for n in settings.sizes:
        for name in methods.RIVALS:
            yield {"suite": LETTER, "method": name, "sizes": [n], "seed": 0,
                   "tuned_on": settings.tuned_on, **sizes}  # fmt: skip


def run(cell: Cell) -> dict[str, Any]:
    name, found, method = cell["method"], [], None
    if name in methods.FORMATIONS:
        own = (cell["updates"], cell["batch"], cell["seed"], cell["tries"])
        method = methods.formed(name, *own)
    elif name in LEARNED:
        method = methods.trained(name, cell["updates"], cell["batch"], cell["seed"])
    for n in cell["sizes"]:
        own = method or methods.tuned(name, n, cell["evaluations"], cell["tuned_on"])
        found.append({"n": n, **looked(own, n, cell)})
    return {"rows": found}


def looked(method: methods.Method, n: int, cell: Cell) -> dict[str, Any]:
    """The best loss of every problem after each number of evaluations, and what it costs."""
    task, k = methods.problem(n, method.particles), method.particles
    keys = jr.split(methods.streams(n, methods.TEST), cell["problems"])
    best = methods.bests(task, method.opt, keys, cell["evaluations"] // k)
    at = methods.marks(cell["evaluations"])
    values = np.stack([best[:, max(mark // k, 1) - 1] for mark in at], 1)
    lost = int(np.sum(~np.isfinite(values[:, -1])))
    return {
        "at": at,
        "best": [[number(x) for x in row] for row in values],
        "lost": lost,
        "particles": k,
        "gradients": method.gradients,
        "about": method.about,
        "seconds": method.seconds,
        "parameters": cost.numbers(method.opt),
        "step_us": None if n < cell["sizes"][-1] else timed(task, method),
    }


def timed(task: AbstractTask, method: methods.Method) -> float:
    """Processor microseconds of a step of one problem."""
    return round(1e6 * cost.of_step(task, method.opt, TIMED, jr.key(0)), 3)


def conclude(settings: Swarms, rows: Sequence[Row]) -> Conclusion:
    mine = own(rows, (LETTER,))
    content = {"records": records(mine)}
    return concluded(EXPECTATIONS, summary.quantities(mine), summary.tables(mine), **content)


def budget(settings: Swarms) -> str:
    return "hours" if settings.updates > 5000 else ""


STUDY = Study(cells, f"{__name__}:run", conclude, budget, keep_programs=True)
