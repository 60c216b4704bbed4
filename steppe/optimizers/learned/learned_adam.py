"""Optimizers of a few trained numbers: Adam with its four, and a schedule of learning rates.

    m ← β₁m + (1−β₁)g,   v ← β₂v + (1−β₂)g²
    u = −η m̂ / (√v̂ + ε),   m̂ = m/(1−β₁ᵗ),   v̂ = v/(1−β₂ᵗ)

Kingma & Ba, "Adam: a method for stochastic optimization", ICLR 2015. Trained are ln η, logit β₁,
logit β₂ and ln ε, so that no meta-step leaves the range where the rule makes sense: a baseline
of Wichrowska et al., "Learned optimizers that scale and generalize", ICML 2017.

Departures: the published TrainableAdam never accumulates v; this one does. √v̂ has the derivative
0 at 0, so that the numbers can be trained on coordinates whose gradients have all been zero.

A learned schedule is gradient descent with one learned rate for each step:

    u_t = −η_t g_t,   t = 1 … T,   η_t = η_T for t > T

Trained is ln η: a rate stays positive and a meta-step changes it by a factor. With T = 1 it is
one learned rate for all steps, the smallest learned optimizer. Both are baselines of Wichrowska
et al. (LearningRateSchedule and GlobalLearningRate). Updates are computed in float32 at least.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int

from ...core import tree
from ...core.backend import SHORT_BLOCK
from ...core.coordinatewise import AbstractCoordinatewise
from ...core.messages import at_least
from ...core.optimizer import AbstractOptimizer
from ...core.types import Key, Params, Scalar, Updates
from ..settings import Block
from .coordinates import safe_sqrt


class AdamState(eqx.Module):
    m: Float[Array, " rows"]
    v: Float[Array, " rows"]


class LearnedAdam(AbstractCoordinatewise):
    """Adam with learned numbers. State: 2 floats a coordinate.

    `lr`, `beta1`, `beta2` and `eps` are the numbers before training; what has been learned is
    exp(`log_lr`), σ(`logit_beta1`), σ(`logit_beta2`) and exp(`log_eps`). Both betas are above 0:
    no logit stands for a beta of exactly 0.
    """

    log_lr: Scalar
    logit_beta1: Scalar
    logit_beta2: Scalar
    log_eps: Scalar
    lr: float = eqx.field(static=True)
    beta1: float = eqx.field(static=True)
    beta2: float = eqx.field(static=True)
    eps: float = eqx.field(static=True)
    block: int = eqx.field(static=True)

    def __init__(
        self,
        lr: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        block: Block = SHORT_BLOCK,
    ):
        for name, number in (("lr", lr), ("eps", eps)):
            if not 0 < number < math.inf:
                raise ValueError(f"LearnedAdam: {name} must be positive and finite, got {number}.")
        for name, beta in (("beta1", beta1), ("beta2", beta2)):
            if not 0 < beta < 1:
                raise ValueError(f"LearnedAdam: {name} must be in (0, 1), got {beta}.")
        self.lr, self.beta1, self.beta2, self.eps, self.block = lr, beta1, beta2, eps, block
        number = lambda x: jnp.asarray(x, jnp.result_type(float))
        self.log_lr, self.log_eps = number(math.log(lr)), number(math.log(eps))
        self.logit_beta1, self.logit_beta2 = number(logit(beta1)), number(logit(beta2))

    def start(self, rows: int, dtype: jnp.dtype) -> AdamState:
        return AdamState(jnp.zeros((rows,), dtype), jnp.zeros((rows,), dtype))

    def advance(
        self, g: Float[Array, " rows"], state: AdamState, count: Int[Array, ""]
    ) -> tuple[Float[Array, " rows"], AdamState]:
        m = average(self.logit_beta1, state.m, g)
        v = average(self.logit_beta2, state.v, g**2)
        m_hat = m / weight(self.logit_beta1, count)
        v_hat = v / weight(self.logit_beta2, count)
        u = -jnp.exp(self.log_lr) * m_hat / (safe_sqrt(v_hat) + jnp.exp(self.log_eps))
        return u, AdamState(m, v)


def average(
    logit_beta: Scalar, mean: Float[Array, " rows"], x: Float[Array, " rows"]
) -> Float[Array, " rows"]:
    """β mean + (1 − β) x, with 1 − σ(z) = σ(−z): β near 1 loses no digits."""
    return jax.nn.sigmoid(logit_beta) * mean + jax.nn.sigmoid(-logit_beta) * x


def weight(logit_beta: Scalar, count: Int[Array, ""]) -> Scalar:
    """1 − βᵗ, the sum of all weights so far."""
    return -jnp.expm1(count.astype(logit_beta.dtype) * jax.nn.log_sigmoid(logit_beta))


def logit(beta: float) -> float:
    return math.log(beta) - math.log1p(-beta)


class LearningRateSchedule(AbstractOptimizer):
    """Gradient descent with one learned rate for each of `steps` steps, the last one held after.

    `lr` is the rate of all steps before training; what has been learned is exp(`log_lrs`).
    State: the number of steps taken. A step that meta-training never reaches keeps its `lr`.
    """

    log_lrs: Float[Array, " steps"]
    steps: int = eqx.field(static=True)
    lr: float = eqx.field(static=True)

    def __init__(self, steps: Block = 100, lr: float = 1e-3):
        at_least(1, "LearningRateSchedule", steps=steps)
        if not 0 < lr < math.inf:
            raise ValueError(f"LearningRateSchedule: lr must be positive and finite, got {lr}.")
        self.steps, self.lr = steps, lr
        self.log_lrs = jnp.zeros((steps,), jnp.result_type(float)) + math.log(lr)

    def init(self, params: Params, *, key: Key | None = None) -> Int[Array, ""]:
        tree.real(params, "LearningRateSchedule")
        return jnp.zeros((), jnp.int32)

    def update(
        self, grads: Updates, state: Int[Array, ""], params: Params, **extra
    ) -> tuple[Updates, Int[Array, ""]]:
        log_lr = self.log_lrs[jnp.minimum(state, self.steps - 1)]
        like = grads if params is None else params
        wide = tree.working_dtype((log_lr, like))
        lr = jnp.exp(log_lr.astype(wide))
        steps = jtu.tree_map(lambda g: -lr * jnp.asarray(g, wide), grads)
        return tree.cast_like(steps, like), state + 1


def global_learning_rate(lr: float = 1e-3) -> LearningRateSchedule:
    """Gradient descent with one learned rate for all steps, `lr` before training."""
    return LearningRateSchedule(1, lr)
