"""One meta-step: estimate the meta-gradient, move θ. Pure; jit it once.

A mixture whose parts are sampled may have a state of the meta-optimizer for each part
(`separate_states`). Adam divides by the size of past gradients: where an imitation loss is a
thousand times smaller than the objective, one common state would leave nothing of its steps. (The
published code of "Training stronger baselines for learning to optimize" has an Adam for each loss.)
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import optax
from jaxtyping import Array, Int, PyTree

from ..core import tree
from ..core.arguments import KindError, expect_kind, told
from ..core.backend import CHOSEN_BY_BRANCH
from ..core.estimator import AbstractEstimator, Stats
from ..core.messages import at_least
from ..core.objective import AbstractObjective
from ..core.optimizer import AbstractOptimizer, join_meta, split_meta
from ..core.task import AbstractTask
from ..core.types import Key
from ..optimizers.unrolled.base import warn_of_matrix


def separate_states(
    tx: optax.GradientTransformation, parts: int
) -> optax.GradientTransformationExtraArgs:
    """`tx` with `parts` states; `update(…, part=k)` uses and moves the k-th alone."""
    at_least(1, "separate_states", parts=parts)
    inner = optax.with_extra_args_support(tx)

    def init(params: PyTree) -> PyTree:
        return jtu.tree_map(lambda x: jnp.stack([x] * parts), inner.init(params))

    def update(
        updates: PyTree, state: PyTree, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, PyTree]:
        part = extra.pop("part")
        own = jtu.tree_map(lambda x: x[part], state)
        updates, own = inner.update(updates, own, params, **extra)
        return updates, jtu.tree_map(lambda all, one: all.at[part].set(one), state, own)

    return optax.GradientTransformationExtraArgs(init, update)


class TrainState(eqx.Module):
    """Complete state of a meta-training run between two meta-steps."""

    opt: AbstractOptimizer
    meta_state: PyTree  # of the meta-optimizer (an optax transformation)
    est_state: PyTree
    step: Int[Array, ""]
    key: Key


TASK = 'a task, such as steppe.tasks.build("lasso-dm")'
OPTIMIZER = 'an optimizer of steppe, such as steppe.zoo.build("rnnprop", key=…)'
ESTIMATOR = "an estimator, such as steppe.BPTT(…)"
OBJECTIVE = "an objective, such as steppe.Trajectory()"
META_TX = "a transformation of optax, such as optax.adam(1e-3)"


def check_parts(
    owner: str,
    task: AbstractTask,
    opt: AbstractOptimizer,
    estimator: AbstractEstimator,
    objective: AbstractObjective,
    meta_tx: optax.GradientTransformation,
    key: Key,
) -> None:
    """Refuse what is no part of a meta-training, such as the name or the class of one."""
    expect_kind(f"{owner}: task", task, AbstractTask, TASK)
    expect_kind(f"{owner}: opt", opt, AbstractOptimizer, OPTIMIZER)
    expect_kind(f"{owner}: estimator", estimator, AbstractEstimator, ESTIMATOR)
    expect_kind(f"{owner}: objective", objective, AbstractObjective, OBJECTIVE)
    expect_kind(f"{owner}: meta_tx", meta_tx, optax.GradientTransformation, META_TX)
    warn_of_matrix(opt, task)
    typed = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if not (typed and key.shape == ()) and getattr(key, "dtype", None) != jnp.uint32:
        raise KindError(f"{owner}: key must be a key, such as jax.random.key(0), got {told(key)}.")


def start(
    task: AbstractTask,
    opt: AbstractOptimizer,
    *,
    estimator: AbstractEstimator,
    objective: AbstractObjective,
    meta_tx: optax.GradientTransformation,
    key: Key,
) -> TrainState:
    """The state before the first meta-step."""
    key_episodes, key_run = jr.split(key)
    opt = tree.strongly_typed(opt)
    meta_state = tree.strongly_typed(meta_tx.init(split_meta(opt)[0]))
    est_state = estimator.init(task, opt, objective, key=key_episodes)
    return TrainState(opt, meta_state, est_state, jnp.zeros((), jnp.int32), key_run)


def meta_step(
    task: AbstractTask,
    state: TrainState,
    estimator: AbstractEstimator,
    objective: AbstractObjective,
    meta_tx: optax.GradientTransformation,
    *,
    mask: PyTree | None = None,
    scale: PyTree | None = None,
) -> tuple[TrainState, Stats]:
    """One step on θ. If no episode was finite, θ and the meta-optimizer stay as they are.

    - `mask`: booleans in the structure of θ, of shapes that broadcast to it; False does not move
    - `scale`: factor of the update of θ, a number or a tree of such shapes
    """
    key, key_estimate = jr.split(state.key)
    theta, rest = split_meta(state.opt)
    grads, est_state, stats = estimator(
        task, state.opt, state.est_state, objective, key=key_estimate
    )
    meta_tx = optax.with_extra_args_support(meta_tx)  # `separate_states` asks for the part
    updates, meta_state = meta_tx.update(grads, state.meta_state, theta, part=stats.part)
    if scale is not None:
        updates = _scaled(scale, updates)
    if mask is not None:
        updates = jtu.tree_map(lambda m, u: jnp.where(m, u, jnp.zeros_like(u)), mask, updates)
    usable = (stats.nonfinite < stats.episodes) & tree.finite(updates)
    moved, now = (tree.apply_updates(theta, updates), meta_state), (theta, state.meta_state)
    # `select` computes its predicate anew for every leaf, `cond` copies what it chooses.
    if tree.size(theta) < CHOSEN_BY_BRANCH:
        theta, meta_state = jax.lax.cond(usable, lambda: moved, lambda: now)
    else:
        theta, meta_state = tree.select(jax.lax.optimization_barrier(usable), moved, now)
    opt = join_meta(theta, rest)
    return TrainState(opt, meta_state, est_state, state.step + 1, key), stats


def _scaled(scale: PyTree, updates: PyTree) -> PyTree:
    if isinstance(scale, jax.Array):
        return tree.scale(scale, updates)
    return jtu.tree_map(lambda s, u: s.astype(u.dtype) * u, scale, updates)
