"""A family of one's own: what is drawn for a problem, a smooth function of it, and a regularizer.

    family = Family(
        data=lambda key: A @ sparse(key),              what differs between problems
        smooth=lambda b: LeastSquares(A, b),           a loss that tells its parts, or any function
        regularizer=L1(0.1),
    )

Whatever asks for a `Composite` solves it: ISTA, FISTA, Math-L2O, `optimum`, `steppe.learn_solver`.

A constant L of the gradient that is not given is that of `LeastSquares` or `Logistic`. Of any other
function it is the largest curvature at four points around the start, by power iteration, and 10 %
on top: an estimate, for a function that does not bend more elsewhere.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array

from ...core import tree
from ...core.arguments import told
from ...core.loss import AbstractLoss, Composite, LeastSquares, Logistic, as_loss
from ...core.measure import check_positive
from ...core.regularizer import AbstractRegularizer, Zero
from ...core.task import AbstractFormula
from ...core.types import Key, Params, Scalar

POINTS, ROUNDS, MARGIN = 4, 30, 1.1  # of the estimate of L
Data = Any  # a tree of arrays
Smooth = Callable[[Params], Scalar]


class Function(eqx.Module):
    """A function as a value without arrays of its own."""

    f: Callable = eqx.field(static=True)

    def __call__(self, *given: Any) -> Any:
        return self.f(*given)


class Drawn(eqx.Module):
    """One problem: its data, and L."""

    data: Data
    lipschitz: Scalar


class Family(AbstractFormula):
    """smooth(data)(x) + regularizer(x), for data that differ from one problem to the next.

    - `data`: key → arrays of one problem; `()` if nothing varies
    - `smooth`: data → function of the parameters, with a gradient, convex
    - `regularizer`: one of `core.regularizer`, or data → one; None: there is none
    - `start`: parameters to start from; None: zeros, for a smooth part that tells their number
    - `lipschitz`: L > 0 of the gradient of the smooth part, or data → L; None: see above
    - `truth`: data → parameters that they were made from, for supervised training; None: unknown

    Raises ValueError or TypeError for parts that do not fit together, tried on one problem.
    """

    data: Callable[[Key], Data]
    smooth: Callable[[Data], Smooth]
    regularizer: AbstractRegularizer | Callable[[Data], AbstractRegularizer]
    start: Params | None
    lipschitz: float | Array | Callable[[Data], Scalar] | None
    truth: Callable[[Data], Params] | None

    def __init__(
        self,
        data: Callable[[Key], Data],
        smooth: Callable[[Data], Smooth],
        regularizer: AbstractRegularizer | Callable[[Data], AbstractRegularizer] | None = None,
        start: Params | None = None,
        lipschitz: float | Array | Callable[[Data], Scalar] | None = None,
        truth: Callable[[Data], Params] | None = None,
    ):
        for name, given in {"data": data, "smooth": smooth, "truth": truth}.items():
            if not callable(given) and (name != "truth" or given is not None):
                raise TypeError(
                    f"Family: {name} must be a function, got {type(given).__name__}; write lambda "
                    f"{'key' if name == 'data' else 'data'}: …"
                )
        self.data, self.smooth, self.truth = _value(data), _value(smooth), _value(truth)
        self.regularizer = Zero() if regularizer is None else _value(regularizer)
        self.lipschitz = _value(lipschitz)
        self.start = None if start is None else tree.real(start, "Family", "start")
        self._try()

    def _try(self) -> None:
        """Draw one problem, and refuse parts that do not fit in a sentence."""
        key = jr.key(0)
        data = self.data(key)
        odd = [leaf for leaf in jtu.tree_leaves(data) if not eqx.is_array_like(leaf)]
        if odd:
            raise TypeError(f"Family: data has {told(odd[0])}, expected arrays and numbers.")
        x, regularizer = self._start(data), self._regularizer(data)
        if not isinstance(regularizer, AbstractRegularizer):
            raise TypeError(
                f"Family: the regularizer must be one of steppe.core.regularizer, such as L1(0.1), "
                f"or a function of the data that gives one, got {type(regularizer).__name__}."
            )
        f = self._smooth(data)
        shape = eqx.filter_eval_shape(f, x)
        if getattr(shape, "shape", None) != () or not jnp.issubdtype(shape.dtype, jnp.floating):
            raise ValueError(
                f"Family: the smooth part gives {told(shape)}, expected one number; sum over it."
            )
        value, slope = jax.value_and_grad(f)(x)
        if not tree.finite((value, slope, regularizer(x))):
            raise ValueError(
                f"Family: at the start the smooth part is {value}, the regularizer "
                f"{regularizer(x)}, and one of them or the gradient is not finite; look at the "
                "data, or give another start=."
            )
        if self.truth is not None:
            shapes = [jtu.tree_map(jnp.shape, part) for part in (self.truth(data), x)]
            if shapes[0] != shapes[1]:
                raise ValueError(
                    f"Family: truth is {told(shapes[0])}, expected the shape of the start, "
                    f"{told(shapes[1])}."
                )
        L = self._lipschitz(data, key)
        if jnp.ndim(L):
            raise ValueError(f"Family: lipschitz must be one number, got the shape {jnp.shape(L)}.")
        remedy = "It is the largest curvature of the smooth part; give lipschitz=."
        check_positive("Family", "lipschitz", L, remedy)

    def sample(self, key: Key) -> Drawn:
        key_data, key_L = jr.split(key)
        data = jtu.tree_map(jnp.asarray, self.data(key_data))
        L = jnp.asarray(self._lipschitz(data, key_L))
        return Drawn(data, L.astype(tree.working_dtype(self._start(data))))

    def init(self, instance: Drawn, key: Key) -> Params:
        return self._start(instance.data)

    def loss(self, instance: Drawn, batch: tuple[()], key: Key) -> Composite:
        data = instance.data
        truth = None if self.truth is None else self.truth(data)
        return Composite(self._smooth(data), self._regularizer(data), instance.lipschitz, truth)

    def target(self, instance: Drawn) -> None:
        return None

    def metrics(
        self, params: Params, instance: Drawn, batch: tuple[()], key: Key
    ) -> dict[str, Scalar]:
        return {}

    def _smooth(self, data: Data) -> AbstractLoss:
        return as_loss(self.smooth(data))

    def _regularizer(self, data: Data) -> AbstractRegularizer:
        r = self.regularizer
        return r(data) if isinstance(r, Function) else r  # pyright: ignore[reportReturnType]

    def _start(self, data: Data) -> Params:
        if self.start is not None:
            return self.start
        f = self._smooth(data)
        if not isinstance(f, LeastSquares | Logistic):
            raise ValueError(
                "Family: the smooth part does not tell how many unknowns there are; give start=, "
                "such as jnp.zeros(n)."
            )
        return jnp.zeros(f.A.shape[1], jnp.asarray(f.A).dtype)

    def _lipschitz(self, data: Data, key: Key) -> float | Scalar:
        if self.lipschitz is not None:
            return self.lipschitz(data) if callable(self.lipschitz) else self.lipschitz
        f = self._smooth(data)
        if isinstance(f, LeastSquares | Logistic):
            return f.lipschitz()
        return MARGIN * curvature(f, self._start(data), key)


def curvature(f: Smooth, start: Params, key: Key) -> Scalar:
    """The largest of the curvatures of f at points around the start, by power iteration."""

    def at(key: Key) -> Scalar:
        key_x, key_v = jr.split(key)
        x = jtu.tree_map(jnp.add, start, normal(key_x))

        def step(_, v: Params) -> Params:
            Hv = jax.jvp(jax.grad(f), (x,), (unit(v),))[1]
            return Hv

        return tree.norm(jax.lax.fori_loop(0, ROUNDS, step, normal(key_v)))

    def unit(v: Params) -> Params:
        size = tree.norm(v)
        return jtu.tree_map(lambda leaf: leaf / jnp.where(size > 0, size, 1).astype(leaf.dtype), v)

    def normal(key: Key) -> Params:
        dtype = tree.working_dtype(start)
        return tree.unravel_like(start)(jr.normal(key, (tree.size(start),), dtype))

    return jnp.max(jax.vmap(at)(jr.split(key, POINTS)))


def _value(given: Any) -> Any:
    """Functions as values that a compiled program may be cached by, all else as it is."""
    return Function(given) if callable(given) and not isinstance(given, eqx.Module) else given
