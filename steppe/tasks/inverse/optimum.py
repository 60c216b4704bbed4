"""Minima of smooth + regularizer to the last digits, with a proof where there can be one.

FISTA with restart runs in float64. Where both parts have a known conjugate (`duality`) it stops at
a duality gap f + r − D ≤ tolerance · max(1, |f + r|), with ν = ∇f(Ax) scaled into the domain of r*.
Of other parts only the gradient mapping is known, L (y − prox(y − ∇f(y)/L, 1/L)), which is 0 at
minima alone. It stops where that is small; how far off the value may be is then not proven.
"""

import dataclasses
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Int

from ...core import tree
from ...core.arguments import real, whole
from ...core.loss import Composite
from ...core.messages import LARGEST
from ...core.types import Params, Scalar
from .duality import Regularizer, Sizes, Smooth, Vector, regularizer_part, smooth_part

STRETCH = 1000  # steps between two looks at what has no proof
PATIENCE = 5  # stretches without a smaller gradient mapping
NOISE = 1e-12  # of a value in float64, relative


@dataclasses.dataclass(frozen=True)
class Optimum:
    """A minimum, and how well it is known.

    - `x`: where, in float64, like the parameters; `value`: of smooth + regularizer there
    - `gap`: value − minimum ≤ gap, at least 0; ∞ where nothing is proven
    - `iterations`: taken
    - `residual`: length of the gradient mapping, where nothing is proven
    """

    x: Params
    value: float
    gap: float
    iterations: int
    residual: float | None = None

    @property
    def proven(self) -> bool:
        """True if the gap is a bound."""
        return math.isfinite(self.gap)


def optimum(
    loss: Composite,
    tolerance: float = 1e-13,
    iterations: int = 100_000,
    start: Params | None = None,
) -> Optimum:
    """Minimise smooth + regularizer in float64.

    - `loss`: proven are minima of `LeastSquares` or `Logistic` and `L1`, `ElasticNet`, `GroupL2` or
      a finite `Box`
    - `tolerance`: of the duality gap, relative to the value (absolute where that is below 1); of
      the gradient mapping, relative to that at the start
    - `iterations`: the most; the `Optimum` says what was reached
    - `start`: parameters to begin from, needed where the smooth part does not tell their number

    Raises TypeError for a loss without parts, ValueError for numbers that are not finite.
    """
    if not isinstance(loss, Composite):
        raise TypeError(f"optimum: the loss must be a Composite, got {type(loss).__name__}.")
    if (tolerance := real("optimum: tolerance", tolerance)) < 0:
        raise ValueError(f"optimum: tolerance must be at least 0, got {tolerance}.")
    iterations = whole("optimum: iterations", iterations, least=0, most=LARGEST)
    f, r = smooth_part(loss.smooth), regularizer_part(loss.regularizer)
    if f is not None:
        check_sizes(f, r, start)
    if f is not None and not (np.isfinite(f.A).all() and np.isfinite(f.b).all()):
        raise ValueError("optimum: A and b must be finite; clean the data.")
    if f is not None and r is not None:
        return _with_proof(f, r, tolerance, iterations)
    if start is None and f is None:
        raise ValueError(
            f"optimum: {type(loss.smooth).__name__} does not tell how many unknowns there are; "
            "give start=, parameters to begin from."
        )
    start = np.zeros(f.A.shape[1]) if start is None and f is not None else start
    return _without_proof(loss, start, tolerance, iterations)


def check_sizes(f: Smooth, r: Regularizer | None, start: Params | None) -> None:
    """Refuse parts that are not of one number of unknowns."""
    n = f.A.shape[1]
    if 0 in f.A.shape:
        raise ValueError(f"optimum: A is {f.A.shape}, expected a row and a column at least.")
    if isinstance(r, Sizes) and n % r.group:
        raise ValueError(f"optimum: {n} unknowns are no groups of {r.group}; give another size.")
    if start is not None and np.shape(start) != (n,):
        raise ValueError(f"optimum: start is {np.shape(start)}, expected ({n},) as A has columns.")


def bounded(f: Smooth, r: Regularizer, x: Vector, iterations: int) -> Optimum:
    """The value at x and its gap to the dual value of ν = ∇f(Ax)."""
    z = f.A @ x
    value, nu = f.value(z) + r.value(x), f.slope(z)
    u = -f.A.T @ nu
    scale = min(1.0, r.scale(u))
    dual = -f.conjugate(scale * nu) - r.conjugate(scale * u)
    return Optimum(x, float(value), max(float(value - dual), 0.0), iterations)


def _with_proof(f: Smooth, r: Regularizer, tolerance: float, iterations: int) -> Optimum:
    step = 1 / max(float(np.linalg.norm(f.A, 2)) ** 2 * f.curvature, np.finfo(float).tiny)
    x = y = r.prox(np.zeros(f.A.shape[1]), step)
    best, t = bounded(f, r, x, 0), 1.0
    for k in range(iterations + 1):
        if k % 10 == 0:
            best = min(best, bounded(f, r, x, k), key=lambda found: found.gap)
            if best.gap <= tolerance * max(1.0, abs(best.value)):
                break
        after = r.prox(y - step * f.A.T @ f.slope(f.A @ y), step)
        if (y - after) @ (after - x) > 0:
            t, y = 1.0, after
        else:
            ahead = (1 + np.sqrt(1 + 4 * t * t)) / 2
            y = after + (t - 1) / ahead * (after - x)
            t = ahead
        x = after
    return best


class Point(eqx.Module):
    """A moment of FISTA with restart: x, the point y ahead of it, momentum t, the constant L."""

    x: Params
    y: Params
    t: Scalar
    L: Scalar
    residual: Scalar
    steps: Int[Array, ""]


def _without_proof(loss: Composite, start: Params, tolerance: float, iterations: int) -> Optimum:
    # The user's functions see wider numbers than they were written for.
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        loss = jtu.tree_map(_wide, loss)
        x = jtu.tree_map(_wide, tree.real(start, "optimum", "start"))
        if not (np.all(np.isfinite(loss.lipschitz)) and np.all(np.asarray(loss.lipschitz) > 0)):
            raise ValueError(
                f"optimum: lipschitz must be positive and finite, got {loss.lipschitz}."
            )
        x = loss.regularizer.prox(x, 1 / loss.lipschitz)
        one, zero = jnp.ones((), jnp.float64), jnp.zeros((), jnp.int32)
        now = Point(x, x, one, loss.lipschitz, jnp.inf * one, zero)
        advance = lambda now, small, until: _steps(
            loss, now, jnp.asarray(small, jnp.float64), jnp.asarray(until, jnp.int32)
        )
        now = advance(now, np.finfo(float).max, iterations)  # until a step was taken
        small, best, waited = tolerance * float(now.residual), now, 0
        while int(now.steps) < iterations and waited < PATIENCE and float(now.residual) > small:
            now = advance(now, small, min(iterations, int(now.steps) + STRETCH))
            waited = 0 if float(now.residual) < 0.9 * float(best.residual) else waited + 1
            best = now if float(now.residual) < float(best.residual) else best
        value = float(loss(best.x))
        if not math.isfinite(value):
            raise ValueError(
                f"optimum: the loss is {value} where it was to be minimised; look at its parts, "
                "its lipschitz and `start`."
            )
        found = jtu.tree_map(np.asarray, best.x)
        return Optimum(found, value, math.inf, int(now.steps), float(best.residual))


def _wide(leaf: Any) -> Any:
    return jnp.asarray(leaf, jnp.float64) if eqx.is_inexact_array_like(leaf) else leaf


@eqx.filter_jit
def _steps(loss: Composite, point: Point, small: Scalar, until: Int[Array, ""]) -> Point:
    """Steps until the gradient mapping is small, or their number is `until`."""

    def step(now: Point) -> Point:
        value, slope = jax.value_and_grad(loss.smooth)(now.y)
        ahead = jtu.tree_map(lambda y, g: y - g / now.L, now.y, slope)
        after = loss.regularizer.prox(ahead, 1 / now.L)
        d = jtu.tree_map(jnp.subtract, after, now.y)
        bound = value + tree.dot(slope, d) + now.L / 2 * tree.dot(d, d)
        steep = loss.smooth(after) > bound + NOISE * (1 + jnp.abs(value))  # L was too small
        move = jtu.tree_map(jnp.subtract, after, now.x)
        uphill = tree.dot(d, move) < 0
        t = jnp.where(uphill, 1.0, (1 + jnp.sqrt(1 + 4 * now.t**2)) / 2)
        ratio = jnp.where(uphill, 0.0, (now.t - 1) / t)
        y = jtu.tree_map(lambda a, m: a + ratio * m, after, move)
        taken = Point(after, y, t, now.L, now.L * tree.norm(d), now.steps + 1)
        again = Point(now.x, now.x, jnp.ones(()), 2 * now.L, now.residual, now.steps + 1)
        return tree.select(steep, again, taken)

    going = lambda now: (now.steps < until) & (now.residual > small)
    return jax.lax.while_loop(going, step, point)
