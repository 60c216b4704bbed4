"""Rows of solvers of other people, one problem at a time on a processor: for the page alone.

scikit-learn's coordinate descent, liblinear and SAGA for the objective, orthogonal matching pursuit
for recovery. The tolerance of a solver is its own affair: of a grid the loosest is taken with which
it comes to the error, on each problem anew, and the time of that run counts.
"""

import math
from collections.abc import Callable, Sequence

import jax
import numpy as np

from ..core.loss import Composite, LeastSquares
from ..evaluation.rivals import omp, rivals
from ..tasks.inverse.optimum import optimum
from .family import Family
from .judge import Problems
from .record import Row, plain

COUNT = 8  # problems, since each is solved with several tolerances
GRID = 10.0 ** -np.arange(1.0, 12.01, 0.5)
ABOUT = {
    "coordinate-descent": "scikit-learn’s coordinate descent, float64",
    "liblinear": "scikit-learn’s liblinear, float64",
    "saga": "scikit-learn’s SAGA, float64",
    "omp": "orthogonal matching pursuit in NumPy, float64",
}

Found = tuple[float, float]  # iterations and seconds; ∞ where the error was not reached


def rival_rows(family: Family, problems: Problems, tolerances: Sequence[float]) -> list[Row]:
    """A row for each rival that applies to the family, on the first problems."""
    count = min(COUNT, problems.size)
    losses = [
        family.task.composite(jax.tree.map(lambda leaf, i=i: leaf[i], problems.instances).instance)
        for i in range(count)
    ]
    if family.error == "nmse":
        known = {"omp": _recovered} if isinstance(losses[0].smooth, LeastSquares) else {}
    else:
        known = {name: _minimised(name) for name in rivals(losses[0])}
    rows = []
    for name, solve in known.items():
        about = f"{ABOUT[name]}; on {count} of the problems"
        try:
            found = np.array([solve(loss, tolerances) for loss in losses])
        except (ImportError, ValueError) as error:
            fault = " ".join(str(error).split())
            rows.append(Row(name=name, about=about, kind="rival", fault=fault))
            continue
        iterations, seconds = found.mean(axis=0).T
        rows.append(
            Row(
                name=name,
                about=about,
                kind="rival",
                reached=tuple(float(x) for x in np.isfinite(found[:, :, 0]).mean(axis=0)),
                iterations=plain(iterations),
                alone=plain(seconds),
            )
        )
    return rows


def _minimised(name: str) -> Callable[[Composite, Sequence[float]], list[Found]]:
    def solve(loss: Composite, tolerances: Sequence[float]) -> list[Found]:
        least, run, found = optimum(loss).value, rivals(loss)[name], []
        grid = iter(map(float, GRID))
        now = run(next(grid))
        for tolerance in tolerances:
            while now is not None and now.value - least > tolerance * abs(least):
                following = next(grid, None)
                now = None if following is None else run(following)
            found.append((math.inf, math.inf) if now is None else (now.iterations, now.seconds))
        return found

    return solve


def _recovered(loss: Composite, tolerances: Sequence[float]) -> list[Found]:
    assert isinstance(loss.smooth, LeastSquares)
    A, b, truth = (np.asarray(x, np.float64) for x in (loss.smooth.A, loss.smooth.b, loss.truth))
    now = omp(A, b)
    size = float(truth @ truth) or 1.0
    error = 10 * math.log10(max(float(np.sum((now.x - truth) ** 2)) / size, 1e-30))
    missed = (math.inf, math.inf)
    return [(now.iterations, now.seconds) if error <= t else missed for t in tolerances]
