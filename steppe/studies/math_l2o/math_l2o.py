"""Is a network that chooses the diagonals of a proximal scheme faster than the scheme by hand?

Math-L2O is meta-trained on small LASSO problems by three meta-seeds, and so are RNNProp, DM,
GoMathL2O, the parts of Math-L2O alone, and the variant that carries a proof. Each then solves fresh
problems of five kinds, for ten times as many iterations as in training, beside ISTA and FISTA whose
steps are tuned on the problems of training.

    steppe reproduce math-l2o --scale small

The expectations below were written down before anything was run; what came out: `README.md`.
"""

import functools
import time
from collections.abc import Iterator, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
from jaxtyping import Array

from ...core.optimizer import AbstractOptimizer
from ...core.rollout import episodes
from ...core.task import AbstractTask
from ...core.types import Instance, Key
from ...evaluation.engines import Row
from ..study import Cell, Conclusion, Study, records, sentences
from . import clock, methods, problems, summary
from .settings import CLASSICAL, LEARNED, MathL2O

TESTED = 0x0DD5  # key of the problems that are judged on
SIDE_LINES = ("go", "pa-logistic")


def cells(settings: MathL2O) -> Iterator[Cell]:
    """One a method and meta-seed: what the question is about first, side lines of one seed last."""
    sizes = {"rows": settings.rows, "n": settings.n, "problems": settings.problems,
             "steps": settings.steps}  # fmt: skip
    for name in CLASSICAL:
        if name in settings.methods:
            yield {"method": name, "seed": None, **sizes}
    first, *others = settings.seeds
    asked = [("pa", seed) for seed in settings.seeds]
    asked += [(name, first) for name in LEARNED if name != "pa"]
    asked += [(name, s) for s in others for name in LEARNED if name not in ("pa", *SIDE_LINES)]
    for name, seed in asked:
        if name in settings.methods:
            more = {"clock": list(settings.clock)} if (name, seed) == ("pa", first) else {}
            yield {"method": name, "seed": seed, **sizes, "updates": settings.updates, **more}


def run(cell: Cell) -> dict[str, Any]:
    """The gaps of one method on every kind of problem."""
    name, began = cell["method"], time.process_time()
    task = problems.lasso(cell["rows"], cell["n"])
    if cell["seed"] is None:
        opt, score = methods.tuned(name, task)
    else:
        where = problems.logistic() if name == "pa-logistic" else task
        opt, score = methods.trained(name, where, cell["updates"], cell["seed"])
    seconds = time.process_time() - began
    kinds = problems.kinds(cell["rows"], cell["n"], cell["problems"])
    found: dict[str, Any] = {
        "score": round(score, 6),
        "step": float(opt.step) if cell["seed"] is None else None,  # pyright: ignore
        "cpu_seconds": round(seconds, 1),
        "kinds": {kind: judged(task, opt, n, cell["steps"]) for kind, (task, n) in kinds.items()},
    }
    if "clock" in cell:
        found["clock"] = [clock.timed(opt, n) for n in cell["clock"]]
    return found


def judged(task: AbstractTask, opt: AbstractOptimizer, count: int, steps: int) -> dict[str, Any]:
    """Gaps at the marks and the iterations to 1e-3 and 1e-6, over fresh problems."""
    instances, paths = jax.device_get(solved(task, opt, jr.split(jr.key(TESTED), count), steps))
    gaps = []
    for i in range(count):
        instance = jax.tree.map(lambda leaf: leaf[i], instances)  # noqa: B023
        gaps.append(problems.gaps(task, instance, paths[i]))
    found = np.array(gaps)  # (problems, iterations)
    at = found[:, [mark - 1 for mark in summary.MARKS if mark <= steps]]
    first = {f"{tol:g}": [reached(row, tol) for row in found] for tol in (1e-3, 1e-6)}
    return {
        "problems": count,
        "mean": [float(f"{x:.4g}") for x in at.mean(axis=0)],
        "median": [float(f"{x:.4g}") for x in np.median(at, axis=0)],
        "q90": [float(f"{x:.4g}") for x in np.quantile(at, 0.9, axis=0)],
        "rises": float(np.mean(np.any(np.diff(found, axis=1) > 1e-6 * (1 + found[:, 1:]), axis=1))),
        "iterations": {tol: summary.median(steps) for tol, steps in first.items()},
    }


def reached(gaps: np.ndarray, tolerance: float) -> int | None:
    """The first iteration with a gap of the tolerance or less; None: there was none."""
    below = gaps <= tolerance
    return int(np.argmax(below)) + 1 if below.any() else None


@eqx.filter_jit
def solved(
    task: AbstractTask, opt: AbstractOptimizer, keys: Key, steps: int
) -> tuple[Instance, Array]:
    """The problems, and all iterates of each, (problems, iterations, n)."""
    instance, params = lambda episode, _: episode.instance, lambda step: step.after.params
    found = episodes(task, opt, keys, steps, instance, observe=params, batch_size=len(keys))
    return found.looks, found.steps


def conclude(settings: MathL2O, rows: Sequence[Row]) -> Conclusion:
    found = records(rows)
    said = summary.verdicts(found)
    return Conclusion(
        text="\n\n".join([*summary.tables(found), sentences(said)]),
        content={"records": found},
        verdicts=said,
        files={"page.html": functools.partial(summary.write, found, said)},
    )


STUDY = Study(cells, f"{__name__}:run", conclude, keep_programs=True)
