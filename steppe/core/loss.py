"""A loss surface as a value that tells its structure.

    Plain          f(θ)                   nothing else is known
    Composed       outer(inner(θ))        outer convex: Gauss–Newton needs both halves
    Composite      smooth(θ) + r(θ)       r convex with a proximal map
    LeastSquares   ½‖Aθ − b‖²             a smooth part that tells A and b
    Logistic       mean log(1 + e^z) − y z, z = Aθ     the same for labels y
    Saddle         f(x, y)                to be minimised in x and maximised in y
    Stacked        Σᵢ f(θᵢ)               one function of many particles

A task returns one from `loss(instance, batch, key)`. An optimizer or a measure that needs structure
asks for it: `expect(problem.loss(), Composed, "GaussNewtonTrace")`.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import ClassVar, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int, PyTree

from . import tree
from .measure import check_positive
from .regularizer import AbstractRegularizer, InUnits, Translated, moved
from .types import Params, Scalar

Structured = TypeVar("Structured", bound="AbstractLoss")


class AbstractLoss(eqx.Module):
    """One loss surface: a function of the parameters, at one batch and one key.

    `remedy` is what to do where this structure is needed and is not there, see `expect`.
    """

    remedy: ClassVar[str] = (
        "Let the `loss` of the task return one, or take an optimizer or a measure that asks for "
        "less."
    )

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


class LeastSquares(AbstractLoss):
    """½‖Aθ − b‖²."""

    A: Float[Array, "rows n"]
    b: Float[Array, " rows"]

    def __check_init__(self):
        check_rows("LeastSquares", self.A, "b", self.b)

    def __call__(self, params: Float[Array, " n"]) -> Scalar:
        return jnp.sum((self.forward(params) - self.b) ** 2) / 2

    def forward(self, x: Float[Array, " n"]) -> Float[Array, " rows"]:
        """A x"""
        return self.A @ x

    def adjoint(self, r: Float[Array, " rows"]) -> Float[Array, " n"]:
        """Aᵀ r"""
        return self.A.T @ r

    def lipschitz(self) -> Scalar:
        """‖A‖², the constant of the gradient. Dear: for `sample`, not for the steps of a run."""
        return jnp.linalg.norm(self.A, 2) ** 2


class Logistic(AbstractLoss):
    """mean_i [ log(1 + e^{zᵢ}) − yᵢ zᵢ ] with z = Aθ, labels y in [0, 1]."""

    A: Float[Array, "rows n"]
    y: Float[Array, " rows"]

    def __check_init__(self):
        check_rows("Logistic", self.A, "y", self.y)

    def __call__(self, params: Float[Array, " n"]) -> Scalar:
        z = self.A @ params
        return jnp.mean(jnp.logaddexp(z, 0) - self.y * z)

    def lipschitz(self) -> Scalar:
        """‖A‖² / (4 rows), a constant of the gradient. Dear: for `sample`."""
        return jnp.linalg.norm(self.A, 2) ** 2 / (4 * len(self.y))


class Composite(AbstractLoss):
    """smooth(θ) + regularizer(θ).

    An optimizer that does not ask for the parts is handed a gradient of the sum. Where the
    regularizer has a kink it is a subgradient: that of |x| at 0 is 0.

    - `smooth`: with a gradient
    - `regularizer`: convex, with `prox(z, step)`
    - `lipschitz`: a constant L > 0 of the gradient of `smooth`, known where the instance is drawn
    - `truth`: the parameters that the data were made from, for supervised training; None where they
      are not known. They need not be the minimum
    """

    smooth: AbstractLoss
    regularizer: AbstractRegularizer
    lipschitz: Scalar
    truth: Params | None = None

    def __check_init__(self):
        remedy = "It is the largest curvature of the smooth part, such as ‖A‖² of ½‖Ax − b‖²."
        check_positive("Composite", "lipschitz", self.lipschitz, remedy)

    def __call__(self, params: Params) -> Scalar:
        value = self.smooth(params)
        return value + self.regularizer(params).astype(value.dtype)


class Saddle(AbstractLoss):
    """f over {"min": x, "max": y}; value and gradient are those of f, for both players alike."""

    f: Callable[[Params], Scalar]

    def __call__(self, params: dict[str, Params]) -> Scalar:
        return self.f(params)

    def grad_min(self, params: dict[str, Params]) -> Params:
        """∇ₓf, against which x goes."""
        return jax.grad(self.f)(params)["min"]

    def grad_max(self, params: dict[str, Params]) -> Params:
        """∇ᵧf, along which y goes."""
        return jax.grad(self.f)(params)["max"]

    def merit(self, params: dict[str, Params]) -> Scalar:
        """‖(∇ₓf, −∇ᵧf)‖, zero where neither player gains by a small move."""
        return tree.norm(jax.grad(self.f)(params))


class Stacked(AbstractLoss):
    """Σᵢ loss(θᵢ) over particles, the leading axis of every leaf of the parameters."""

    loss: AbstractLoss
    remedy: ClassVar[str] = (
        "It is of several points on one problem: give `task.particles 4`; in Python "
        "`Population(task, 4)`."
    )

    def __call__(self, params: Params) -> Scalar:
        return jnp.sum(self.each(params))

    def each(self, params: Params) -> Float[Array, " particles"]:
        """The value of every particle."""
        return jax.vmap(self.loss)(params)


def best(values: Float[Array, " particles"]) -> Int[Array, ""]:
    """The number of the particle of least value, those that are no numbers aside."""
    return jnp.argmin(jnp.where(jnp.isnan(values), jnp.inf, values))


def check_rows(owner: str, A: Array, name: str, b: Array) -> None:
    """Refuse equations whose sides have different numbers of rows."""
    if not jnp.issubdtype(dtype := getattr(A, "dtype", type(A)), jnp.floating):
        raise ValueError(
            f"{owner}: A is of {getattr(dtype, '__name__', dtype)}, expected an array of real "
            "numbers; give jnp.asarray(A, float)."
        )
    if jnp.ndim(A) != 2 or jnp.shape(b) != jnp.shape(A)[:1]:
        raise ValueError(
            f"{owner}: A is {jnp.shape(A)} and {name} is {jnp.shape(b)}, expected (rows, n) and "
            f"(rows,); give one entry of {name} for each row of A."
        )


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


def in_units(loss: AbstractLoss, c: Params) -> AbstractLoss:
    """θ ↦ loss(c ⊙ θ) for positive factors c, a tree like the parameters.

    All structure survives but that of particles, each of which sees a function of its own then,
    and of a regularizer that is no sum over coordinates.
    """
    change = lambda params: jtu.tree_map(lambda p, c: p * c.astype(p.dtype), params, c)
    if isinstance(loss, Composite) and loss.regularizer.separable:
        largest = jnp.max(jnp.stack([jnp.max(leaf) for leaf in jtu.tree_leaves(c)]))
        smooth = in_units(loss.smooth, c)
        # ‖A diag(c)‖² ≤ ‖A‖² max c²: a bound is all that a step size needs.
        truth = None if loss.truth is None else jtu.tree_map(jnp.divide, loss.truth, c)
        return Composite(smooth, InUnits(loss.regularizer, c), loss.lipschitz * largest**2, truth)
    if isinstance(loss, LeastSquares):
        return LeastSquares(loss.A * c[None], loss.b)
    if isinstance(loss, Saddle):
        return Saddle(lambda params: loss.f(change(params)))
    return precompose(loss, change)


class StructureError(TypeError, ValueError):
    """A loss has not the structure that an optimizer or a measure needs."""


def translated(loss: AbstractLoss, shift: float | Scalar) -> AbstractLoss:
    """θ ↦ loss(θ + shift), the same number added to every coordinate."""
    if isinstance(loss, Composite):
        smooth = translated(loss.smooth, shift)
        truth = None if loss.truth is None else moved(loss.truth, -shift)
        return Composite(smooth, Translated(loss.regularizer, shift), loss.lipschitz, truth)
    if isinstance(loss, LeastSquares):
        return LeastSquares(loss.A, loss.b - jnp.sum(loss.A, axis=1) * shift)
    if isinstance(loss, Saddle):
        return Saddle(lambda params: loss.f(moved(params, shift)))
    if isinstance(loss, Stacked):
        return Stacked(translated(loss.loss, shift))
    return precompose(loss, lambda params: moved(params, shift))


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
    name = "a plain function" if name == "<lambda>" else name
    needed = [f.name for f in dataclasses.fields(structure) if f.default is dataclasses.MISSING]
    form = f"{structure.__name__}({', '.join(needed)})"
    raise StructureError(f"{asker} needs a loss of the form {form}, got {name}. {structure.remedy}")
