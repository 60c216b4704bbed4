"""Checks of the numbers that a measure is given.

Only concrete values are judged: what is traced under `jit` or `vmap` has no value yet and passes.
"""

import numpy as np
from jax.core import Tracer

from ..core.types import Scalar


def check_positive(owner: str, name: str, value: float | Scalar, remedy: str) -> None:
    if _known(value) and not np.all(np.asarray(value) > 0):
        raise ValueError(f"{owner}: {name} must be positive, got {value}. {remedy}")


def check_not_negative(owner: str, name: str, value: float | Scalar, remedy: str) -> None:
    if _known(value) and not np.all(np.asarray(value) >= 0):
        raise ValueError(f"{owner}: {name} must be zero or positive, got {value}. {remedy}")


def check_count(owner: str, name: str, value: int, *, least: int = 1) -> None:
    if not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{owner}: {name} must be a whole number ≥ {least}, got {value!r}.")


def check_draws(owner: str, samples: int, group: int, why: str) -> None:
    if not isinstance(samples, int | np.integer) or samples < group or samples % group:
        raise ValueError(
            f"{owner}: samples must be a multiple of {group}, because {why}, got {samples!r}."
        )


def _known(value: float | Scalar) -> bool:
    return not isinstance(value, Tracer)
