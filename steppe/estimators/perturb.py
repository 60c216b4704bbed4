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
from jaxtyping import Array, Float, PyTree

from ..core import tree
from ..core.optimizer import AbstractOptimizer, join_meta, split_meta
from ..core.types import Key, Scalar

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


def perturbed(opt: AbstractOptimizer, eps: PyTree, sign: Scalar) -> AbstractOptimizer:
    """The optimizer at θ + sign · ε."""
    theta, rest = split_meta(opt)
    step = jtu.tree_map(lambda t, e: t + sign.astype(t.dtype) * e, theta, eps)
    return join_meta(step, rest)


def antithetic(f: Callable[[Scalar, PyTree], PyTree], xs: PyTree) -> PyTree:
    """f(+1, x₊) and f(−1, x₋), stacked.

    One after the other: two θ side by side would be products of batched weights.
    """
    return jax.lax.map(lambda pair: f(*pair), (jnp.array(SIGNS), xs))


def es_gradient(delta: PyTree, losses: Float[Array, "2"], sigma: Scalar) -> PyTree:
    """δ (L⁺ − L⁻) / 2σ²"""
    return tree.scale((losses[0] - losses[1]) / (2 * sigma.astype(losses.dtype) ** 2), delta)


def check_sigma(owner: str, sigma: float | Scalar) -> None:
    if not isinstance(sigma, Tracer) and not sigma > 0:
        raise ValueError(f"{owner}: sigma must be positive, got {sigma}.")
