"""Runs of a steppe task: `unroll` advances an episode, its error is read before each step."""

import dataclasses
import functools
from typing import Any

import equinox as eqx
import jax
import jax.random as jr
import optax
from jaxtyping import Array, Float, PyTree

from ..core.episode import Episode, begin, unroll
from ..core.optimizer import AbstractOptimizer
from ..core.task import AbstractTask, Problem, draw
from ..core.types import Key, Scalar, Split
from ..optimizers.classic.from_optax import FromOptax
from ..store.checkpoint import CheckpointError
from ..store.describe import describe
from .compiled import Program, Static, numbers, sketch, split_arrays
from .readings import Measure, Reading, reading
from .runs import AbstractRun, Runs, digest

SAME_DATA = "Tasks differ in their starting points and batches alone; their data are the same."


class Episodes(AbstractRun):
    """An optimizer on a task.

    - `opt`: of steppe, or an optax transformation
    - `metric`: a name of `readings.py`, or f(params, instance) → number ≥ 0
    - `split`: the data that losses and metrics are taken on; training goes on training data
    - `name`: of the optimizer, as the certificate says it
    - `task_name`, `task_options`: of a named task
    - `tasks`: the keys of all tasks there are, (N,), of which each is taken at most once
    - `trained_on`: keys of tasks that the optimizer was trained on; to find one of them among
      `tasks` is an error
    """

    def __init__(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer | optax.GradientTransformation,
        *,
        metric: str | Measure = "loss",
        split: Split = "valid",
        name: str | None = None,
        task_name: str | None = None,
        task_options: dict[str, Any] | None = None,
        tasks: Key | None = None,
        trained_on: Key | None = None,
    ):
        if isinstance(opt, optax.GradientTransformation):
            opt = FromOptax(functools.partial(_itself, opt))
        read, self.metric = reading(task, metric, split)
        arrays, static = split_arrays((task, opt))
        self.program = Program(_Frozen(static, read), arrays, tasks=tasks, trained_on=trained_on)
        self.population = self.program.population
        self.about = {
            "optimizer": {"name": name or type(opt).__name__, **described(opt)},
            "tasks": {
                "name": task_name or type(task).__name__,
                "options": task_options or {},
                "data": digest(numbers(task)),
            },
        }
        if not jax.tree.leaves(eqx.filter_eval_shape(task.sample, jr.key(0))):
            self.notes = (SAME_DATA,)

    def run(self, seed: int, which: range, steps: int) -> Runs:
        return self.program(seed, which, steps)

    def described(self) -> dict[str, Any]:
        return self.about


@dataclasses.dataclass(frozen=True)
class _Frozen:
    """One run; equal, and so compiled once, for optimizers and tasks that differ in numbers."""

    static: Static
    read: Reading

    def __call__(self, arrays: PyTree, key: Key, steps: int) -> tuple[Array, Array]:
        task, opt = self.static.join(arrays)
        return play(task, opt, key, steps, self.read)


def play(
    task: AbstractTask, opt: AbstractOptimizer, key: Key, steps: int, read: Reading
) -> tuple[Float[Array, " steps+1"], Array]:
    """The errors of one run, and a sketch of instance, start and a batch."""
    key_begin, key_read, key_batch = jr.split(key, 3)
    episode = begin(task, opt, key_begin)

    def observe(problem: Problem, before: Episode, after: Episode, value: Scalar, key: Key):
        return read(problem, before, after, key_read)

    _, errors = unroll(task, opt, episode, steps + 1, observe)
    batch = draw(task, episode.instance, key_batch, split="train").batch
    return errors, sketch((episode.instance, episode.params, batch))


def described(opt: AbstractOptimizer) -> dict[str, Any]:
    """What the optimizer is, and a digest of its numbers."""
    try:
        about = describe(opt)
    except CheckpointError:  # made of functions
        about = {"kind": type(opt).__name__}
    return {**about, "weights": digest(numbers(opt))}


def _itself(transformation: optax.GradientTransformation) -> optax.GradientTransformation:
    return transformation
