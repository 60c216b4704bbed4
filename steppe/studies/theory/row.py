"""One line of the table: a statement, two numbers, how far apart they may be.

A check often compares many pairs of numbers. Its row shows the pair that came closest to failing,
so that the row holds if and only if all of them do. Whatever is not a number does not hold.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

# Standard errors a mean may be off. Of 100 honest means one in 160 tables has one further off;
# within 3 it would be every fourth table.
ERRORS = 4.0


class Row(NamedTuple):
    """`computed` is what was found, `expected` what the statement says of it."""

    name: str  # "E1.2": part 1 of the theory, its second check
    statement: str
    computed: float
    relation: Literal["=", "≤"]
    expected: float
    error: float
    tolerance: float
    holds: bool


def equal(
    name: str, statement: str, computed: ArrayLike, expected: ArrayLike, *, relative: float
) -> Row:
    """Two ways to the same numbers, or, one a row, vectors.

    The error is relative, of an entry of a vector to its largest entry.
    """
    c, e = np.broadcast_arrays(np.asarray(computed, float), np.asarray(expected, float))
    size = np.abs(e).max(axis=-1, keepdims=True) if e.ndim == 2 else np.abs(e)
    error = np.ravel(np.abs(c - e) / size)
    i = np.argmax(error)  # of a NaN, if there is one
    return _row(name, statement, c.flat[i], "=", e.flat[i], error[i], relative)


def within(name: str, statement: str, samples: ArrayLike, expected: ArrayLike) -> Row:
    """Means over the leading axis of independent samples; the error is absolute."""
    samples = np.asarray(samples, float)
    c, e = _pairs(samples.mean(axis=0), expected)
    allowed = ERRORS * samples.std(axis=0, ddof=1).ravel() / np.sqrt(len(samples))
    error = np.abs(c - e)
    i = np.argmax(error / allowed)
    return _row(name, statement, c[i], "=", e[i], error[i], allowed[i])


def at_most(
    name: str, statement: str, lower: ArrayLike, upper: ArrayLike, *, rounding: float = 1e-10
) -> Row:
    """lower ≤ upper, pair by pair; the error is by how much that fails, relative to `upper`."""
    a, b = _pairs(lower, upper)
    excess = (a - b) / np.abs(b)
    i = np.argmax(excess)
    return _row(name, statement, a[i], "≤", b[i], np.maximum(excess[i], 0), rounding)


def _pairs(x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
    return x.ravel(), y.ravel()


def _row(name, statement, computed, relation, expected, error, tolerance) -> Row:
    numbers = [float(x) for x in (computed, expected, error, tolerance)]
    computed, expected, error, tolerance = numbers
    return Row(name, statement, computed, relation, expected, error, tolerance, error <= tolerance)
