"""A learned schedule: gradient descent with one learned rate for each step.

    u_t = −η_t g_t,   t = 1 … T,   η_t = η_T for t > T

Trained is ln η: a rate stays positive and a meta-step changes it by a factor. With T = 1 it is
one learned rate for all steps, the smallest learned optimizer. Both are baselines of Wichrowska
et al., "Learned optimizers that scale and generalize", ICML 2017 (LearningRateSchedule and
GlobalLearningRate). Updates are computed in float32 at least.
"""

import math

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int

from ...core import tree
from ...core.messages import at_least
from ...core.optimizer import AbstractOptimizer
from ...core.types import Key, Params, Updates


class LearningRateSchedule(AbstractOptimizer):
    """Gradient descent with one learned rate for each of `steps` steps, the last one held after.

    `lr` is the rate of all steps before training; what has been learned is exp(`log_lrs`).
    State: the number of steps taken. A step that meta-training never reaches keeps its `lr`.
    """

    log_lrs: Float[Array, " steps"]
    steps: int = eqx.field(static=True)
    lr: float = eqx.field(static=True)

    def __init__(self, steps: int = 100, lr: float = 1e-3):
        at_least(1, "LearningRateSchedule", steps=steps)
        if not 0 < lr < math.inf:
            raise ValueError(f"LearningRateSchedule: lr must be positive and finite, got {lr}.")
        self.steps, self.lr = steps, lr
        self.log_lrs = jnp.zeros((steps,), jnp.result_type(float)) + math.log(lr)

    def init(self, params: Params, *, key: Key | None = None) -> Int[Array, ""]:
        return jnp.zeros((), jnp.int32)

    def update(
        self, grads: Updates, state: Int[Array, ""], params: Params, **extra
    ) -> tuple[Updates, Int[Array, ""]]:
        log_lr = self.log_lrs[jnp.minimum(state, self.steps - 1)]
        wide = tree.working_dtype((log_lr, grads))
        lr = jnp.exp(log_lr.astype(wide))
        updates = jtu.tree_map(lambda g: (-lr * g.astype(wide)).astype(g.dtype), grads)
        return updates, state + 1


def global_learning_rate(lr: float = 1e-3) -> LearningRateSchedule:
    """Gradient descent with one learned rate for all steps, `lr` before training."""
    return LearningRateSchedule(1, lr)
