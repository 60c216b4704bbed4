"""A task is a family of optimization problems; a problem is one loss surface of it."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
from jaxtyping import PyTree

from .types import Batch, Instance, Key, Params, Scalar, Split


class AbstractTask(eqx.Module):
    """A family of optimization problems. Array fields are data shared by all its instances.

    A task holds what is large (data sets); an *instance* holds what differs from
    one problem to the next, so that many episodes side by side copy only that.
    """

    @abc.abstractmethod
    def sample(self, key: Key) -> Instance:
        """Draw what varies between problems. `()` if nothing does."""

    @abc.abstractmethod
    def init(self, instance: Instance, key: Key) -> Params:
        """Draw starting parameters."""

    @abc.abstractmethod
    def batch(self, instance: Instance, key: Key, *, split: Split = "train") -> Batch:
        """Draw the data for one evaluation of the loss from a split."""

    @abc.abstractmethod
    def loss(self, params: Params, instance: Instance, batch: Batch, key: Key) -> Scalar:
        """The number to be minimised. `key` is for randomness inside the loss (dropout)."""

    @abc.abstractmethod
    def metrics(
        self, params: Params, instance: Instance, batch: Batch, key: Key
    ) -> dict[str, Scalar]:
        """Further numbers for reports, e.g. accuracy in [0, 1]. `{}` if none."""

    @abc.abstractmethod
    def whole(self, instance: Instance, *, split: Split) -> Batch:
        """The batch that reports use: all data of a split, or the instance itself."""


class AbstractPredictive(AbstractTask):
    """Capability: the loss is a convex criterion of the outputs of a model."""

    @abc.abstractmethod
    def outputs(self, params: Params, instance: Instance, batch: Batch, key: Key) -> PyTree:
        """What the model says of a batch, e.g. its logits."""

    @abc.abstractmethod
    def criterion(self, outputs: PyTree, instance: Instance, batch: Batch) -> Scalar:
        """loss = criterion(outputs), convex in the outputs."""


class Composed(eqx.Module):
    """A loss whose two halves are known: outer(inner(params)). Gauss–Newton needs to see both."""

    inner: Callable[[Params], PyTree]
    outer: Callable[[PyTree], Scalar]

    def __call__(self, params: Params) -> Scalar:
        return self.outer(self.inner(params))


class Problem(eqx.Module):
    """One loss surface: a task bound to an instance, a batch and a key."""

    task: AbstractTask
    instance: Instance
    batch: Batch
    key: Key

    def value(self, params: Params) -> Scalar:
        return self.task.loss(params, self.instance, self.batch, self.key)

    def surface(self) -> Callable[[Params], Scalar]:
        """The loss as measures take it: `Composed` where the task can tell its halves."""
        task = self.task
        if not isinstance(task, AbstractPredictive):
            return self.value
        return Composed(
            lambda params: task.outputs(params, self.instance, self.batch, self.key),
            lambda outputs: task.criterion(outputs, self.instance, self.batch),
        )

    def grad(self, params: Params) -> Params:
        return jax.grad(self.value)(params)

    def value_and_grad(self, params: Params) -> tuple[Scalar, PyTree]:
        return jax.value_and_grad(self.value)(params)


def draw(task: AbstractTask, instance: Instance, key: Key, *, split: Split) -> Problem:
    """A problem on a fresh batch of `split`."""
    key_batch, key_loss = jax.random.split(key)
    return Problem(task, instance, task.batch(instance, key_batch, split=split), key_loss)


def examples(task: AbstractTask) -> int:
    """How many training examples the task has; 1 for a loss without examples."""
    whole = lambda key: task.whole(task.sample(key), split="train")
    return length(eqx.filter_eval_shape(whole, jax.random.key(0))) or 1


def length(batch: Batch) -> int | None:
    """Rows in front of all arrays of a batch, None if they are no rows of one table."""
    lengths = {leaf.shape[0] if leaf.ndim else None for leaf in jax.tree_util.tree_leaves(batch)}
    return lengths.pop() if len(lengths) == 1 else None
