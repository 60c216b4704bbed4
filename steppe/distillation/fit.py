"""Fits of formulas to rows: R² held out, ridge regression, and constants by least squares.

    refined(e, c, table)      argmin over c of Σ (u − e(inputs; c))², from c, by Levenberg–Marquardt

Derivatives with respect to the constants are exact (forward mode), in float64.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..core import expression
from ..core.expression import Expression, functions
from .table import Table

STRETCHES = 5  # of time, in which R² is told
EVALUATIONS = 60  # of a formula with its derivatives, for a fit


Numbers = Sequence[float] | np.ndarray


class Quality(NamedTuple):
    """R² on rows that played no part in the fit: pooled, of each tensor, of stretches of time.

    None where a target does not vary.
    """

    pooled: float | None
    tensors: tuple[float | None, ...]
    times: tuple[float | None, ...]


def r2(target: Float[np.ndarray, " rows"], value: Float[np.ndarray, " rows"]) -> float | None:
    """1 − Σ(u − û)² / Σ(u − ū)², None where u does not vary or û is not finite.

    >>> r2(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 2.0]))
    0.5
    """
    spread = float(np.sum((target - target.mean()) ** 2)) if len(target) else 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        off = float(np.sum((target - value) ** 2))
    return 1 - off / spread if spread > 0 and np.isfinite(off) else None


def quality(table: Table, value: Float[np.ndarray, " rows"]) -> Quality:
    """R² of values for the rows of a table."""
    parts = np.array_split(np.unique(table.step), STRETCHES)
    at = lambda rows: r2(table.target[rows], value[rows])
    return Quality(
        r2(table.target, value),
        tuple(at(table.tensor == k) for k in range(len(table.tensors))),
        tuple(at(np.isin(table.step, part)) for part in parts),
    )


def values(
    e: Expression, coefficients: Numbers, inputs: Mapping[tuple[str, int], np.ndarray]
) -> Float[np.ndarray, "*rows"]:
    """The value of a formula for every row, by NumPy; inputs by (name, lag), one at least."""
    with np.errstate(all="ignore"):
        found = expression.evaluate(e, inputs, coefficients, functions(np))
    return np.broadcast_to(np.asarray(found, np.float64), next(iter(inputs.values())).shape)


def ridge(
    columns: Float[np.ndarray, "rows columns"], target: Float[np.ndarray, " rows"], weight: float
) -> Float[np.ndarray, " columns"]:
    """argmin over w of ‖u − Xw‖² + weight · ‖w‖², without an intercept."""
    gram = columns.T @ columns + weight * np.eye(columns.shape[1])
    return np.linalg.lstsq(gram, columns.T @ target, rcond=None)[0]


Fitter = Callable[[Numbers, dict, Float[np.ndarray, " rows"]], Float[np.ndarray, " k"]]


@functools.lru_cache(maxsize=64)
def fitter(e: Expression) -> Fitter:
    """f(start, inputs, target) → constants c0, c1, … of the least squares; compiled once a size.

    Where no step makes it better, the start is returned.
    """
    from scipy.optimize import least_squares

    k = expression.coefficients(e)

    @jax.jit
    def both(c, inputs, target):
        def off(c):
            value = expression.evaluate(e, inputs, c, functions(jnp))
            found = jnp.broadcast_to(value, target.shape) - target
            return found, found

        slopes, found = jax.jacfwd(off, has_aux=True)(c)
        return found, slopes

    def fit(start, inputs, target):
        scale = float(np.std(target)) or 1.0

        @functools.lru_cache(maxsize=1)  # value and derivatives are asked for one after the other
        def at(*c: float) -> tuple[np.ndarray, np.ndarray]:
            found, slopes = (np.asarray(x) / scale for x in both(np.array(c), inputs, target))
            if np.isfinite(found).all() and np.isfinite(slopes).all():
                return found, slopes
            return np.full_like(found, 1e6), np.zeros_like(slopes)  # so that it is no step

        with jax.enable_x64(True):
            start = np.asarray(start, np.float64)
            off = lambda c: at(*c)[0]
            how: Any = {"jac": lambda c: at(*c)[1], "method": "lm", "x_scale": "jac"}
            done = least_squares(off, start, max_nfev=EVALUATIONS, **how)
        return done.x if np.isfinite(done.x).all() else start

    return fit if k else lambda start, inputs, target: np.zeros(0)
