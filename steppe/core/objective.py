"""An objective turns an unroll into the one number that meta-training minimises."""

import abc

import equinox as eqx
from jaxtyping import Array, Float

from .episode import Episode, Step
from .task import AbstractTask, Problem
from .types import Key, Memo, Obs, Scalar


class Score(eqx.Module):
    """Value of an objective on one unroll."""

    value: Scalar  # the number to be minimised
    memo: Memo  # kept for the next unroll of the same episode
    parts: dict[str, Float[Array, ""]]  # what went into the value, for the log


class AbstractObjective(eqx.Module):
    """Scores an unroll. `start` is called once an episode, `observe` once a step.

    An objective looks at parameters and losses, never at the optimizer's state:
    estimators are free to wrap that state.
    """

    @abc.abstractmethod
    def start(self, problem: Problem, episode: Episode, *, key: Key) -> Memo:
        """Memo of an episode, e.g. F₀ for ratios, or `()`. A `Score` may renew it."""

    @abc.abstractmethod
    def observe(self, step: Step, memo: Memo) -> Obs:
        """The record of one inner step."""

    @abc.abstractmethod
    def __call__(
        self, task: AbstractTask, episode: Episode, obs: Obs, memo: Memo, *, key: Key
    ) -> Score:
        """The score of an unroll that ended in `episode`; `obs` has a leading axis length."""
