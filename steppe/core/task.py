"""A task is a family of optimization problems; a problem is one loss surface of it."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
from jaxtyping import PyTree

from .loss import AbstractLoss, Saddle, as_loss
from .types import Batch, Instance, Key, Params, Scalar, Split


class AbstractTask(eqx.Module):
    """A family of optimization problems. Array fields are data shared by all its instances.

    A task holds what is large (data sets); an *instance* holds what differs from
    one problem to the next, so that many episodes side by side copy only that.

    A task that classifies gives the logits (rows, classes) and the labels (rows,) of a batch as
    `predictions(params, instance, batch, key)`, by which `evaluate` tells its calibration.
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
    def full_batch(self, instance: Instance, *, split: Split) -> Batch:
        """The batch that reports use: all data of a split, or the instance itself."""

    @abc.abstractmethod
    def loss(
        self, instance: Instance, batch: Batch, key: Key
    ) -> AbstractLoss | Callable[[Params], Scalar]:
        """The function of the parameters to be minimised, as a value that tells its structure.

        A plain function is taken as `Plain`. `key` is for randomness inside the loss (dropout).
        Ask `Problem.loss()`, which always gives an `AbstractLoss`.
        """

    @abc.abstractmethod
    def metrics(
        self, params: Params, instance: Instance, batch: Batch, key: Key
    ) -> dict[str, Scalar]:
        """Further numbers for reports, e.g. accuracy in [0, 1]. `{}` if none."""

    @abc.abstractmethod
    def target(self, instance: Instance) -> Params | None:
        """The parameters that solve the problem, None if they are not known."""


class AbstractFormula(AbstractTask):
    """A task without data: its loss is a formula in the parameters and the instance."""

    def batch(self, instance: Instance, key: Key, *, split: Split = "train") -> tuple[()]:
        return ()

    def full_batch(self, instance: Instance, *, split: Split) -> tuple[()]:
        return ()


class Problem(eqx.Module):
    """One loss surface: a task bound to an instance, a batch and a key."""

    task: AbstractTask
    instance: Instance
    batch: Batch
    key: Key

    def loss(self) -> AbstractLoss:
        """The loss, with the structure that the task tells of it."""
        return as_loss(self.task.loss(self.instance, self.batch, self.key))

    def value(self, params: Params) -> Scalar:
        return self.loss()(params)

    def merit(self, params: Params) -> Scalar:
        """The number that a run brings down: the value, or of a game ‖(∇ₓf, −∇ᵧf)‖."""
        loss = self.loss()
        return loss.merit(params) if isinstance(loss, Saddle) else loss(params)

    def grad(self, params: Params) -> Params:
        return jax.grad(self.value)(params)

    def value_and_grad(self, params: Params) -> tuple[Scalar, PyTree]:
        return jax.value_and_grad(self.value)(params)


def draw(task: AbstractTask, instance: Instance, key: Key, *, split: Split) -> Problem:
    """A problem on a fresh batch of `split`."""
    key_batch, key_loss = jax.random.split(key)
    return Problem(task, instance, task.batch(instance, key_batch, split=split), key_loss)


def structure(task: AbstractTask) -> type[AbstractLoss]:
    """The kind of loss that the task has, without computing one."""
    loss = lambda key: draw(task, task.sample(key), key, split="train").loss()
    return type(eqx.filter_eval_shape(loss, jax.random.key(0)))


def examples(task: AbstractTask) -> int:
    """Number of training examples of the task; 1 for a loss without examples."""
    rows = lambda key: task.full_batch(task.sample(key), split="train")
    return length(eqx.filter_eval_shape(rows, jax.random.key(0))) or 1


def length(batch: Batch) -> int | None:
    """Rows in front of all arrays of a batch, None if they are no rows of one table."""
    lengths = {leaf.shape[0] if leaf.ndim else None for leaf in jax.tree_util.tree_leaves(batch)}
    return lengths.pop() if len(lengths) == 1 else None
