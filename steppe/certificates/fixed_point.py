"""Runs of z ← T(z, task): a solver written as the map that it repeats, in JAX.

errors[k] = ‖T(z_k) − z_k‖₂        after k steps, the residual
errors[k] = f(z_k, task)           with a function
"""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, PyTree

from ..core import tree
from ..core.types import Key, Scalar
from .compiled import Program, described_arrays, sketch
from .runs import AbstractRun, Metric, Runs, name_of

RESIDUAL = Metric("residual", "‖T(z_k) − z_k‖₂, z_k the iterate after k steps")


class FixedPoint(AbstractRun):
    """Repeat `map(z, task)` from `start(task)`.

    - `sample`: key → task, a pytree of arrays; or the tasks themselves, stacked along their first
      axis, of which each is taken at most once, in an order that is drawn
    - `error`: (z, task) → a number, in place of the residual; `metric` says what it is
    - `clusters`: of stacked tasks that come in dependent groups (the steps of one simulation, say)
      the group of each; then one task of each group is drawn, and no more are there
    - `trained_on`: of stacked tasks those that map or start were trained on, stacked as well; to
      find one of them among the tasks is an error
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

        start = tree.strong(self.start(task))
        return jax.lax.scan(step, start, length=steps + 1)[1], sketch((task, start))
