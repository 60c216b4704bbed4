"""From lanes to one meta-gradient: the mean over the finite episodes, and how sure it is."""

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Float, Int, PyTree

from ..core import tree
from ..core.estimator import Stats


class Lane(eqx.Module):
    """What one episode contributes; stacked, the leading axis is episodes."""

    loss: Float[Array, "..."]
    parts: dict[str, Float[Array, "..."]]
    grads: PyTree  # in the structure of θ
    fine: Bool[Array, "..."]  # loss and gradient are finite
    over: Bool[Array, "..."]  # the episode began afresh


def average(lanes: Lane, *, inner_steps: int | Int[Array, ""]) -> tuple[PyTree, Stats]:
    """Mean gradient over the finite episodes, and statistics.

    `inner_steps`: taken by all episodes together. The standard error is that of independent
    episodes; NaN from one episode alone.
    """
    fine = lanes.fine
    episodes = fine.shape[0]
    count = jnp.sum(fine)
    some = count > 0

    def mean(x: Array) -> Array:
        mask = fine.reshape(-1, *[1] * (x.ndim - 1))
        return jnp.sum(jnp.where(mask, x, 0), axis=0) / jnp.maximum(count, 1).astype(x.dtype)

    def scatter(x: Array, m: Array) -> Array:
        mask = fine.reshape(-1, *[1] * (x.ndim - 1))
        return jnp.where(mask, x - m[None], 0)

    grads = jtu.tree_map(mean, lanes.grads)
    off = jtu.tree_map(scatter, lanes.grads, grads)
    squares = tree.dot(off, off)
    pairs = (count * (count - 1)).astype(squares.dtype)
    error = jnp.where(count > 1, jnp.sqrt(squares / jnp.maximum(pairs, 1)), jnp.nan)
    shown = lambda x: jnp.where(some, mean(x), jnp.nan)
    return grads, Stats(
        loss=shown(lanes.loss),
        parts=jtu.tree_map(shown, lanes.parts),
        grad_norm=tree.norm(grads),
        grad_error=error,
        nonfinite=jnp.sum(~fine),
        resets=jnp.sum(lanes.over),
        episodes=jnp.asarray(episodes, jnp.int32),
        inner_steps=jnp.asarray(inner_steps, jnp.int32),
        part=jnp.zeros((), jnp.int32),
    )
