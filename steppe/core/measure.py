"""A measure is one number of a loss at a point: curvature, sharpness, local entropy.

The checks of its settings judge concrete values alone: a number traced under `jit` or `vmap` has no
value yet and passes.
"""

import abc
from collections.abc import Callable

import equinox as eqx
import numpy as np
from jax.core import Tracer
from jaxtyping import PyTree

from .arguments import told
from .messages import is_whole, reals
from .types import Key, Params, Scalar


class AbstractMeasure(eqx.Module):
    """One number of a loss surface at a point; random only through `key`.

    Its *value* is always the quantity named. Its *gradient* may come from a cheaper
    exact surrogate through `tree.with_gradient`, so that nobody can log a surrogate
    by mistake and estimators that see values only stay right.
    """

    @abc.abstractmethod
    def __call__(self, loss: Callable[[Params], Scalar], params: Params, *, key: Key) -> Scalar:
        """The measure of `loss` at `params`."""


class AbstractWarm(AbstractMeasure):
    """Capability: an evaluation leaves a guess that makes the next one, nearby, cheaper."""

    @abc.abstractmethod
    def guess(self, params: Params, *, key: Key) -> PyTree:
        """The start of the first evaluation."""

    @abc.abstractmethod
    def resume(
        self, loss: Callable[[Params], Scalar], params: Params, guess: PyTree, *, key: Key
    ) -> tuple[Scalar, PyTree]:
        """The measure, begun from `guess`, and the guess for the next evaluation, a constant."""


def check_positive(owner: str, name: str, value: float | Scalar, remedy: str) -> None:
    reals(owner, finite=False, **{name: value})
    if not _within(value, lambda x: x > 0):
        raise ValueError(f"{owner}: {name} must be positive, got {value}. {remedy}")


def check_not_negative(owner: str, name: str, value: float | Scalar, remedy: str) -> None:
    reals(owner, finite=False, **{name: value})
    if not _within(value, lambda x: x >= 0):
        raise ValueError(f"{owner}: {name} must be zero or positive, got {value}. {remedy}")


def check_count(owner: str, name: str, value: int, *, least: int = 1) -> None:
    if not is_whole(value) or value < least:
        raise ValueError(f"{owner}: {name} must be a whole number ≥ {least}, got {told(value)}.")


def check_draws(owner: str, samples: int, group: int, why: str) -> None:
    if not is_whole(samples) or samples < group or samples % group:
        raise ValueError(
            f"{owner}: samples must be a multiple of {group}, because {why}, got {told(samples)}."
        )


def _within(value: float | Scalar | None, inside: Callable[[np.ndarray], np.ndarray]) -> bool:
    """True for finite numbers in the range, and where the value is not known yet."""
    if value is None or isinstance(value, Tracer):
        return value is not None
    found = np.asarray(value)
    return bool(np.all(inside(found)) and np.all(np.isfinite(found)))
