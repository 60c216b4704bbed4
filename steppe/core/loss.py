"""A loss surface as a value that tells its structure.

    Plain      f(θ)                   nothing else is known
    Composed   outer(inner(θ))        outer convex: Gauss–Newton needs both halves

A task returns one from `loss(instance, batch, key)`. An optimizer or a measure that needs structure
asks for it: `expect(problem.loss(), Composed, "GaussNewtonTrace")`.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import TypeVar

import equinox as eqx
from jaxtyping import PyTree

from .types import Params, Scalar

Structured = TypeVar("Structured", bound="AbstractLoss")


class AbstractLoss(eqx.Module):
    """One loss surface: a function of the parameters, at one batch and one key."""

    @abc.abstractmethod
    def __call__(self, params: Params) -> Scalar:
        """The value at `params`."""


class Plain(AbstractLoss):
    """A loss of which nothing is known but its values."""

    f: Callable[[Params], Scalar]

    def __call__(self, params: Params) -> Scalar:
        return self.f(params)


class Composed(AbstractLoss):
    """outer(inner(θ)), for instance a criterion of the outputs of a model; `outer` is convex."""

    inner: Callable[[Params], PyTree]
    outer: Callable[[PyTree], Scalar]

    def __call__(self, params: Params) -> Scalar:
        return self.outer(self.inner(params))


def as_loss(f: Callable[[Params], Scalar]) -> AbstractLoss:
    """The same loss; a plain function of the parameters as `Plain`."""
    if not callable(f):
        raise TypeError(
            f"A loss must be a function of the parameters, got {type(f).__name__}. Let "
            "`loss(instance, batch, key)` return one, such as `lambda params: …`."
        )
    return f if isinstance(f, AbstractLoss) else Plain(f)


def precompose(
    loss: Callable[[Params], Scalar], change: Callable[[Params], Params]
) -> AbstractLoss:
    """θ ↦ loss(change(θ)) for any `change` of variables; only `Composed` survives that."""
    if isinstance(loss, Composed):
        inner = loss.inner
        return Composed(lambda params: inner(change(params)), loss.outer)
    return Plain(lambda params: loss(change(params)))


def expect(loss: Callable[[Params], Scalar], structure: type[Structured], asker: str) -> Structured:
    """The same loss, refusing with a sentence to have any other structure.

    - `loss`: what `Problem.loss()` gives
    - `structure`: the class that is needed, such as `Composed`
    - `asker`: the name of the optimizer or measure that needs it, for the sentence
    """
    if isinstance(loss, structure):
        return loss
    known = loss.f if isinstance(loss, Plain) else loss
    name = getattr(known, "__name__", type(known).__name__)
    form = (
        f"{structure.__name__}({', '.join(field.name for field in dataclasses.fields(structure))})"
    )
    raise TypeError(
        f"{asker} needs a loss of the form {form}, got {name}. Let the `loss` of the task return "
        f"one, or take an optimizer or a measure that asks for less."
    )
