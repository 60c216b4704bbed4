"""One meta-optimizer state for each part of a mixture that is drawn by lot.

Adam divides by the size of past gradients. Where an imitation loss is a thousand times smaller
than the objective, one common state would leave nothing of its steps. (The published code of
"Training stronger baselines for learning to optimize" has an Adam for each loss.)
"""

from typing import Any

import jax.numpy as jnp
import jax.tree_util as jtu
import optax
from jaxtyping import PyTree

from ..core.messages import at_least


def apart(tx: optax.GradientTransformation, parts: int) -> optax.GradientTransformationExtraArgs:
    """`tx` with `parts` states; `update(…, part=k)` uses and moves the k-th alone."""
    at_least(1, "apart", parts=parts)
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
