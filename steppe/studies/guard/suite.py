"""Plain problems that optax tries contributed optimizers on, as facts: starts, minima, tolerance.

An optimizer passes where 30 000 steps in float32 lead every coordinate to within 3e-2 of the
minimum, absolute and relative. They are those of `optax/contrib/_common_test.py`, version 0.2.8.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array

from ...core import tree
from ...core.optimizer import AbstractOptimizer
from ...core.types import Params, Scalar
from ...interop.optax import to_optax

STEPS, TOLERANCE = 30_000, 3e-2


class Plain(NamedTuple):
    """A problem with one minimum."""

    start: Params
    minimum: Params
    loss: Callable[[Params], Scalar]


def square(minimum: Params, start: Params | None = None) -> Plain:
    """Squared distance to the minimum; by default from 0."""

    def loss(params: Params) -> Scalar:
        parts = jtu.tree_map(lambda p, m: jnp.sum((p - m.astype(p.dtype)) ** 2), params, minimum)
        return jnp.sum(jnp.stack(jtu.tree_leaves(parts)))

    zeros = jtu.tree_map(jnp.zeros_like, minimum)
    return Plain(zeros if start is None else start, minimum, loss)


def rosenbrock(params: Array) -> Scalar:
    x, y = params
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


@functools.cache
def problems() -> dict[str, Plain]:
    """The four, by name, in float32."""
    array = lambda *rows: jnp.asarray(rows, jnp.float32)
    return {
        "parabola": square(array(1, -1, 1), array(-1, 10, 1)),
        "matrix parabola": square(array([3, -2], [1, 4])),
        "rosenbrock": Plain(array(0, 0), array(1, 1), rosenbrock),
        "mixed tensors": square((array(1, -1, 2), array([1, 0], [-1, 1]))),
    }


@eqx.filter_jit
def miss(
    opt: AbstractOptimizer, problem: Plain, guard: bool, steps: int = STEPS
) -> tuple[Scalar, Array]:
    """Largest distance to the minimum after `steps`, in tolerances, and dismissals by the guard."""
    tx = to_optax(opt, guard=guard)

    def step(carry: tuple[Params, Any], _: None) -> tuple[tuple[Params, Any], None]:
        params, state = carry
        updates, state = tx.update(jax.grad(problem.loss)(params), state, params)
        return (tree.apply_updates(params, updates), state), None

    start: tuple[Params, Any] = (problem.start, tx.init(problem.start))
    (params, state), _ = jax.lax.scan(step, start, length=steps)
    away = jtu.tree_map(
        lambda p, m: jnp.max(jnp.abs(p - m) / (TOLERANCE * (1 + jnp.abs(m)))),
        params,
        problem.minimum,
    )
    dismissals = state.opt_state.dismissals if guard else jnp.zeros((), jnp.int32)
    return jnp.max(jnp.stack(jtu.tree_leaves(away))), dismissals
