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

import math
from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import optax
from jax.core import Tracer
from jaxtyping import Array, Int

from ..core import tree
from ..core.messages import brief
from ..core.optimizer import AbstractOptimizer
from ..core.types import Key, OptState, Params, Scalar, Updates
from ..optimizers.classic.from_optax import FromOptax, adam
from ..optimizers.watchdog import Watchdog

ADAM_RATE = 1e-3  # of the fallback, where none is given: optax's and everybody's first choice

Fallback = AbstractOptimizer | optax.GradientTransformation | Literal["adam"]


class OptaxState(eqx.Module):
    """State of a learned optimizer as optax carries it from step to step."""

    opt_state: OptState
    key: Key | None  # None if `to_optax` was given no key
    count: Int[Array, ""] | None = None  # of updates, where a guarded optimizer has a schedule


def to_optax(
    opt: AbstractOptimizer,
    *,
    key: Key | None = None,
    lr: float | Scalar | optax.Schedule = 1.0,
    guard: Fallback | bool | None = None,
) -> optax.GradientTransformationExtraArgs:
    """The optimizer as an optax transformation.

    `lr` ≥ 0 multiplies the updates: a number, an array of one, or a schedule, that is a function
    of the number of updates made. `key` is for rules that draw random numbers: a part goes to
    `init`, a fresh one to every update.

    `guard` is a second rule, which takes over where `opt` makes no progress or makes things worse
    (see `Watchdog`): True or "adam" for Adam at 1e-3, a steppe optimizer, or an optax
    transformation. It needs the parameters, in `update(grads, state, params)`, and four floats a
    parameter with Adam. `lr` multiplies the updates of both rules.

    Parameters are any tree of floating-point arrays and Python floats. Updates have their dtypes,
    whatever those of the gradients. Complex parameters are refused; optax has
    `optax.contrib.split_real_and_imaginary(to_optax(opt))` for them.

    Keywords of `update` are handed on, and every rule ignores those it does not need; those it
    may need are `value` (the loss at `params`) and `problem`. Rules that look at gradients alone,
    such as DM and RNNProp, do without `params`.

    ValueError: for an `lr` or a `guard` that is none, for parameters or gradients that are not
    real numbers, and for gradients in another structure or other shapes than the parameters.
    """
    if not isinstance(opt, AbstractOptimizer):
        raise ValueError(
            f"to_optax: opt is a {type(opt).__name__}, expected a steppe optimizer, such as "
            'steppe.load("rnnprop-v1").'
        )
    guarded = guard is not None and guard is not False
    if guarded:
        opt = Watchdog(opt, _fallback(guard))
    if callable(lr):
        _check_lr("lr(0)", lr(jnp.zeros((), jnp.int32)))
        if not guarded:
            return optax.chain(to_optax(opt, key=key), optax.scale_by_schedule(lr))
    else:
        _check_lr("lr", lr)

    def init(params: Params) -> OptState:
        params = tree.real(params, "to_optax")
        count = jnp.zeros((), jnp.int32) if callable(lr) else None
        if key is None:
            return OptaxState(tree.strongly_typed(opt.init(params)), None, count)
        key_init, key_run = jr.split(key)
        return OptaxState(tree.strongly_typed(opt.init(params, key=key_init)), key_run, count)

    def update(
        updates: Updates, state: OptState, params: Params | None = None, **extra
    ) -> tuple[Updates, OptState]:
        key_run = state.key
        if key_run is not None:
            key_run, key_now = jr.split(key_run)
            extra = {"key": key_now, **extra}
        updates = tree.real(updates, "to_optax", "grads")
        if params is not None:
            params = tree.real(params, "to_optax")
            _check_alike(updates, params)
        factor = lr(state.count) if callable(lr) else lr
        if guarded:  # the way back of a watchdog is not to be scaled
            extra = {**extra, "lr": factor}
        try:
            updates, opt_state = opt.update(updates, state.opt_state, params, **extra)
        except (AttributeError, TypeError, ValueError) as error:
            if params is not None:
                raise
            raise ValueError(
                f"{type(opt).__name__} failed on an update without parameters ({error}). If the "
                "rule reads them, call `update(grads, state, params)`."
            ) from error
        if not (guarded or (isinstance(lr, float) and lr == 1.0)):
            updates = tree.rescale(factor, updates)
        count = None if state.count is None else state.count + 1
        return updates, OptaxState(opt_state, key_run, count)

    return optax.GradientTransformationExtraArgs(init, update)


def _fallback(guard: Any) -> AbstractOptimizer:
    """The second rule of a guard, or a sentence."""
    if isinstance(guard, AbstractOptimizer):
        return guard
    if guard is True or guard == "adam":
        return adam(ADAM_RATE)
    if callable(getattr(guard, "init", None)) and callable(getattr(guard, "update", None)):
        return FromOptax(lambda: guard)
    given = type(guard).__name__ if callable(guard) else brief(guard)
    raise ValueError(
        f"to_optax: guard is {given}, expected True (Adam at {ADAM_RATE}), a steppe optimizer, or "
        "an optax transformation such as optax.adam(1e-3)."
    )


def _check_lr(name: str, lr: Any) -> None:
    """Refuse what is no number ≥ 0. A traced number has no value yet and passes."""
    wanted = "expected a finite number ≥ 0, an array of one, or a schedule (count → number)."
    number = isinstance(lr, int | float) and not isinstance(lr, bool)
    dtype = getattr(lr, "dtype", None)
    array = dtype is not None and (jnp.issubdtype(dtype, jnp.floating) or dtype.kind in "iu")
    if not (number or array) or jnp.shape(lr) != ():
        shape = f" of shape {jnp.shape(lr)}" if array else ""
        given = str(dtype) + shape if dtype is not None else f"{lr!r:.80}"
        raise ValueError(f"to_optax: {name} is {' '.join(given.split())}, {wanted}")
    if not isinstance(lr, Tracer) and not 0 <= float(lr) < math.inf:
        raise ValueError(f"to_optax: {name} is {float(lr)}, {wanted}")


def _check_alike(grads: Updates, params: Params) -> None:
    """Refuse gradients that are not like the parameters."""
    found, expected = jtu.tree_structure(grads), jtu.tree_structure(params)
    if found != expected:
        raise ValueError(
            f"to_optax: grads have the structure {_brief(found)}, params {_brief(expected)}: give "
            "the gradient of a loss of these params, or both through "
            "`eqx.filter(…, eqx.is_inexact_array)`."
        )
    pairs = zip(jtu.tree_leaves_with_path(grads), jtu.tree_leaves(params), strict=True)
    for (path, g), p in pairs:
        if g.shape != p.shape:
            raise ValueError(
                f"to_optax: grads have the shape {g.shape} at {jtu.keystr(path) or 'the root'}, "
                f"params {p.shape}: give the gradient of a loss of these params."
            )


def _brief(structure: Any) -> str:
    return " ".join(f"{structure}".split())[:300]
