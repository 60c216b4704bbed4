"""The same task from another start, or with its objective moved: how far does an optimizer carry?

    f(x + objective · 1),   from x₀ + start · 1

The minimum of a moved objective is as deep, and moved by −objective. Of Song, Lin, Wang & Xu,
"Towards robust learning to optimize with theoretical guarantees", CVPR 2024, who take shifts of
±10, ±20, ±50 and ±100. (Their code has the proximal map of a moved ‖·‖₁ wrong: it goes by the sign
of z where that of z + t is meant.)
"""

import equinox as eqx

from ...core.loss import AbstractLoss, translated
from ...core.messages import reals
from ...core.regularizer import moved
from ...core.task import AbstractTask, Problem
from ...core.types import Batch, Instance, Key, Params, Scalar, Split


class Shifted(AbstractTask):
    """`task` begun or seen at another place.

    - `start`: added to every coordinate of the start
    - `objective`: added to every coordinate where the loss is taken
    """

    task: AbstractTask
    start: float = eqx.field(static=True, default=0.0)
    objective: float = eqx.field(static=True, default=0.0)

    def __check_init__(self):
        reals("Shifted", start=self.start, objective=self.objective)

    def sample(self, key: Key) -> Instance:
        return self.task.sample(key)

    def init(self, instance: Instance, key: Key) -> Params:
        return moved(self.task.init(instance, key), self.start)

    def batch(self, instance: Instance, key: Key, *, split: Split = "train") -> Batch:
        return self.task.batch(instance, key, split=split)

    def full_batch(self, instance: Instance, *, split: Split) -> Batch:
        return self.task.full_batch(instance, split=split)

    def loss(self, instance: Instance, batch: Batch, key: Key) -> AbstractLoss:
        return translated(Problem(self.task, instance, batch, key).loss(), self.objective)

    def target(self, instance: Instance) -> Params | None:
        target = self.task.target(instance)
        return None if target is None else moved(target, -self.objective)

    def metrics(
        self, params: Params, instance: Instance, batch: Batch, key: Key
    ) -> dict[str, Scalar]:
        return self.task.metrics(moved(params, self.objective), instance, batch, key)
