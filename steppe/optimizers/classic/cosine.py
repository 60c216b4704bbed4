"""Rivals with a schedule: the optimizers by hand that a practitioner would tune.

    opt = momentum_cosine(0.1, steps=500)

Each begins with its rate and ends with zero after `steps` steps (`Scheduled`).
"""

import jax.numpy as jnp
from jaxtyping import Array

from ...core.types import Scalar
from ..scheduled import Scheduled
from ..weight_decay import WeightDecay
from .from_optax import FromOptax, adam, momentum
from .sam import SAM


def adam_cosine(lr: float | Scalar, steps: int) -> Scheduled:
    """Adam (Kingma & Ba 2015) whose rate falls to zero."""
    return Scheduled(adam(lr), steps=steps)


def adamw_cosine(lr: float | Scalar, steps: int, weight_decay: float | Scalar = 0.01) -> Scheduled:
    """AdamW (Loshchilov & Hutter 2019): a step also takes lr · weight_decay · θ away."""
    base = FromOptax("adamw", learning_rate=_number(lr), weight_decay=_number(weight_decay))
    return Scheduled(base, steps=steps)


def momentum_cosine(
    lr: float | Scalar,
    steps: int,
    weight_decay: float | Scalar = 5e-4,
    decay: float | Scalar = 0.9,
) -> Scheduled:
    """Momentum on the gradient with weight decay, `decay` of the momentum."""
    return Scheduled(WeightDecay(momentum(lr, decay), weight_decay), steps=steps)


def sam_cosine(
    lr: float | Scalar,
    steps: int,
    rho: float | Scalar = 0.05,
    weight_decay: float | Scalar = 5e-4,
    decay: float | Scalar = 0.9,
    half: bool = False,
) -> Scheduled:
    """SAM (Foret et al. 2021) around momentum with weight decay: two gradients a step.

    - `half`: end after half of the steps, so that as many gradients move it as others
    """
    base = WeightDecay(momentum(lr, decay), weight_decay)
    return Scheduled(SAM(base, rho), steps=max(1, steps // 2) if half else steps)


def _number(x: float | Scalar) -> Array:
    return jnp.asarray(x, jnp.result_type(float))
