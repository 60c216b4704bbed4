"""Antithetic perturbations of θ: what evolution strategies share.

    g = δ (L(θ + ε) − L(θ − ε)) / 2σ²,   ε ~ N(0, σ²I)

δ is ε itself (ES) or the sum of all ε since the episode began (PES). Both runs of a pair draw the
same numbers, so that their losses differ by ε alone.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jax.core import Tracer
from jaxtyping import Array, Float, Int, PyTree

from ..core import tree
from ..core.episode import unroll
from ..core.objective import AbstractObjective, Score
from ..core.optimizer import AbstractOptimizer, join_meta, split_meta
from ..core.task import AbstractTask
from ..core.types import Key, Scalar
from .windows import Window

SIGNS = (1.0, -1.0)


def normal_like(theta: PyTree, sigma: Scalar, key: Key) -> PyTree:
    """ε ~ N(0, σ²I) in the structure, shapes and dtypes of θ."""
    leaves, structure = jtu.tree_flatten(theta)
    keys = jr.split(key, max(len(leaves), 1))
    noise = [
        sigma.astype(leaf.dtype) * jr.normal(k, leaf.shape, leaf.dtype)
        for leaf, k in zip(leaves, keys, strict=False)
    ]
    return jtu.tree_unflatten(structure, noise)


def moved(opt: AbstractOptimizer, eps: PyTree, sign: Scalar) -> AbstractOptimizer:
    """The optimizer at θ + sign · ε."""
    theta, rest = split_meta(opt)
    step = jtu.tree_map(lambda t, e: t + sign.astype(t.dtype) * e, theta, eps)
    return join_meta(step, rest)


def both(f: Callable[[Scalar, PyTree], PyTree], xs: PyTree) -> PyTree:
    """f(±1, x±), one after the other: two θ side by side would be products of batched weights."""
    return jax.lax.map(lambda pair: f(*pair), (jnp.array(SIGNS), xs))


def played(
    task: AbstractTask,
    opt: AbstractOptimizer,
    window: Window,
    objective: AbstractObjective,
    length: int,
    key: Key,
) -> tuple[Score, Window]:
    """The score of the next `length` steps, and the window after them."""
    observe = lambda step: objective.observe(step, window.memo)
    episode, obs = unroll(task, opt, window.episode, length, observe)
    score = objective(task, episode, obs, window.memo, key=key)
    return score, Window(episode, score.memo, window.left - length)


def slope(delta: PyTree, losses: Float[Array, "2"], sigma: Scalar) -> PyTree:
    """δ (L⁺ − L⁻) / 2σ²"""
    return tree.scale((losses[0] - losses[1]) / (2 * sigma.astype(losses.dtype) ** 2), delta)


def check(kind: str, *, sigma: float | Scalar, **sizes: int | Int[Array, ""]) -> None:
    """Refuse sizes below 1 and a sigma that is not positive."""
    for name, number in sizes.items():
        if not isinstance(number, Tracer) and not number >= 1:
            raise ValueError(f"{kind}: {name} must be at least 1, got {number}.")
    if not isinstance(sigma, Tracer) and not sigma > 0:
        raise ValueError(f"{kind}: sigma must be positive, got {sigma}.")
