"""A measure is one number of a loss at a point: curvature, sharpness, local entropy."""

import abc
from collections.abc import Callable

import equinox as eqx
from jaxtyping import PyTree

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
