"""Use a steppe optimizer wherever optax goes: `to_optax(opt)`.

    tx = to_optax(steppe.load("rnnprop.safetensors"))
    state = tx.init(params)
    updates, state = tx.update(grads, state, params)       # params may be left out, see below
    params = optax.apply_updates(params, updates)

The view closes over the optimizer. Where its weights change between calls (meta-training,
comparing two checkpoints), make the *optimizer* an argument of the jitted function and the view
inside: new weights then need no new compilation, while a closure would bake them in as constants.

    @jax.jit
    def step(opt, params, state, grads):
        updates, state = to_optax(opt).update(grads, state, params)
        return optax.apply_updates(params, updates), state
"""

import equinox as eqx
import jax.random as jr
import jax.tree_util as jtu
import optax
from jaxtyping import Array

from ..core import tree
from ..core.optimizer import AbstractOptimizer
from ..core.types import Key, OptState, Params, Scalar, Updates


class OptaxState(eqx.Module):
    """State of a learned optimizer as optax carries it from step to step."""

    opt_state: OptState
    key: Key | None  # None if `to_optax` was given no key


def to_optax(
    opt: AbstractOptimizer, *, key: Key | None = None, lr: float | Scalar = 1.0
) -> optax.GradientTransformationExtraArgs:
    """The optimizer as an optax transformation.

    `lr` multiplies the updates; a schedule goes behind, in `optax.chain`. `key` is for rules that
    draw random numbers: a part goes to `init`, a fresh one to every update.

    Keywords of `update` are handed on, and every rule ignores those it does not need; those it
    may need are `value` (the loss at `params`) and `problem`. Rules that look at gradients alone,
    such as DM and RNNProp, do without `params`.
    """

    def init(params: Params) -> OptState:
        if key is None:
            return OptaxState(tree.strongly_typed(opt.init(params)), None)
        key_init, key_run = jr.split(key)
        return OptaxState(tree.strongly_typed(opt.init(params, key=key_init)), key_run)

    def update(
        updates: Updates, state: OptState, params: Params | None = None, **extra
    ) -> tuple[Updates, OptState]:
        key_run = state.key
        if key_run is not None:
            key_run, key_now = jr.split(key_run)
            extra = {"key": key_now, **extra}
        try:
            updates, opt_state = opt.update(updates, state.opt_state, params, **extra)
        except (AttributeError, TypeError, ValueError) as error:
            if params is not None:
                raise
            raise ValueError(
                f"{type(opt).__name__} failed on an update without parameters ({error}). If the "
                "rule reads them, call `update(grads, state, params)`."
            ) from error
        if not (isinstance(lr, float) and lr == 1.0):
            updates = jtu.tree_map(lambda u: _times(lr, u), updates)
        return updates, OptaxState(opt_state, key_run)

    return optax.GradientTransformationExtraArgs(init, update)


def _times(lr: float | Scalar, u: Array) -> Array:
    """lr · u in the dtype of u, whatever that of lr."""
    return (lr * u).astype(u.dtype)
