"""Methods for games by the resolvent J = (I + αF)⁻¹ of F = (∇ₓf, −∇ᵧf).

    ProximalPoint     z ← J(z)
    Halpern           z ← z₀/(k + 2) + (1 − 1/(k + 2)) J(z),   k = 0, 1, …

α is `lr`, as large as one likes where F is monotone: there J never takes two points further apart,
and solutions are the points that it leaves where they are. After k steps

    ProximalPoint     ‖z − J(z)‖ ≤ ‖z₀ − z*‖ / √(k + 1)
    Halpern           ‖z − J(z)‖ ≤ 2 ‖z₀ − z*‖ / (k + 1)

J(z) solves w + αF(w) = z. Newton's method does so from w = z by dense equations in all coordinates:
exact after one of its steps where F is affine, as on matrix games and quadratic saddles. Such a
step takes F and, for its Jacobian, a derivative of F along each of the n coordinates; the state
counts both as gradients, n + 1 together, though a derivative costs about twice that.

Rockafellar, "Monotone operators and the proximal point algorithm", SIAM J. Control Optim. 1976;
Halpern, "Fixed points of nonexpanding maps", Bull. AMS 1967, with the rate of Lieder, "On the
convergence rate of the Halpern-iteration", Optimization Letters 2021.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int

from ...core import tree
from ...core.loss import Saddle
from ...core.measure import check_count
from ...core.optimizer import AbstractOptimizer
from ...core.task import Problem
from ...core.types import Key, Params, Scalar, Updates
from .games import field, game, operator
from .proximal import positive

ALPHA = "It is α of J = (I + αF)⁻¹."
MOST = 2000  # coordinates, of dense equations


class ProximalState(eqx.Module):
    gradients: Int[Array, ""]  # and derivatives of F, so far


class ProximalPoint(AbstractOptimizer):
    """The resolvent, again and again.

    - `lr`: α, positive; it is θ
    - `iterations`: of Newton's method at each step
    """

    lr: Float[Array, ""]
    iterations: int = eqx.field(static=True)
    extra_gradients = None  # their number is that of the coordinates

    def __init__(self, lr: float | Scalar = 1.0, iterations: int = 1):
        self.lr, self.iterations = positive("ProximalPoint", "lr", lr, ALPHA), iterations

    def __check_init__(self):
        check_count("ProximalPoint", "iterations", self.iterations)

    def counts(self, state: ProximalState) -> dict[str, Int[Array, ""]]:
        """Gradients and derivatives of F so far."""
        return {"gradients": state.gradients}

    def init(self, params: Params, *, key: Key | None = None) -> ProximalState:
        check_size("ProximalPoint", tree.real(params, "ProximalPoint"))
        return ProximalState(jnp.zeros((), jnp.int32))

    def update(
        self,
        grads: Updates,
        state: ProximalState,
        params: Params,
        *,
        problem: Problem | None = None,
        **extra,
    ) -> tuple[Updates, ProximalState]:
        loss, F = game("ProximalPoint", problem), operator(grads, params)
        move = to_resolvent(loss, params, F, self.lr, self.iterations)
        return move, ProximalState(state.gradients + cost(params, self.iterations))


class HalpernState(eqx.Module):
    start: Params  # z₀
    steps: Int[Array, ""]  # k
    gradients: Int[Array, ""]  # and derivatives of F, so far


class Halpern(AbstractOptimizer):
    """The resolvent, drawn back to the start less and less; see `ProximalPoint` for the options."""

    lr: Float[Array, ""]
    iterations: int = eqx.field(static=True)
    extra_gradients = None

    def __init__(self, lr: float | Scalar = 1.0, iterations: int = 1):
        self.lr, self.iterations = positive("Halpern", "lr", lr, ALPHA), iterations

    def __check_init__(self):
        check_count("Halpern", "iterations", self.iterations)

    def counts(self, state: HalpernState) -> dict[str, Int[Array, ""]]:
        """Gradients and derivatives of F so far."""
        return {"gradients": state.gradients}

    def init(self, params: Params, *, key: Key | None = None) -> HalpernState:
        check_size("Halpern", params := tree.real(params, "Halpern"))
        zero = jnp.zeros((), jnp.int32)
        return HalpernState(params, zero, zero)

    def update(
        self,
        grads: Updates,
        state: HalpernState,
        params: Params,
        *,
        problem: Problem | None = None,
        **extra,
    ) -> tuple[Updates, HalpernState]:
        loss, F = game("Halpern", problem), operator(grads, params)
        move = to_resolvent(loss, params, F, self.lr, self.iterations)
        anchor = 1 / (state.steps.astype(self.lr.dtype) + 2)
        back = jtu.tree_map(jnp.subtract, state.start, params)
        step = tree.add(tree.rescale(anchor, back), tree.rescale(1 - anchor, move))
        gradients = state.gradients + cost(params, self.iterations)
        return step, HalpernState(state.start, state.steps + 1, gradients)


def to_resolvent(
    loss: Saddle, z: Params, F: Updates, alpha: float | Scalar, iterations: int = 1
) -> Updates:
    """J(z) − z.

    - `F`: its value at z
    - `iterations`: of Newton's method; one is exact where F is affine
    """
    dtype = tree.working_dtype(z)
    flat, back = tree.ravel(z, dtype)
    if not flat.size:
        return z
    alpha = jnp.asarray(alpha, dtype)
    of = lambda w: tree.ravel(field(loss, back(w)), dtype)[0]
    w, value = flat, tree.ravel(F, dtype)[0]
    for turn in range(iterations):
        value = of(w) if turn else value
        slopes = jnp.eye(flat.size, dtype=dtype) + alpha * jax.jacfwd(of)(w)
        w = w - jnp.linalg.solve(slopes, w - flat + alpha * value)
    return back(w - flat)


def cost(params: Params, iterations: int) -> int:
    """F, and its derivative along every coordinate."""
    return iterations * (1 + tree.size(params))


def check_size(owner: str, params: Params) -> None:
    if (n := tree.size(params)) > MOST:
        raise ValueError(
            f"{owner} solves dense equations in all coordinates, {MOST} at most, got {n}; take "
            "Extragradient or OptimisticGDA."
        )
