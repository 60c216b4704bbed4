"""What the error of an episode is, read off before each step.

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
from collections.abc import Callable
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp

from ..core import tree
from ..core.episode import Episode
from ..core.messages import did_you_mean
from ..core.task import AbstractTask, Problem
from ..core.types import Instance, Key, Params, Scalar, Split
from .runs import Metric, name_of

METRICS = {
    "loss": Metric("loss", "the task's loss on the whole {split} split, after k updates"),
    "residual": Metric("residual", "‖x_{{k+1}} − x_k‖₂, x_k the parameters after k updates"),
    "gradient": Metric("gradient", "‖∇f(x_k)‖₂ on the training batch of step k + 1"),
    "distance": Metric("distance", "‖x_k − x*‖₂, x* the task's solution"),
    "nmse": Metric("nmse", "10 log₁₀ (‖x_k − x*‖² / ‖x*‖²), x* the task's solution", "dB", True),
    "error": Metric("error", "1 − accuracy on the whole {split} split, after k updates"),
}
OF_SOLUTION = ("distance", "nmse")
Measure = Callable[[Params, Instance], Scalar]


@dataclasses.dataclass(frozen=True)
class Reading:
    """(problem, before, after, key) → the error before a step. Two of equal arguments are equal."""

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
        if self.metric in OF_SOLUTION:
            best = cast(Any, task).solution(instance)
            distance = tree.norm(minus(x, best))
            decibel = 20 * jnp.log10(distance / tree.norm(best))
            return distance if self.metric == "distance" else decibel
        whole = task.whole(instance, split=self.split)
        if self.metric == "loss":
            return task.loss(x, instance, whole, key)
        told = task.metrics(x, instance, whole, key)
        return 1 - told["accuracy"] if self.metric == "error" else told[self.metric]


def reading(task: AbstractTask, metric: str | Measure, split: Split) -> tuple[Reading, Metric]:
    """How the error is read off, and what it is called. ValueError if the task has none such."""
    if callable(metric):
        about = Metric(name_of(metric), "a function of parameters and instance")
        return Reading(metric, split), about
    own = eqx.filter_eval_shape(lambda key: told(task, split, key), jax.random.key(0))
    known = [name for name in METRICS if available(task, own, name)]
    if metric in known:
        about = METRICS[metric]
        definition = about.definition.format(split=split)
        return Reading(metric, split), dataclasses.replace(about, definition=definition)
    if metric in own:
        text = f"the task's {metric} on the whole {split} split, after k updates"
        return Reading(metric, split), Metric(metric, text)
    raise ValueError(f"The task has no metric {metric!r}; {did_you_mean(metric, [*known, *own])}")


def available(task: AbstractTask, own: dict, name: str) -> bool:
    if name in OF_SOLUTION:
        return hasattr(task, "solution")
    return name != "error" or "accuracy" in own


def told(task: AbstractTask, split: Split, key: Key) -> dict[str, Scalar]:
    """The task's own metrics."""
    instance = task.sample(key)
    params = task.init(instance, key)
    return task.metrics(params, instance, task.whole(instance, split=split), key)


def minus(x: Params, y: Params) -> Params:
    return tree.add(x, tree.scale(-1, y))
