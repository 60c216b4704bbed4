"""How one task is drawn, an optimizer run on it, and the error read off.

    Episodes(task, opt)               a steppe or optax optimizer on a task     episodes.py
    FixedPoint(sample, start, map)    z ← T(z, task), written in JAX            fixed_point.py
    Calls(solve)                      any Python function                       below

Run i depends on the seed and i alone: not on how many there are, nor on how they are grouped.
"""

import abc
import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .claims import Errors

STREAM = 0xCE47  # certificates draw from a stream of their own


@dataclasses.dataclass(frozen=True)
class Metric:
    """What the errors are. `signed`: may be negative (a logarithm, say)."""

    name: str
    definition: str
    unit: str = ""
    signed: bool = False


class Runs(NamedTuple):
    """Runs of some tasks.

    `errors` after 0, 1, …, K steps; `prints`: a digest of each task, empty where tasks are not
    seen; `dtype`: that the errors were computed in, "" if not known.
    """

    errors: Errors
    prints: list[str]
    dtype: str = ""


class AbstractRun(abc.ABC):
    """Tasks, an optimizer, and the error of a run. A frozen dataclass."""

    metric: Metric
    population: int | None = None  # of how many tasks each is taken at most once; None: no end
    notes: tuple[str, ...] = ()  # what a certificate warns of besides

    @abc.abstractmethod
    def run(self, seed: int, which: range, steps: int) -> Runs:
        """The runs of these numbers, drawn from `seed`."""

    @abc.abstractmethod
    def described(self) -> dict[str, Any]:
        """{"optimizer": …, "tasks": …}, of JSON types: what has to be the same another time."""


@dataclasses.dataclass(frozen=True)
class Calls(AbstractRun):
    """A function that draws one task, solves it, and says its errors.

    `solve(rng)` gets a `numpy.random.Generator` of its own and returns K + 1 numbers, the error
    after 0, 1, …, K iterations; what it returns beyond is left out. All that is random in it must
    come from `rng`.
    """

    solve: Callable[[np.random.Generator], ArrayLike]
    metric: Metric = Metric("error", "as the function returns it")

    def run(self, seed: int, which: range, steps: int) -> Runs:
        rows = []
        for i in which:
            rng = np.random.default_rng((STREAM, seed, i))
            untouched = rng.bit_generator.state
            rows.append(row(self.solve(rng), steps, name_of(self.solve)))
            if rng.bit_generator.state == untouched:
                raise ValueError(
                    f"{name_of(self.solve)} drew nothing from its random generator, so that all "
                    "its tasks are one; draw the task from `rng`."
                )
        return Runs(np.stack(rows), [])

    def described(self) -> dict[str, Any]:
        name = name_of(self.solve)
        return {"optimizer": {"kind": "function", "name": name}, "tasks": {"name": name}}


def row(errors: ArrayLike, steps: int, name: str) -> np.ndarray:
    """The first K + 1 errors of one run, as float64."""
    found = np.asarray(errors)
    if found.dtype.kind not in "fiub":
        raise ValueError(f"{name} must return real numbers, got dtype {found.dtype}.")
    if found.ndim != 1 or len(found) < steps + 1:
        raise ValueError(
            f"{name} must return {steps + 1} numbers, the errors after 0, 1, …, {steps} "
            f"iterations; got an array of shape {found.shape}."
        )
    return found[: steps + 1].astype(np.float64)


def digest(arrays: Sequence[np.ndarray]) -> str:
    """By which two tasks are told apart."""
    made = hashlib.blake2b(digest_size=16)
    for array in arrays:
        made.update(np.ascontiguousarray(array).tobytes())
    return made.hexdigest()


def name_of(function: Callable) -> str:
    return getattr(function, "__qualname__", type(function).__name__)
