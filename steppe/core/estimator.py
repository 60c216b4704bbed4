"""An estimator turns (task, optimizer, objective) into a meta-gradient."""

import abc

import equinox as eqx
from jaxtyping import Array, Float, Int, PyTree

from .objective import AbstractObjective
from .optimizer import AbstractOptimizer
from .task import AbstractTask
from .types import Key


class Stats(eqx.Module):
    """Quality of a meta-gradient. Means and norms are over the finite episodes only."""

    loss: Float[Array, ""]  # mean objective
    parts: dict[str, Float[Array, ""]]  # means of the objective's parts
    grad_norm: Float[Array, ""]  # Euclidean norm of the meta-gradient
    grad_error: Float[Array, ""]  # its standard error over episodes: √(tr Cov / episodes)
    nonfinite: Int[Array, ""]  # episodes whose loss or gradient was not finite, left out
    resets: Int[Array, ""]  # episodes that began afresh at this call
    episodes: Int[Array, ""]  # episodes in all
    inner_steps: Int[Array, ""]  # inner steps taken by all episodes
    part: Int[Array, ""]  # which part of a mixture was drawn; 0 elsewhere


class AbstractEstimator(eqx.Module):
    """A way to obtain the meta-gradient (BPTT, ES, PES).

    `horizon`, the inner steps of an episode, is an array: it changes between two calls without
    compiling again, which is what a curriculum does.
    """

    horizon: eqx.AbstractVar[Int[Array, ""]]

    @abc.abstractmethod
    def init(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        objective: AbstractObjective,
        *,
        key: Key,
    ) -> PyTree:
        """The estimator's state: episodes in flight and what goes with them."""

    @abc.abstractmethod
    def __call__(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        state: PyTree,
        objective: AbstractObjective,
        *,
        key: Key,
    ) -> tuple[PyTree, PyTree, Stats]:
        """(meta-gradient in the structure of θ, next state, statistics)."""
