"""Runs of one task each: draw it, run an optimizer on it, read the error off.

    Episodes(task, opt)               a steppe or optax optimizer on a task     episodes.py
    FixedPoint(sample, start, map)    z ← T(z, task), written in JAX            below
    Calls(solve)                      any Python function                       below

Run i depends on the seed and i alone: not on how many there are, nor on how they are grouped.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, PyTree
from numpy.typing import ArrayLike

from ..core import tree
from ..core.types import Key, Scalar
from .compiled import STREAM, Program, Runs, described_arrays, sketch


@dataclasses.dataclass(frozen=True)
class Metric:
    """Name, definition and unit of the errors; `signed` if they may be negative, as a logarithm."""

    name: str
    definition: str
    unit: str = ""
    signed: bool = False


RESIDUAL = Metric("residual", "‖T(z_k) − z_k‖₂, z_k the iterate after k steps")


class AbstractRun(abc.ABC):
    """Tasks, an optimizer, and the error of a run."""

    metric: Metric
    population: int | None = None  # number of tasks, each taken at most once; None: no limit
    notes: tuple[str, ...] = ()  # further warnings of a certificate

    @abc.abstractmethod
    def run(self, seed: int, which: range, steps: int) -> Runs:
        """Run some of the tasks that `seed` draws.

        - `seed`: of all draws
        - `which`: numbers of the tasks, from 0
        - `steps`: iterations of each run, K
        """

    @abc.abstractmethod
    def described(self) -> dict[str, Any]:
        """{"optimizer": …, "tasks": …} of JSON types: all that must be equal in a second run."""


@dataclasses.dataclass(frozen=True)
class Calls(AbstractRun):
    """A Python function that draws one task, solves it, and returns its errors.

    `solve(rng)` gets a `numpy.random.Generator` of its own and returns K + 1 numbers, the error
    after 0, 1, …, K iterations; further numbers are ignored. All that is random in it must come
    from `rng`.
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


class FixedPoint(AbstractRun):
    """Runs of a solver that repeats `map(z, task)` from `start(task)`.

    - `sample`: key → task, a pytree of arrays; or the tasks themselves, stacked along their first
      axis, each taken at most once, in random order
    - `start`: task → first iterate z₀, a pytree of arrays
    - `map`: (z, task) → next iterate
    - `error`: (z, task) → a number, in place of the residual
    - `metric`: name and definition of that number
    - `name`: of the solver, in the certificate
    - `clusters`: group of each stacked task, (N,), if they come in dependent groups (the steps of
      one simulation, say); then one task of each group is drawn
    - `trained_on`: stacked tasks that `map` or `start` were trained on; to find one of them among
      the tasks is an error
    """

    def __init__(
        self,
        sample: Callable[[Key], PyTree] | PyTree,
        start: Callable[[PyTree], PyTree],
        map: Callable[[PyTree, PyTree], PyTree],
        *,
        error: Callable[[PyTree, PyTree], Scalar] | None = None,
        metric: Metric = RESIDUAL,
        name: str = "",
        clusters: Array | None = None,
        trained_on: PyTree | None = None,
    ):
        if (error is None) != (metric is RESIDUAL):
            raise ValueError(
                "FixedPoint takes `error` and its `metric` together, or neither for the residual."
            )
        self.start, self.map, self.error, self.metric = start, map, error, metric
        self.sample = sample if callable(sample) else None
        tasks = None if callable(sample) else sample
        source = {"name": name_of(sample)} if callable(sample) else described_arrays(tasks)
        self.about = {
            "optimizer": {"kind": "fixed point", "name": name or name_of(map)},
            "tasks": source,
        }
        self.program = Program(self._one, tasks=tasks, clusters=clusters, trained_on=trained_on)
        self.population = self.program.population

    def run(self, seed: int, which: range, steps: int) -> Runs:
        return self.program(seed, which, steps)

    def described(self) -> dict[str, Any]:
        return self.about

    def _one(self, _: PyTree, drawn: Key | PyTree, steps: int) -> tuple[Array, Array]:
        task = drawn if self.sample is None else self.sample(drawn)

        def step(z: PyTree, _: None) -> tuple[PyTree, Scalar]:
            new = self.map(z, task)
            if self.error is None:
                return new, tree.norm(tree.add(new, tree.scale(-1, z)))
            return new, self.error(z, task)

        start = tree.strongly_typed(self.start(task))
        return jax.lax.scan(step, start, length=steps + 1)[1], sketch((task, start))


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


def name_of(function: Callable) -> str:
    return getattr(function, "__qualname__", type(function).__name__)
