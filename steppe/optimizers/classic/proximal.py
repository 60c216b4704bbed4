"""Proximal gradient methods for smooth + regularizer: ISTA and FISTA.

    ISTA     x ← prox(x − s ∇f(x), s)
    FISTA    x⁺ = prox(y − s ∇f(y), s),   t⁺ = (1 + √(1 + 4t²))/2,   y ← x⁺ + (t − 1)/t⁺ (x⁺ − x)

with s = step / L and L the Lipschitz constant that the loss tells. Both ask the loss for a
`Composite` and take the gradient of its smooth part themselves; the gradient of the sum that is
handed to `update` is not used.

Beck & Teboulle, "A fast iterative shrinkage-thresholding algorithm for linear inverse problems",
SIAM J. Imaging Sciences 2009. Restart: t ← 1 and y ← x⁺ where ⟨y − x⁺, x⁺ − x⟩ > 0, O'Donoghue &
Candès, "Adaptive restart for accelerated gradient schemes", Foundations of Comp. Math. 2015.

`rate="frobenius"` takes ‖A‖_F² of a least-squares problem in place of L: the baselines of the
published Open-L2O figures do, which makes them slower by the number of unknowns over L.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float

from ...core import tree
from ...core.arguments import real
from ...core.loss import Composite, LeastSquares, expect
from ...core.measure import check_positive
from ...core.optimizer import AbstractOptimizer
from ...core.regularizer import steps_like
from ...core.task import Problem
from ...core.types import Key, Params, Scalar, Updates

Rate = Literal["lipschitz", "frobenius"]
MARGIN = 0.9999  # of 1/L, which learned steps are multiples of (Liu et al. 2023)
UNIT = "It is in units of 1/L."
NO_PROBLEM = (
    "{} needs the problem that it solves, but update was given none. Run it in `unroll`, or give "
    "update(…, problem=Problem(task, instance, batch, key))."
)


class ISTA(AbstractOptimizer):
    """Proximal gradient descent: the objective never rises for step ≤ 1, nor f for step < 2.

    - `step`: in units of 1/L, positive; it is θ
    - `rate`: "lipschitz", or "frobenius" as published
    """

    step: Float[Array, ""]
    rate: Rate = eqx.field(static=True)

    def __init__(self, step: float | Scalar = 1.0, rate: Rate = "lipschitz"):
        self.step, self.rate = positive("ISTA", "step", step, UNIT), rate

    def __check_init__(self):
        check("ISTA", self.rate)

    def init(self, params: Params, *, key: Key | None = None) -> tuple[()]:
        tree.real(params, "ISTA")
        return ()

    def update(
        self,
        grads: Updates,
        state: tuple[()],
        params: Params,
        *,
        problem: Problem | None = None,
        **extra,
    ) -> tuple[Updates, tuple[()]]:
        loss = composite("ISTA", problem)
        after = proximal_step(loss, params, self.step / constant(loss, self, "ISTA"))
        return difference(after, params), ()


class FISTAState(eqx.Module):
    y: Params  # where the next gradient is taken, less x
    t: Scalar


class FISTA(AbstractOptimizer):
    """Accelerated proximal gradient descent; see `ISTA` for `step` and `rate`.

    - `restart`: forget the momentum where it leads uphill
    """

    step: Float[Array, ""]
    rate: Rate = eqx.field(static=True)
    restart: bool = eqx.field(static=True)

    def __init__(self, step: float | Scalar = 1.0, rate: Rate = "lipschitz", restart: bool = False):
        self.step, self.rate = positive("FISTA", "step", step, UNIT), rate
        self.restart = restart

    def __check_init__(self):
        check("FISTA", self.rate)

    def init(self, params: Params, *, key: Key | None = None) -> FISTAState:
        params = tree.real(params, "FISTA")
        ahead = jtu.tree_map(jnp.zeros_like, params)
        return FISTAState(ahead, jnp.ones((), tree.working_dtype(params)))

    def update(
        self,
        grads: Updates,
        state: FISTAState,
        params: Params,
        *,
        problem: Problem | None = None,
        **extra,
    ) -> tuple[Updates, FISTAState]:
        loss = composite("FISTA", problem)
        y = tree.add(params, state.y)
        after = proximal_step(loss, y, self.step / constant(loss, self, "FISTA"))
        move = difference(after, params)
        t = (1 + jnp.sqrt(1 + 4 * state.t**2)) / 2
        ahead = jtu.tree_map(lambda m: ((state.t - 1) / t).astype(m.dtype) * m, move)
        if self.restart:
            uphill = tree.dot(difference(y, after), move) > 0
            t = jnp.where(uphill, jnp.ones_like(t), t)
            ahead = jtu.tree_map(lambda a: jnp.where(uphill, jnp.zeros_like(a), a), ahead)
        return move, FISTAState(ahead, t)


def proximal_step(loss: Composite, x: Params, step: float | Scalar | Params) -> Params:
    """prox(x − step ∇f(x), step).

    - `step`: a number, or a tree like x if the regularizer is separable
    """
    gradient = jax.grad(loss.smooth)(x)
    step = jtu.tree_map(lambda leaf, s: jnp.asarray(s, leaf.dtype), x, steps_like(x, step))
    ahead = jtu.tree_map(lambda leaf, g, s: leaf - s * g, x, gradient, step)
    return loss.regularizer.prox(ahead, step)


def composite(asker: str, problem: Problem | None) -> Composite:
    """The loss of a problem as smooth + regularizer, or a sentence."""
    if problem is None:
        raise ValueError(NO_PROBLEM.format(asker))
    return expect(problem.loss(), Composite, asker)


def least_squares(asker: str, problem: Problem | None) -> LeastSquares:
    """½‖Ax − b‖² of a problem, alone or under a regularizer, or a sentence."""
    if problem is None:
        raise ValueError(NO_PROBLEM.format(asker))
    loss = problem.loss()
    return expect(loss.smooth if isinstance(loss, Composite) else loss, LeastSquares, asker)


def constant(loss: Composite, opt: ISTA | FISTA, asker: str) -> Scalar:
    """L, or ‖A‖_F² of least squares, in the dtype of the step."""
    if opt.rate == "lipschitz":
        return jnp.asarray(loss.lipschitz, opt.step.dtype)
    smooth = expect(loss.smooth, LeastSquares, f"{asker} with rate='frobenius'")
    return jnp.sum(smooth.A**2).astype(opt.step.dtype)


def positive(owner: str, name: str, value: float | Scalar, remedy: str) -> Scalar:
    """A number of an optimizer as an array without dimensions, or a sentence."""
    known = isinstance(value, float) or hasattr(value, "dtype")
    value = jnp.asarray(value if known else real(f"{owner}: {name}", value), jnp.result_type(float))
    if value.ndim:
        raise ValueError(f"{owner}: {name} must be one number, got the shape {value.shape}.")
    check_positive(owner, name, value, remedy)
    return value


def check(owner: str, rate: str) -> None:
    if rate not in ("lipschitz", "frobenius"):
        raise ValueError(f"{owner}: rate is {rate!r}, expected 'lipschitz' or 'frobenius'.")


def difference(x: Params, y: Params) -> Updates:
    return jtu.tree_map(jnp.subtract, x, y)


def momentum(count: int) -> Float[np.ndarray, " count"]:
    """(t − 1)/t⁺ of FISTA's steps: 0, 0.28, 0.43, …"""
    t = [1.0]
    for _ in range(count):
        t.append((1 + np.sqrt(1 + 4 * t[-1] ** 2)) / 2)
    return (np.array(t[:-1]) - 1) / np.array(t[1:])


def unless_it_rises(
    loss: Composite, x: Params, move: Updates, memory: Params
) -> tuple[Updates, Params]:
    """A step and what is remembered of it; nothing of both where it would raise the objective."""
    falls = loss(tree.apply_updates(x, move)) <= loss(x)
    return tree.select(falls, (move, memory), jtu.tree_map(jnp.zeros_like, (move, memory)))


def check_separable(asker: str, loss: Composite) -> None:
    """Refuse a regularizer without a proximal map for steps that differ between coordinates."""
    if not loss.regularizer.separable:
        raise ValueError(
            f"{asker} chooses a step for each coordinate, and {type(loss.regularizer).__name__} "
            "has a proximal map for equal steps alone: take a regularizer that is a sum over "
            "coordinates, such as L1, or MathL2O(use=('a',))."
        )
