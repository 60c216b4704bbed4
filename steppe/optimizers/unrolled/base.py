"""Unrolled networks: the first steps of a run, each a layer with numbers of its own.

    x₁ = layer 0 (x₀),  x₂ = layer 1 (x₁),  …,  x_T = layer T − 1 (x_{T−1}),  then FISTA from x_T

They solve ½‖Ax − b‖² + r(x) for many b and, most of them, one A: a network is made for a matrix by
`from_dictionary(A)`, or by `from_task(task)` where all problems of a task share it. A run that goes
on after the last layer is handed over to FISTA with restart on the same problem, so that it still
comes to the minimum: what was trained is a fast start.

Gregor & LeCun, "Learning fast approximations of sparse coding", ICML 2010; Monga, Li & Eldar,
"Algorithm unrolling", IEEE Signal Processing Magazine 2021. The hand-over is that of Chen et al.,
"Learning to optimize: a primer and a benchmark", JMLR 2022, Figure 6.
"""

import abc
import warnings
from typing import Annotated, Any, ClassVar, Literal, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, PyTree

from ...core import tree
from ...core.arguments import whole
from ...core.loss import Composite, LeastSquares, expect
from ...core.messages import LARGEST, at_least
from ...core.optimizer import AbstractOptimizer, Fixed, split_meta
from ...core.task import AbstractTask, Problem, draw
from ...core.types import Key, Params, Updates
from ...store.untrusted import Between
from ..classic.proximal import FISTA, FISTAState, composite

MOST_UNKNOWNS, MOST_LAYERS = 2**20, 2**16
Size = Annotated[int, Between(1, MOST_UNKNOWNS)]  # rows or columns of A
Layers = Annotated[int, Between(1, MOST_LAYERS)]
Formula = Literal["", "dual", "inverse"]
LARGER = 1.001  # of the published starts

Matrix = Float[np.ndarray, "rows n"]
Memory = PyTree  # of floats


class UnrolledState(eqx.Module):
    step: Int[Array, ""]  # layers, and steps after them, that were taken
    memory: Memory
    after: FISTAState


class AbstractUnrolled(AbstractOptimizer):
    """A network whose layers are the first steps of a run; see the head of this file.

    A class declares `start`, `layer` and `started`; `init` and `update` follow. Arrays that are
    named in `per_layer` have a leading layer axis, and `layer` is called on a network that has the
    row of that layer in their place. One that is shorter than `layers` lacks the first of them.
    Arrays that are not named are shared by all layers.
    """

    layers: eqx.AbstractVar[int]
    per_layer: ClassVar[tuple[str, ...]]
    matrix: ClassVar[bool] = True  # all episodes of a network, and A, are multiplied by the same
    needs_matrix: ClassVar[bool] = True  # made for one A: the fields `rows` and `n` are its shape
    # W follows from A and is not trained: wᵢᵀaᵢ = 1 for each column, or Wᵀ is a pseudoinverse
    formula: ClassVar[Formula] = ""

    @abc.abstractmethod
    def start(self, x: Float[Array, " n"]) -> Memory:
        """All that layer 0 gets besides x; `()` if nothing."""

    @abc.abstractmethod
    def layer(
        self, k: Int[Array, ""], x: Float[Array, " n"], memory: Memory, loss: Composite
    ) -> tuple[Float[Array, " n"], Memory]:
        """The next x, and what the next layer gets besides it.

        - `self`: with the rows of this layer, where there are several
        - `k`: index of the layer, 0 … layers − 1
        - `loss`: its smooth part is `LeastSquares`. All floats, those of `self` too, have the
          dtype of x
        """

    @abc.abstractmethod
    def started(self, A: Matrix) -> Self:
        """The same network before training, with the arrays that the matrix A implies.

        - `A`: float64, checked: finite, no zero column
        """

    @classmethod
    def from_dictionary(cls, A: ArrayLike, **options: Any) -> Self:
        """The untrained network for a matrix, as published.

        - `A`: (rows, n), finite, without a zero column
        - `options`: of the class, such as `layers`

        Raises ValueError for any other A.
        """
        A = checked_matrix(A, cls.__name__)
        sizes = A.shape if cls.needs_matrix else ()
        return cls(*sizes, **options).started(A)

    @classmethod
    def from_task(cls, task: AbstractTask, **options: Any) -> Self:
        """The untrained network for the matrix that all problems of a task share.

        - `task`: its loss is a `Composite` whose smooth part is `LeastSquares`
        - `options`: of the class, such as `layers`

        Raises TypeError for a task of another loss, ValueError where problems differ in A.
        """
        name = cls.__name__
        first, second = (matrix_of(task, name, key) for key in jr.split(jr.key(0)))
        if cls.needs_matrix and not np.array_equal(first, second, equal_nan=True):
            raise ValueError(
                f"{name} is a network for one matrix A, but every problem of "
                f"{type(task).__name__} has its own; give the task a seed, such as seed=0, so "
                "that all share the A drawn from it."
            )
        return cls.from_dictionary(first, **options)

    def fits(self, A: ArrayLike) -> bool | None:
        """True for the A that the network was made for, False for another; None: nobody can tell.

        It is seen from W where that follows from A by a formula. What is trained does not tell.
        """
        W = getattr(self, "W", None)
        if not self.formula or not isinstance(W, Fixed):
            return None
        W, A = np.asarray(W.value, np.float64), np.asarray(A, np.float64)
        if W.shape != A.shape:
            return False
        sizes = np.linalg.norm(W, axis=0) * np.linalg.norm(A, axis=0)  # errors grow with them
        if self.formula == "dual":
            off = np.abs(np.sum(W * A, axis=0) - 1)
        else:
            off = np.max(np.abs(A @ (W.T @ A) - A), axis=0) / np.abs(A).max()
        return bool(np.all(off <= 0.01 + 1e-5 * sizes))

    def init(self, params: Params, *, key: Key | None = None) -> UnrolledState:
        name = type(self).__name__
        params = self._vector(tree.real(params, name))
        if self.needs_matrix and len(params) != self.n:  # pyright: ignore[reportAttributeAccessIssue]
            raise ValueError(
                f"{name} is for {self.n} unknowns, got a problem of {len(params)}; make another "  # pyright: ignore[reportAttributeAccessIssue]
                "network by from_dictionary(A)."
            )
        memory = self.start(params.astype(self.dtype(params)))
        return UnrolledState(jnp.zeros((), jnp.int32), memory, FISTA(restart=True).init(params))

    def update(
        self,
        grads: Updates,
        state: UnrolledState,
        params: Params,
        *,
        problem: Problem | None = None,
        opening: bool | None = None,
        row: PyTree | None = None,
        **extra,
    ) -> tuple[Updates, UnrolledState]:
        name = type(self).__name__
        loss = composite(name, problem)
        self._check(expect(loss.smooth, LeastSquares, name), self._vector(params))

        # The counter starts as a constant: under `vmap` of whole runs it has no episode axis, so
        # that only one branch is computed, and the rows of a layer are a slice.
        def one_layer() -> tuple[Updates, Memory, FISTAState]:
            dtype = self.dtype(params)
            x = params.astype(dtype)
            at = lambda leaf: leaf[state.step]
            own = jtu.tree_map(at, self.stacked) if row is None else row
            network, wide = floats(self._with(own), dtype), floats(loss, dtype)
            after, memory = network.layer(state.step, x, state.memory, wide)
            return (after - x).astype(params.dtype), memory, state.after

        def handed_over() -> tuple[Updates, Memory, FISTAState]:
            fista = FISTA(restart=True)
            move, after = fista.update(grads, state.after, params, problem=problem)
            return move, state.memory, after

        if opening is None:
            found = jax.lax.cond(state.step < self.layers, one_layer, handed_over)
        else:  # known beforehand: back-propagation keeps the matrices of both branches
            found = one_layer() if opening else handed_over()
        move, memory, after = found
        return move, UnrolledState(state.step + 1, memory, after)

    @property
    def opening(self) -> int:
        """Number of steps that are layers, see `unroll`."""
        return self.layers

    @property
    def stacked(self) -> dict[str, PyTree]:
        """The arrays of `per_layer` by name, with a row for every layer, see `unroll`."""

        def whole(leaf: Array) -> Array:
            lacking = jnp.zeros((self.layers - len(leaf), *leaf.shape[1:]), leaf.dtype)
            return jnp.concatenate([lacking, leaf]) if len(lacking) else leaf

        return {name: jtu.tree_map(whole, getattr(self, name)) for name in self.per_layer}

    def _with(self, row: dict[str, PyTree]) -> Self:
        """The network with the rows of a layer in place of the arrays that are stacked."""
        names = [name for name in row if row[name] is not None]
        where = lambda net: [getattr(net, name) for name in names]
        return eqx.tree_at(where, self, [row[name] for name in names]) if names else self

    def dtype(self, params: Params) -> jnp.dtype:
        """The dtype of the layers: that of θ, or wider if the parameters are."""
        return tree.working_dtype((split_meta(self)[0], params))

    def first_layer(self) -> PyTree:
        """The layer, 1 … layers, in which each number of θ appears first.

        Like θ (see `split_meta`), with arrays of whole numbers that broadcast against its own.
        """

        def first(path: tuple, leaf: Array) -> Int[Array, "..."]:
            if path[0].name not in self.per_layer:
                return jnp.ones((1,) * leaf.ndim, jnp.int32)
            rows = jnp.arange(self.layers - len(leaf), self.layers, dtype=jnp.int32) + 1
            return rows.reshape(-1, *(1,) * (leaf.ndim - 1))

        return jtu.tree_map_with_path(first, split_meta(self)[0])

    def _vector(self, params: Params) -> Float[Array, " n"]:
        """The parameters, if they are one vector."""
        if getattr(params, "ndim", None) != 1:
            shapes = jtu.tree_map(jnp.shape, params)
            raise ValueError(
                f"{type(self).__name__} solves for one vector x of shape (n,), got parameters of "
                f"shape {shapes!s:.60}; give a task whose parameters are such an array."
            )
        return params

    def _check(self, squares: LeastSquares, x: Float[Array, " n"]) -> None:
        """Refuse a problem of another shape than the network is for."""
        name, A = type(self).__name__, squares.A.shape
        if self.needs_matrix:
            own = (self.rows, self.n)  # pyright: ignore[reportAttributeAccessIssue]
            if own != A:
                raise ValueError(
                    f"{name} is for A of shape {own}, got a problem with A of shape {A}; make "
                    "another network by from_dictionary(A)."
                )
        if (*squares.b.shape, *x.shape) != A:
            raise ValueError(
                f"{name}: A of shape {A} needs b of shape {A[:1]} and x of shape {A[1:]}, got "
                f"{squares.b.shape} and {x.shape}; give measurements of that length."
            )


def warn_of_matrix(opt: object, task: AbstractTask) -> None:
    """Warn where a network, in a wrapper or not, was made for another A than a task has."""
    while not isinstance(opt, AbstractUnrolled):
        if (opt := getattr(opt, "base", None)) is None:
            return
    name = type(opt).__name__
    try:
        A = matrix_of(task, name, jr.key(0)) if opt.formula else None
    except (TypeError, ValueError):  # no such problem: refused where it is to be solved
        return
    if A is not None and opt.fits(A) is False:
        warnings.warn(
            f"This {name} was made for another matrix A than that of {type(task).__name__}: "
            f"expect little of it. Make one by {name}.from_task(task), and train it.",
            stacklevel=3,
        )


def check_sizes(
    owner: str, layers: int, *, rows: int = 1, n: int = 1, each: Literal["", "rows·n", "n·n"] = ""
) -> None:
    """Refuse sizes that are no network's, before anything is allocated.

    - `each`: numbers of the matrix that every layer has for itself, if it has one
    """
    at_least(1, owner, rows=rows, n=n, layers=layers)
    for name, size, most in (
        ("rows", rows, MOST_UNKNOWNS),
        ("n", n, MOST_UNKNOWNS),
        ("layers", layers, MOST_LAYERS),
    ):
        whole(f"{owner}: {name}", size, least=1, most=most)
    own = {"": 0, "rows·n": layers * rows * n, "n·n": layers * n * n}[each]
    if (count := max(rows * n, own)) > LARGEST:
        raise ValueError(
            f"{owner}: {layers} layers for A of shape ({rows}, {n}) need matrices of {count} "
            f"numbers, at most {LARGEST} are possible; give fewer layers, or a network without "
            "matrices of its own, such as ALISTA."
        )


def least_squares(loss: Composite) -> LeastSquares:
    """The smooth part of the loss that a layer is given."""
    return expect(loss.smooth, LeastSquares, "An unrolled network")


def residual(loss: Composite, x: Float[Array, " n"]) -> Float[Array, " rows"]:
    """b − A x"""
    squares = least_squares(loss)
    return squares.b - squares.forward(x)


def floats(x: PyTree, dtype: jnp.dtype) -> PyTree:
    """A tree with its arrays of floats in one dtype, all else as it is."""
    to = lambda leaf: leaf.astype(dtype) if eqx.is_inexact_array(leaf) else leaf
    return jtu.tree_map(to, x)


def number(x: ArrayLike) -> Array:
    """An array in the default dtype of floats."""
    return jnp.asarray(x, jnp.result_type(float))


def matrix_of(task: AbstractTask, asker: str, key: Key) -> np.ndarray:
    """A of a problem of a task whose loss is least squares + regularizer; or a sentence."""
    problem = draw(task, task.sample(key), key, split="train")
    return np.asarray(expect(composite(asker, problem).smooth, LeastSquares, asker).A)


def checked_matrix(A: ArrayLike, owner: str) -> Matrix:
    """A in float64, or a sentence."""
    try:
        if np.asarray(A).dtype.kind in "cOSUmM":
            raise TypeError
        found = np.asarray(A, np.float64)
    except (TypeError, ValueError):  # of lists of unequal lengths, too
        said = " ".join(repr(A)[:60].split())
        raise ValueError(f"{owner}: A must be a matrix of real numbers, got {said}.") from None
    if found.ndim != 2 or 0 in found.shape:
        raise ValueError(f"{owner}: A must be a matrix (rows, n), got the shape {found.shape}.")
    if not np.isfinite(found).all():
        raise ValueError(f"{owner}: A has entries that are not finite; clean the data.")
    limits, largest = np.finfo(jnp.result_type(float)), np.abs(found).max()
    lengths = np.linalg.norm(found / (largest or 1), axis=0)
    if not (shortest := lengths.min()) > limits.eps * lengths.max():
        size = "zero" if shortest == 0 else "shorter than what the others are rounded by"
        raise ValueError(
            f"{owner}: column {int(np.argmin(lengths))} of A is {size}, so that nothing is "
            "measured of that unknown; leave it out."
        )
    if not float(limits.tiny) ** 0.5 < largest < float(limits.max) ** 0.5 / found.size:
        raise ValueError(
            f"{owner}: entries of A are up to {largest:.3g}, whose squares are out of the range of "
            f"{limits.dtype}; divide A and b by the length of a column."
        )
    return found


def larger_square(A: Matrix) -> float:
    """L̃ = 1.001 ‖A‖², which is above the constant of the gradient of ½‖Ax − b‖²."""
    return LARGER * float(np.linalg.norm(A, 2)) ** 2
