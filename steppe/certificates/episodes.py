"""Runs of a steppe task: an optimizer advances an episode by `unroll`, its error read at each step.

metric        errors[k], after k updates
loss          the task's loss on the data of `split`
residual      ‖x_{k+1} − x_k‖₂
gradient      ‖∇f(x_k)‖₂, f the loss on the batch of the step
distance      ‖x_k − x*‖₂                       where the task has a `solution`
nmse          10 log₁₀ (‖x_k − x*‖² / ‖x*‖²)    the same, in dB
error         1 − accuracy on `split`           where the task tells the accuracy
any other     that of the task's `metrics` on `split`
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, PyTree

from ..core import tree
from ..core.checkpoint import CheckpointError
from ..core.describe import describe
from ..core.episode import Episode, begin, unroll
from ..core.optimizer import AbstractOptimizer
from ..core.task import AbstractTask, Problem
from ..core.types import Instance, Key, Params, Scalar, Split
from ..core.words import guess
from ..optimizers.classic.from_optax import FromOptax
from .compiled import Program, numbers
from .runs import AbstractRun, Metric, Runs, digest, name_of

METRICS = {
    "loss": Metric("loss", "the task's loss on the whole {split} split, after k updates"),
    "residual": Metric("residual", "‖x_{{k+1}} − x_k‖₂, x_k the parameters after k updates"),
    "gradient": Metric("gradient", "‖∇f(x_k)‖₂ on the training batch of step k + 1"),
    "distance": Metric("distance", "‖x_k − x*‖₂, x* the task's solution"),
    "nmse": Metric("nmse", "10 log₁₀ (‖x_k − x*‖² / ‖x*‖²), x* the task's solution", "dB", True),
    "error": Metric("error", "1 − accuracy on the whole {split} split, after k updates"),
}
SAME_DATA = "Tasks differ in their starting points and batches alone; their data are the same."
OF_SOLUTION = ("distance", "nmse")
Measure = Callable[[Params, Instance], Scalar]


class Episodes(AbstractRun):
    """An optimizer on a task.

    - `opt`: of steppe, or an optax transformation
    - `metric`: a name from above, or f(params, instance) → number ≥ 0
    - `split`: the data that losses and metrics are taken on; training goes on training data
    - `name`: of the optimizer, as the certificate says it
    - `task_name`, `task_options`: of a named task
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
    ):
        if isinstance(opt, optax.GradientTransformation):
            opt = FromOptax(functools.partial(_itself, opt))
        self.task, self.opt, self.split = task, opt, split
        self.read, self.metric = measured(task, metric, split)
        self.names = (name or type(opt).__name__, task_name or type(task).__name__, task_options)
        arrays, self.static = eqx.partition((task, opt), eqx.is_array)
        self.program = Program(self._one, arrays)
        if not jax.tree.leaves(eqx.filter_eval_shape(task.sample, jr.key(0))):
            self.notes = (SAME_DATA,)

    def run(self, seed: int, which: range, steps: int) -> Runs:
        return self.program(seed, which, steps)

    def described(self) -> dict[str, Any]:
        name, task_name, task_options = self.names
        try:
            about = describe(self.opt)
        except CheckpointError:  # made of functions
            about = {"kind": type(self.opt).__name__}
        return {
            "optimizer": {"name": name, **about, "weights": digest(numbers(self.opt))},
            "tasks": {
                "name": task_name,
                "options": task_options or {},
                "data": digest(numbers(self.task)),
            },
        }

    def _one(self, arrays: PyTree, key: Key, steps: int) -> tuple[Array, PyTree]:
        task, opt = eqx.combine(arrays, self.static)
        key_begin, key_read = jr.split(key)
        episode = begin(task, opt, key_begin)

        def observe(problem: Problem, before: Episode, after: Episode, value: Scalar, key: Key):
            return self.read(problem, before, after, key_read)

        _, errors = unroll(task, opt, episode, steps + 1, observe)
        return errors, (episode.instance, episode.params, jr.key_data(episode.key))


def _itself(transformation: optax.GradientTransformation) -> optax.GradientTransformation:
    return transformation


Read = Callable[[Problem, Episode, Episode, Key], Scalar]


def measured(task: AbstractTask, metric: str | Measure, split: Split) -> tuple[Read, Metric]:
    """How the error is read off a step, and what it is called."""
    whole = lambda p, e: p.task.whole(e.instance, split=split)
    tell = lambda p, e, key: p.task.metrics(e.params, e.instance, whole(p, e), key)
    if callable(metric):
        about = Metric(name_of(metric), "a function of parameters and instance")
        return lambda p, before, after, key: metric(before.params, before.instance), about
    told = eqx.filter_eval_shape(lambda key: told_by(task, split, key), jax.random.key(0))
    known = [name for name in METRICS if available(task, told, name)]
    if metric not in (*known, *told):
        raise ValueError(f"The task has no metric {metric!r}; {guess(metric, [*known, *told])}")
    reads: dict[str, Read] = {
        "loss": lambda p, b, a, key: p.task.loss(b.params, b.instance, whole(p, b), key),
        "residual": lambda p, b, a, key: tree.norm(tree.add(a.params, tree.scale(-1, b.params))),
        "gradient": lambda p, b, a, key: tree.norm(p.grad(b.params)),
        "distance": lambda p, b, a, key: tree.norm(off(p, b)),
        "nmse": lambda p, b, a, key: 20 * jnp.log10(tree.norm(off(p, b)) / tree.norm(best(p, b))),
        "error": lambda p, b, a, key: 1 - tell(p, b, key)["accuracy"],
    }
    if metric in known:
        about = METRICS[metric]
        told_now = about.definition.format(split=split)
        return reads[metric], dataclasses.replace(about, definition=told_now)
    about = Metric(metric, f"the task's {metric} on the whole {split} split, after k updates")
    return lambda p, b, a, key: tell(p, b, key)[metric], about


def available(task: AbstractTask, told: dict, name: str) -> bool:
    if name in OF_SOLUTION:
        return hasattr(task, "solution")
    return name != "error" or "accuracy" in told


def told_by(task: AbstractTask, split: Split, key: Key) -> dict[str, Scalar]:
    """The task's own metrics."""
    instance = task.sample(key)
    params = task.init(instance, key)
    return task.metrics(params, instance, task.whole(instance, split=split), key)


def best(problem: Problem, episode: Episode) -> Params:
    return cast(Any, problem.task).solution(episode.instance)


def off(problem: Problem, episode: Episode) -> Params:
    return tree.add(episode.params, tree.scale(-1, best(problem, episode)))
