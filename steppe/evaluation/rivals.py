"""Solvers of other people, one problem at a time, that a learned solver has to beat.

    omp                  few measurements of a sparse x: column after column of A, the one most like
                         what is left of b, with least squares in those taken
    coordinate_descent   least squares with L1 or elastic net: scikit-learn's
    logistic             logistic loss with L1: scikit-learn's liblinear, or SAGA

They run in float64 on a processor. `rivals(loss)` has those that apply to a loss.

Pati, Rezaiifar & Krishnaprasad, "Orthogonal matching pursuit", Asilomar 1993; Fan et al.,
"LIBLINEAR", JMLR 2008; Defazio, Bach & Lacoste-Julien, "SAGA", NeurIPS 2014.
"""

import dataclasses
import time
import warnings
from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Float

from ..core.arguments import real, told, whole
from ..core.loss import Composite, expect
from ..core.messages import LARGEST, at_least
from ..tasks.inverse.duality import Odds, Sizes, Squares, Vector, regularizer_part, smooth_part
from ..tasks.inverse.optimum import bounded

MOST = 100_000  # iterations, where nothing else is said
EPS = float(np.finfo(float).eps)


@dataclasses.dataclass(frozen=True)
class Solved:
    """A solution, and what it took.

    - `x`: (n,) in float64
    - `value`: of the loss at x; of OMP ½‖Ax − b‖²
    - `gap`: value − minimum ≤ gap; of OMP, which minimises nothing, ∞
    - `iterations`: the solver's own; of OMP the columns that it took
    - `seconds`: of wall-clock, of the solver alone
    """

    x: Vector
    value: float
    gap: float
    iterations: int
    seconds: float


def omp(
    A: Float[np.ndarray, "rows n"],
    b: Float[np.ndarray, " rows"],
    tolerance: float = 1e-6,
    most: int | None = None,
) -> Solved:
    """Orthogonal matching pursuit.

    - `A`: (rows, n), finite, without a column of zeros; columns are compared at length 1
    - `b`: (rows,), finite
    - `tolerance`: of ‖b − Ax‖, relative to ‖b‖: the share of noise in b, 10^(−SNR/20)
    - `most`: columns to take; None: half of the rows

    Raises ValueError for anything else.
    """
    A, b = _array("A", A), _array("b", b)
    if A.ndim != 2 or b.shape != A.shape[:1] or A.size == 0:
        raise ValueError(
            f"omp: A is {A.shape} and b is {b.shape}, expected (rows, n) and (rows,); give one "
            "measurement for each row of A."
        )
    if not (np.isfinite(A).all() and np.isfinite(b).all()):
        raise ValueError("omp: A and b must be finite; clean the data.")
    length = np.linalg.norm(A, axis=0)
    if not length.all():
        column = int(np.argmin(length))
        raise ValueError(f"omp: column {column} of A is zero; leave it out, nothing measures it.")
    tolerance = _tolerance("omp", tolerance)
    at_least(1, "omp", most=most)
    began = time.perf_counter()
    rows, n = A.shape
    limit = min(rows, n, max(1, rows // 2) if most is None else most)
    Q, chosen, left = np.zeros((rows, limit)), [], b.copy()
    while len(chosen) < limit and np.linalg.norm(left) > tolerance * np.linalg.norm(b):
        j = int(np.argmax(np.abs(A.T @ left) / length))
        q = A[:, j]
        for _ in range(2):  # once more, against the rounding of the first time
            q = q - Q @ (Q.T @ q)
        if np.linalg.norm(q) <= 100 * EPS * length[j]:
            break  # what is left of b is orthogonal to all columns
        Q[:, len(chosen)] = q = q / np.linalg.norm(q)
        chosen.append(j)
        left = left - q * (q @ left)
    x = np.zeros(n)
    if chosen:
        x[chosen] = np.linalg.lstsq(A[:, chosen], b, rcond=None)[0]
    seconds = time.perf_counter() - began
    return Solved(x, float(np.sum((A @ x - b) ** 2) / 2), np.inf, len(chosen), seconds)


def coordinate_descent(loss: Composite, tolerance: float = 1e-10, iterations: int = MOST) -> Solved:
    """scikit-learn's `Lasso` or `ElasticNet`.

    - `loss`: of `LeastSquares` and `L1` or `ElasticNet`
    - `tolerance`: of the duality gap, relative to ‖b‖²
    - `iterations`: rounds over all coordinates, at most

    Raises ValueError for other parts, and for numbers that are not finite.
    """
    from sklearn.linear_model import ElasticNet

    f, r = _parts("coordinate_descent", loss, Squares)
    tolerance = _tolerance("coordinate_descent", tolerance)
    iterations = whole("coordinate_descent: iterations", iterations, least=1, most=LARGEST)
    total = r.weight + r.l2
    how = {"alpha": total / len(f.b), "l1_ratio": r.weight / total, "fit_intercept": False}
    peer = ElasticNet(**how, tol=tolerance, max_iter=iterations, copy_X=False)
    A = np.asfortranarray(f.A)  # as its loops want it: not part of the solution
    return _timed(lambda: peer.fit(A, f.b), f, r)


def logistic(
    loss: Composite,
    tolerance: float = 1e-8,
    iterations: int = MOST,
    solver: Literal["liblinear", "saga"] = "liblinear",
) -> Solved:
    """scikit-learn's `LogisticRegression` without an intercept.

    - `loss`: of `Logistic`, whose labels are 0 and 1, and `L1`
    - `tolerance`: the solver's own measure of progress; SAGA: relative change of x
    - `iterations`: over all examples, at most
    - `solver`: "liblinear" or "saga"

    Raises ValueError for other parts, and for labels of one class.
    """
    from sklearn.linear_model import LogisticRegression

    f, r = _parts("logistic", loss, Odds)
    tolerance = _tolerance("logistic", tolerance)
    iterations = whole("logistic: iterations", iterations, least=1, most=LARGEST)
    if solver not in ("liblinear", "saga"):
        raise ValueError(f"logistic: solver is {solver!r}, expected 'liblinear' or 'saga'.")
    if r.l2 > 0 or set(np.unique(f.b)) != {0.0, 1.0}:
        raise ValueError(
            "logistic: scikit-learn solves for L1 and labels 0 and 1, both of them; take `optimum`."
        )
    how = {"C": 1 / (r.weight * len(f.b)), "fit_intercept": False, "random_state": 0}
    # Releases before 1.8 have no L1 without the argument that later ones warn of.
    modern = LogisticRegression().penalty == "deprecated"
    how |= {"l1_ratio": 1.0} if modern else {"penalty": "l1"}
    peer = LogisticRegression(solver=solver, tol=tolerance, max_iter=iterations, **how)
    return _timed(lambda: peer.fit(f.A, f.b), f, r)


def rivals(loss: Composite) -> dict[str, Callable[[float], Solved]]:
    """Rivals that minimise this loss, by name: functions of their tolerance."""
    loss = expect(loss, Composite, "rivals")
    f, r = smooth_part(loss.smooth), regularizer_part(loss.regularizer)
    if not isinstance(r, Sizes) or r.group > 1 or r.weight == 0:
        return {}
    if isinstance(f, Squares):
        return {"coordinate-descent": lambda tolerance: coordinate_descent(loss, tolerance)}
    if not isinstance(f, Odds) or r.l2 > 0:
        return {}
    return {
        solver: lambda tolerance, solver=solver: logistic(loss, tolerance, solver=solver)
        for solver in ("liblinear", "saga")
    }


def _parts(
    asker: str, loss: Composite, smooth: type[Squares] | type[Odds]
) -> tuple[Squares | Odds, Sizes]:
    """The parts in float64, or a sentence."""
    loss = expect(loss, Composite, asker)
    f, r = smooth_part(loss.smooth), regularizer_part(loss.regularizer)
    if (
        f is None
        or not isinstance(f, smooth)
        or not isinstance(r, Sizes)
        or r.group > 1
        or r.weight == 0
    ):
        wanted = "LeastSquares" if smooth is Squares else "Logistic"
        raise ValueError(
            f"{asker}: the loss is {type(loss.smooth).__name__} with "
            f"{type(loss.regularizer).__name__}, expected {wanted} with an L1 of positive weight."
        )
    if not (np.isfinite(f.A).all() and np.isfinite(f.b).all()):
        raise ValueError(f"{asker}: A and b must be finite; clean the data.")
    return f, r


def _tolerance(asker: str, tolerance: float) -> float:
    found = real(f"{asker}: tolerance", tolerance)
    if found < 0:
        raise ValueError(f"{asker}: tolerance must be at least 0, got {tolerance}.")
    return found


def _array(name: str, given: object) -> np.ndarray:
    """An array of real numbers in float64."""
    try:
        found = np.asarray(given)
    except ValueError:  # rows of different lengths
        found = np.asarray("")
    if found.dtype.kind not in "fiu":
        raise ValueError(f"omp: {name} must be an array of real numbers, got {told(given)}.")
    return found.astype(np.float64)


def _timed(fit: Callable, f: Squares | Odds, r: Sizes) -> Solved:
    """Run a fit of scikit-learn, whose warning of an early end the gap makes needless."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        began = time.perf_counter()
        fitted = fit()
        seconds = time.perf_counter() - began
    found = bounded(f, r, np.ravel(fitted.coef_).astype(np.float64), int(np.max(fitted.n_iter_)))
    return Solved(found.x, found.value, found.gap, found.iterations, seconds)
