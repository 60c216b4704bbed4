"""Wrappers that change the form of a task: its logarithm, its scale, sums of tasks.

    Log        ln(f(x) + ε) − ln ε,   ε = 1e-6
    Rescaled   f(x / s), started from s · x₀
    Sum        Σ_j f_j(x_j)

From the training problems of Wichrowska et al., "Learned optimizers that scale and generalize",
ICML 2017. Metrics are those of the task inside, at its own params.
"""

import math
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr

from ...core import tree
from ...core.loss import AbstractLoss, precompose
from ...core.messages import reals
from ...core.task import AbstractTask, Problem
from ...core.types import Batch, Instance, Key, Params, Scalar, Split
from .wrapper import AbstractLossWrapper

EPSILON = 1e-6  # the published code


class Log(AbstractLossWrapper):
    """The logarithm of a task whose loss is never negative, lifted so that it is not either.

    A loss below −ε gives NaN. Metrics: those of `task`, and `plain_loss`, f.
    """

    task: AbstractTask

    def loss(self, instance: Instance, batch: Batch, key: Key) -> Callable[[Params], Scalar]:
        f = Problem(self.task, instance, batch, key).loss()
        # log1p: near f = 0 the difference of two logarithms has no digits left.
        return lambda params: jnp.log1p(f(params) / EPSILON)

    def target(self, instance: Instance) -> Params | None:
        return self.task.target(instance)

    def metrics(
        self, params: Params, instance: Instance, batch: Batch, key: Key
    ) -> dict[str, Scalar]:
        plain = Problem(self.task, instance, batch, key).value(params)
        return {**self.task.metrics(params, instance, batch, key), "plain_loss": plain}


class Rescaled(AbstractTask):
    """`task` with all params `scale` times as large: gradients are `scale` times smaller."""

    task: AbstractTask
    scale: float = eqx.field(static=True, default=10.0)

    def __check_init__(self):
        reals("Rescaled", finite=False, scale=self.scale)
        if not 0 < self.scale < math.inf:
            raise ValueError(f"Rescaled: scale must be positive, got {self.scale}.")

    def sample(self, key: Key) -> Instance:
        return self.task.sample(key)

    def init(self, instance: Instance, key: Key) -> Params:
        return tree.scale(self.scale, self.task.init(instance, key))

    def batch(self, instance: Instance, key: Key, *, split: Split = "train") -> Batch:
        return self.task.batch(instance, key, split=split)

    def full_batch(self, instance: Instance, *, split: Split) -> Batch:
        return self.task.full_batch(instance, split=split)

    def loss(self, instance: Instance, batch: Batch, key: Key) -> AbstractLoss:
        loss = Problem(self.task, instance, batch, key).loss()
        return precompose(loss, lambda params: tree.scale(1 / self.scale, params))

    def target(self, instance: Instance) -> Params | None:
        target = self.task.target(instance)
        return None if target is None else tree.scale(self.scale, target)

    def metrics(
        self, params: Params, instance: Instance, batch: Batch, key: Key
    ) -> dict[str, Scalar]:
        return self.task.metrics(tree.scale(1 / self.scale, params), instance, batch, key)


class Sum(AbstractTask):
    """Several tasks solved jointly; params, instance and batch are tuples with an entry for each.

    Metric: `gap`, the sum of the gaps, if every task has one.
    """

    tasks: tuple[AbstractTask, ...] = eqx.field(converter=tuple)

    def __check_init__(self):
        if not self.tasks:
            raise ValueError("Sum: got no tasks, expected at least one.")

    def sample(self, key: Key) -> Instance:
        return tuple(t.sample(k) for t, k in self.each(key))

    def init(self, instance: Instance, key: Key) -> Params:
        return tuple(t.init(i, k) for (t, k), i in zip(self.each(key), instance, strict=True))

    def batch(self, instance: Instance, key: Key, *, split: Split = "train") -> Batch:
        parts = zip(self.each(key), instance, strict=True)
        return tuple(t.batch(i, k, split=split) for (t, k), i in parts)

    def full_batch(self, instance: Instance, *, split: Split) -> Batch:
        parts = zip(self.tasks, instance, strict=True)
        return tuple(t.full_batch(i, split=split) for t, i in parts)

    def loss(self, instance: Instance, batch: Batch, key: Key) -> Callable[[Params], Scalar]:
        parts = zip(self.each(key), instance, batch, strict=True)
        losses = [Problem(t, i, b, k).loss() for (t, k), i, b in parts]

        def total(params: Params) -> Scalar:
            first, *others = (f(p) for f, p in zip(losses, params, strict=True))
            return sum(others, start=first)

        return total

    def target(self, instance: Instance) -> Params | None:
        """None unless every task tells its own."""
        targets = [t.target(i) for t, i in zip(self.tasks, instance, strict=True)]
        return None if any(target is None for target in targets) else tuple(targets)

    def metrics(
        self, params: Params, instance: Instance, batch: Batch, key: Key
    ) -> dict[str, Scalar]:
        parts = zip(self.each(key), params, instance, batch, strict=True)
        found = [t.metrics(p, i, b, k) for (t, k), p, i, b in parts]
        if not all("gap" in metrics for metrics in found):
            return {}
        first, *others = (metrics["gap"] for metrics in found)
        return {"gap": sum(others, start=first)}

    def each(self, key: Key) -> zip:
        """(task, its key) pairs."""
        return zip(self.tasks, jr.split(key, len(self.tasks)), strict=True)
