"""An objective turns an unroll into the one number that meta-training minimises."""

import abc
from typing import Literal, get_args

import equinox as eqx
import jax.numpy as jnp
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


Named = Literal["uniform", "ramp", "last", "sum"]
Weights = Named | Float[Array, " length"]


def check_weights(weights: Weights, owner: str) -> None:
    """Refuse a name of weights that there is not."""
    # Any other thing may stand for an array while a tree is taken apart and put together.
    if isinstance(weights, str) and weights not in (known := get_args(Named)):
        raise ValueError(f"{owner}: weights is {weights!r}, expected one of {known} or an array.")


def weighted(values: Float[Array, " length"], weights: Weights, owner: str) -> Scalar:
    """Σ_t w_t v_t over the steps t = 1 … T of an unroll.

    - `weights`: "uniform" (1/T each), "ramp" (∝ t), "last" (only v_T), "sum" (1 each), or an array
      of T numbers: other numbers need no other compilation. One 1 among zeros is the value after
      that step alone.
    """
    length, dtype = len(values), values.dtype
    if not isinstance(weights, str):
        if weights.shape != (length,):
            raise ValueError(
                f"{owner}: weights have the shape {weights.shape}, but the unroll has "
                f"{length} steps: give one number a step."
            )
        numbers = weights.astype(dtype)
    elif weights == "ramp":
        ramp = jnp.arange(1, length + 1, dtype=dtype)
        numbers = ramp / ramp.sum()
    elif weights == "last":
        numbers = jnp.zeros(length, dtype).at[-1].set(1)
    else:
        numbers = jnp.full(length, 1.0 if weights == "sum" else 1.0 / length, dtype)
    return jnp.sum(numbers * values)
