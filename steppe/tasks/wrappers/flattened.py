"""Flattened: the inner problem itself is regularised.

    loss(θ) = f(θ) + β R(θ)

Any optimizer then trains on the gradient of both, on the same batch: what a *method* of finding
flat minima does. (`objectives/regularized.py` leaves the problem as it is and teaches the
optimizer.) The published code of flatness-aware learned optimizers has it as `reg_optimizee`.
"""

from collections.abc import Callable

import jax.random as jr

from ...core.measure import AbstractMeasure
from ...core.messages import reals
from ...core.task import AbstractTask, Problem
from ...core.types import Batch, Instance, Key, Params, Scalar
from .wrapper import AbstractLossWrapper


class Flattened(AbstractLossWrapper):
    """`task` with `beta` · `measure` added to its loss.

    - `measure`: of the loss on the batch at hand, whole or not; its gradient costs one derivative
      more than it takes.
    - `beta`: β, a number or a 0-d array, which changes without recompiling.

    The sum is the loss on every split, so a validation score holds β R too; the metrics are those
    of `task`, and `plain_loss`, f alone.
    """

    task: AbstractTask
    measure: AbstractMeasure
    beta: float | Scalar

    def __check_init__(self):
        reals("Flattened", beta=self.beta)
        if not isinstance(self.measure, AbstractMeasure):
            raise TypeError(
                f"Flattened: the measure is {self.measure!r}, expected an object such as "
                "`HessianTrace(probes=1)`."
            )

    def loss(self, instance: Instance, batch: Batch, key: Key) -> Callable[[Params], Scalar]:
        key_loss, key_measure = jr.split(key)
        loss = Problem(self.task, instance, batch, key_loss).loss()

        def sum(params: Params) -> Scalar:
            f = loss(params)
            R = self.measure(loss, params, key=key_measure)
            return f + (self.beta * R).astype(f.dtype)

        return sum

    def target(self, instance: Instance) -> None:
        """None: β R moves the minimum."""
        return None

    def metrics(
        self, params: Params, instance: Instance, batch: Batch, key: Key
    ) -> dict[str, Scalar]:
        key_loss, _ = jr.split(key)  # as in `loss`
        plain = Problem(self.task, instance, batch, key_loss).value(params)
        return {**self.task.metrics(params, instance, batch, key), "plain_loss": plain}
