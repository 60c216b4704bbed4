"""Learned learning rates: gradient descent whose rate, or rates, are trained.

    u_t = −η g_t                       one number
    u_t = −η_t g_t,   η_t = η_T for t > T    one number a step, t = 1 … T

Trained is ln η: a rate stays positive and a meta-step changes it by a factor. The two smallest
learned optimizers, baselines of Wichrowska et al., "Learned optimizers that scale and
generalize", ICML 2017. Updates are computed in float32 at least.
"""

import math

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int

from ...core import tree
from ...core.optimizer import AbstractOptimizer
from ...core.types import Key, Params, Scalar, Updates


class GlobalLearningRate(AbstractOptimizer):
    """Gradient descent with one learned rate. State: nothing.

    `lr` is the rate before training; what has been learned is exp(`log_lr`).
    """

    log_lr: Scalar
    lr: float = eqx.field(static=True)

    def __init__(self, lr: float = 1e-3):
        check_positive("GlobalLearningRate", lr)
        self.lr = lr
        self.log_lr = jnp.asarray(math.log(lr), jnp.result_type(float))

    def init(self, params: Params, *, key: Key | None = None) -> tuple[()]:
        return ()

    def update(
        self, grads: Updates, state: tuple[()], params: Params, **extra
    ) -> tuple[Updates, tuple[()]]:
        return descend(self.log_lr, grads), state


class LearningRateSchedule(AbstractOptimizer):
    """Gradient descent with one learned rate for each of `steps` steps, the last one held after.

    `lr` is the rate of all steps before training; what has been learned is exp(`log_lrs`).
    State: the number of steps taken. A step that meta-training never reaches keeps its `lr`.
    """

    log_lrs: Float[Array, " steps"]
    steps: int = eqx.field(static=True)
    lr: float = eqx.field(static=True)

    def __init__(self, steps: int = 100, lr: float = 1e-3):
        if steps < 1:
            raise ValueError(f"LearningRateSchedule: steps must be at least 1, got {steps}.")
        check_positive("LearningRateSchedule", lr)
        self.steps, self.lr = steps, lr
        self.log_lrs = jnp.zeros((steps,), jnp.result_type(float)) + math.log(lr)

    def init(self, params: Params, *, key: Key | None = None) -> Int[Array, ""]:
        return jnp.zeros((), jnp.int32)

    def update(
        self, grads: Updates, state: Int[Array, ""], params: Params, **extra
    ) -> tuple[Updates, Int[Array, ""]]:
        log_lr = self.log_lrs[jnp.minimum(state, self.steps - 1)]
        return descend(log_lr, grads), state + 1


def descend(log_lr: Scalar, grads: Updates) -> Updates:
    """−η g, in the dtypes of g."""
    wide = tree.working_dtype((log_lr, grads))
    lr = jnp.exp(log_lr.astype(wide))
    return jtu.tree_map(lambda g: (-lr * g.astype(wide)).astype(g.dtype), grads)


def check_positive(kind: str, lr: float) -> None:
    if not 0 < lr < math.inf:
        raise ValueError(f"{kind}: lr must be positive and finite, got {lr}.")
