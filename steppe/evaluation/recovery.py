"""Errors of many recovered vectors, as decibels, in the two averages that papers report.

    error        10 log₁₀ ( ‖x − x♯‖² / ‖x♯‖² ) of one vector
    mean         of the errors over vectors (Open-L2O): what happens to most of them
    aggregate    10 log₁₀ ( Σ ‖x − x♯‖² / Σ ‖x♯‖² ) (LISTA-CPSS, ALISTA): the worst of them

The two may be 40 dB apart, and have different signs: a few vectors that explode are invisible in
the first and all there is in the second. So both are told, with the share of vectors that are
recovered and the number of those that are not finite.
"""

import dataclasses

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from ..core.arguments import real

SUCCESS = -60.0  # dB below which a vector counts as recovered
EXACT = -300.0  # dB in place of −∞ where the error is 0: below the rounding of float64


@dataclasses.dataclass(frozen=True)
class Recovery:
    """Errors of many recovered vectors.

    - `vectors`: how many
    - `mean_db`, `aggregate_db`: the two averages over those that are finite, None without any
    - `success`: share of all vectors, in [0, 1], with an error below `SUCCESS`
    - `nonfinite`: vectors with an entry, or an error, that is not finite
    """

    vectors: int
    mean_db: float | None
    aggregate_db: float | None
    success: float
    nonfinite: int


def recovery(x: ArrayLike, truth: ArrayLike, *, floor: float | None = None) -> Recovery:
    """Compare recovered vectors with the true ones, in float64.

    - `x`, `truth`: (vectors, n) each
    - `floor`: dB from which lower errors count as this one; −90 is as published with Open-L2O

    Raises ValueError for arrays of other or different shapes, and a truth that is not finite.
    """
    x, truth = (np.asarray(rows, np.float64) for rows in (x, truth))
    errors = decibels(x, truth, floor=floor)
    finite = np.isfinite(errors)
    with np.errstate(over="ignore"):
        total = np.sum((x[finite] - truth[finite]) ** 2)
    size = np.sum(truth[finite] ** 2)
    some = bool(finite.any())
    return Recovery(
        vectors=len(x),
        mean_db=float(errors[finite].mean()) if some else None,
        aggregate_db=float(decibel(total, size, floor)) if some else None,
        success=float(np.mean(finite & (errors < SUCCESS))),
        nonfinite=int(np.sum(~finite)),
    )


def decibels(
    x: Float[np.ndarray, "vectors n"],
    truth: Float[np.ndarray, "vectors n"],
    *,
    floor: float | None = None,
) -> Float[np.ndarray, " vectors"]:
    """The error of each vector; NaN or ∞ for one that is not finite. See `recovery`."""
    x, truth = (np.asarray(rows, np.float64) for rows in (x, truth))
    if x.ndim != 2 or x.shape != truth.shape or 0 in x.shape:
        raise ValueError(
            "recovery: x and truth must have one shape (vectors, n), got "
            f"{x.shape} and {truth.shape}."
        )
    if not np.isfinite(truth).all():
        raise ValueError("recovery: truth has entries that are not finite; clean the data.")
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.sum((x - truth) ** 2, axis=1)
    return decibel(squares, np.sum(truth**2, axis=1), floor)


def decibel(error: np.ndarray, size: np.ndarray, floor: float | None = None) -> np.ndarray:
    """10 log₁₀ (error / size) of squares, the size 0 taken for 1; see `recovery` for `floor`."""
    least = EXACT if floor is None else real("recovery: floor", floor)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = np.asarray(error) / np.where(size > 0, size, 1.0)
        return np.maximum(10 * np.log10(ratio), least)
