"""Runs of a steppe task: an episode is advanced, and its error is read before each step.

metric        errors[k], after k updates
loss          the task's loss on the data of `split`
residual      ‖x_{k+1} − x_k‖₂
gradient      ‖∇f(x_k)‖₂, f the loss on the batch of the step
distance      ‖x_k − x*‖₂                       if the task knows its `target` x*
nmse          10 log₁₀ (‖x_k − x*‖² / ‖x*‖²)    the same, in dB
error         1 − accuracy on `split`           if the task has an accuracy
any other     that of the task's `metrics` on `split`
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax
from jaxtyping import Array, Float, PyTree

from ..core import tree
from ..core.arguments import told
from ..core.episode import Episode, Step
from ..core.loss import Saddle
from ..core.messages import did_you_mean
from ..core.optimizer import AbstractOptimizer
from ..core.rollout import rollout
from ..core.task import AbstractTask, Problem, draw, structure
from ..core.types import Instance, Key, Params, Scalar, Split
from ..optimizers.classic.from_optax import FromOptax
from ..optimizers.unrolled.base import warn_of_matrix
from ..store.checkpoint import CheckpointError
from ..store.describe import describe
from .runs import (
    AbstractRun,
    Metric,
    Program,
    Runs,
    Static,
    digest,
    name_of,
    numbers,
    split_arrays,
)
from .twins import sketch

SAME_DATA = "Tasks differ in their starting points and batches alone; their data are the same."
METRICS = {
    "loss": Metric("loss", "the task's loss on the whole {split} split, after k updates"),
    "residual": Metric("residual", "‖x_{{k+1}} − x_k‖₂, x_k the parameters after k updates"),
    "gradient": Metric("gradient", "‖∇f(x_k)‖₂ on the training batch of step k + 1"),
    "distance": Metric("distance", "‖x_k − x*‖₂, x* the task's solution"),
    "nmse": Metric("nmse", "10 log₁₀ (‖x_k − x*‖² / ‖x*‖²), x* the task's solution", "dB", True),
    "error": Metric("error", "1 − accuracy on the whole {split} split, after k updates"),
}
OF_TARGET = ("distance", "nmse")
Measure = Callable[[Params, Instance], Scalar]


@dataclasses.dataclass(frozen=True)
class Reading:
    """The error before a step, as a function of (problem, before, after, key).

    Two readings of equal arguments are equal, so that equal programs are compiled once.
    """

    metric: str | Measure
    split: Split

    def __call__(self, problem: Problem, before: Episode, after: Episode, key: Key) -> Scalar:
        task, x, instance = problem.task, before.params, before.instance
        if callable(self.metric):
            return self.metric(x, instance)
        if self.metric == "residual":
            return tree.norm(minus(after.params, x))
        if self.metric == "gradient":
            return tree.norm(problem.grad(x))
        best = task.target(instance) if self.metric in OF_TARGET else None
        if best is not None:
            distance = tree.norm(minus(x, best))
            decibel = 20 * jnp.log10(distance / tree.norm(best))
            return distance if self.metric == "distance" else decibel
        batch = task.full_batch(instance, split=self.split)
        if self.metric == "loss":
            return Problem(task, instance, batch, key).value(x)
        metrics = task.metrics(x, instance, batch, key)
        return 1 - metrics["accuracy"] if self.metric == "error" else metrics[self.metric]


class Episodes(AbstractRun):
    """Runs of an optimizer on a task.

    - `task`: draws the problems
    - `opt`: an optimizer of steppe or an optax transformation
    - `metric`: a name of the table above, or f(params, instance) → number ≥ 0; of a game
      not "loss", which does not fall along a run, but "merit"
    - `split`: the data that losses and metrics are taken on; the runs themselves use training data
    - `name`: of the optimizer, in the certificate
    - `task_name`, `task_options`: of a named task, in the certificate
    - `tasks`: the keys of all tasks, (N,), each taken at most once; None: fresh ones
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
        check_subject(task, opt)
        for what, keys in (("tasks", tasks), ("trained_on", trained_on)):
            if keys is not None:
                check_keys(what, keys)
        opt, self.about = frozen(task, opt, name, task_name, task_options)
        read, self.metric = reading(task, metric, split)
        arrays, static = split_arrays((task, opt))
        self.program = Program(_Frozen(static, read), arrays, tasks=tasks, trained_on=trained_on)
        self.population = self.program.population
        self.notes = same_data(task)

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
    """Errors of one run, and a sketch of instance, start and a batch.

    - `task`, `opt`: the task and the optimizer
    - `key`: of the instance, the start and all batches
    - `steps`: iterations, K
    - `read`: the error before a step
    """
    key_begin, key_read, key_batch = jr.split(key, 3)

    def observe(step: Step) -> Array:
        return read(step.problem, step.before, step.after, key_read)

    start = lambda episode: (episode.instance, episode.params)
    found = rollout(task, opt, key_begin, steps + 1, start, at=(0,), observe=observe)
    instance, params = jax.tree.map(lambda leaf: leaf[0], found.looks)
    batch = draw(task, instance, key_batch, split="train").batch
    return found.steps, sketch((instance, params, batch))


def check_subject(task: object, opt: object) -> None:
    """Refuse what is no task, or no optimizer of steppe or optax."""
    if not isinstance(task, AbstractTask):
        raise ValueError(f"A task of steppe is needed, got {told(task)}.")
    if not isinstance(opt, AbstractOptimizer | optax.GradientTransformation):
        raise ValueError(f"An optimizer of steppe or optax is needed, got {told(opt)}.")


def frozen(
    task: AbstractTask,
    opt: AbstractOptimizer | optax.GradientTransformation,
    name: str | None,
    task_name: str | None,
    task_options: dict[str, Any] | None,
) -> tuple[AbstractOptimizer, dict[str, Any]]:
    """The optimizer as one of steppe, and the description of the runs; arguments of `Episodes`."""
    warn_of_matrix(opt, task)
    if isinstance(opt, optax.GradientTransformation):
        opt = FromOptax(functools.partial(_itself, opt))
    about = {
        "optimizer": {"name": name or type(opt).__name__, **described(opt)},
        "tasks": {
            "name": task_name or type(task).__name__,
            "options": task_options or {},
            "data": digest(numbers(task)),
        },
    }
    return opt, about


def same_data(task: AbstractTask) -> tuple[str, ...]:
    """The warning that all problems of a task have the same data, if they have."""
    return () if jax.tree.leaves(eqx.filter_eval_shape(task.sample, jr.key(0))) else (SAME_DATA,)


def check_keys(what: str, keys: Any) -> None:
    """Refuse what is no array of JAX keys, (N,)."""
    known = isinstance(keys, jax.Array) and jnp.issubdtype(keys.dtype, jax.dtypes.prng_key)
    if not known or jnp.ndim(keys) != 1:
        raise ValueError(
            f"{what} must be keys, one a task, as jax.random.split makes them, got {told(keys)}."
        )


def described(opt: AbstractOptimizer) -> dict[str, Any]:
    """Kind and settings of an optimizer, and a digest of its numbers."""
    try:
        about = describe(opt)
    except CheckpointError:  # made of functions
        about = {"kind": type(opt).__name__}
    return {**about, "weights": digest(numbers(opt))}


def _itself(transformation: optax.GradientTransformation) -> optax.GradientTransformation:
    return transformation


def reading(task: AbstractTask, metric: str | Measure, split: Split) -> tuple[Reading, Metric]:
    """The reading of a metric, and its name and definition.

    - `task`: the task whose error is read
    - `metric`: a name of the table above, or f(params, instance) → number
    - `split`: the data that losses and metrics are taken on

    Raises ValueError if the task has no such metric, and for the loss of a game.
    """
    if split not in get_args(Split):
        raise ValueError(f"split must be one of {', '.join(get_args(Split))}, got {told(split)}.")
    if not (isinstance(metric, str) or callable(metric)):
        raise ValueError(f"A metric is a name or a function, got {told(metric)}.")
    if callable(metric):
        about = Metric(name_of(metric), "a function of parameters and instance")
        return Reading(metric, split), about
    if metric == "loss" and usual_metric(task) != metric:
        raise ValueError("The loss of a game tells nothing of a run; take the metric 'merit'.")
    own, target = eqx.filter_eval_shape(lambda key: own_metrics(task, split, key), jr.key(0))
    absent = {*(() if "accuracy" in own else ("error",)), *(OF_TARGET if target is None else ())}
    known = [name for name in METRICS if name not in absent]
    if metric in known:
        about = METRICS[metric]
        definition = about.definition.format(split=split)
        return Reading(metric, split), dataclasses.replace(about, definition=definition)
    if metric in own:
        text = f"the task's {metric} on the whole {split} split, after k updates"
        alike = METRICS.get(metric, Metric(metric, text))  # decibels are decibels in any task
        return Reading(metric, split), dataclasses.replace(alike, definition=text)
    raise ValueError(f"The task has no metric {metric!r}; {did_you_mean(metric, [*known, *own])}")


def usual_metric(task: AbstractTask) -> str:
    """The error that a run brings down: the loss, or of a game the merit."""
    return "merit" if issubclass(structure(task), Saddle) else "loss"


def own_metrics(
    task: AbstractTask, split: Split, key: Key
) -> tuple[dict[str, Scalar], Params | None]:
    """The metrics that the task has of its own, and its target."""
    instance = task.sample(key)
    params, batch = task.init(instance, key), task.full_batch(instance, split=split)
    return task.metrics(params, instance, batch, key), task.target(instance)


def minus(x: Params, y: Params) -> Params:
    return tree.add(x, tree.scale(-1, y))
