"""An objective turns an unroll into the one number that meta-training minimises."""

import abc

import equinox as eqx

from .episode import Episode
from .task import AbstractTask, Problem
from .types import Key, Memo, Obs, Scalar


class AbstractObjective(eqx.Module):
    """Scores an unroll. `start` is called once an episode, `observe` once a step.

    An objective looks at parameters and losses, never at the optimizer's state:
    estimators are free to wrap that state.
    """

    @abc.abstractmethod
    def start(self, problem: Problem, episode: Episode, *, key: Key) -> Memo:
        """What is kept for the whole episode, across truncations: F₀ for ratios, or `()`."""

    @abc.abstractmethod
    def observe(
        self,
        problem: Problem,
        before: Episode,
        after: Episode,
        value: Scalar,
        memo: Memo,
        *,
        key: Key,
    ) -> Obs:
        """The record of one inner step; `value` is the loss at `before.params`."""

    @abc.abstractmethod
    def __call__(
        self, task: AbstractTask, episode: Episode, obs: Obs, memo: Memo, *, key: Key
    ) -> Scalar:
        """The score of an unroll that ended in `episode`; `obs` has a leading axis length."""
