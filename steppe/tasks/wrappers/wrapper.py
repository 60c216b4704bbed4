"""A task around another that changes the loss alone."""

import equinox as eqx

from ...core.task import AbstractTask
from ...core.types import Batch, Instance, Key, Params, Split


class AbstractLossWrapper(AbstractTask):
    """Instances, starts and batches are those of `task`."""

    task: eqx.AbstractVar[AbstractTask]

    def sample(self, key: Key) -> Instance:
        return self.task.sample(key)

    def init(self, instance: Instance, key: Key) -> Params:
        return self.task.init(instance, key)

    def batch(self, instance: Instance, key: Key, *, split: Split = "train") -> Batch:
        return self.task.batch(instance, key, split=split)

    def full_batch(self, instance: Instance, *, split: Split) -> Batch:
        return self.task.full_batch(instance, split=split)
