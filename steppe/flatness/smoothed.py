"""The loss seen through a Gaussian window.

    S(θ) = E f(θ + ξ/√γ),    ξ ~ N(0, I);    on a quadratic f(θ) + tr H / (2γ)

An upper bound of local entropy at temperature 1 (Jensen); at temperature τ take γ/τ for γ.
Unlike local entropy its gradient is that of its own value, on the same draws.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from ..core.measure import AbstractMeasure
from ..core.types import Key, Params, Scalar
from .checks import check_draws, check_positive
from .estimate import each_probe
from .products import check_loss
from .vectors import moved, normal_like


class Smoothed(AbstractMeasure):
    """Mean of f over `samples` draws θ ± ξ/√γ; unbiased.

    Draws come in pairs, so that a slope adds no variance: what is left is that of a Hutchinson
    trace with Gaussian probes, ‖H‖²_F / (γ² samples) on a quadratic.
    """

    gamma: float | Scalar
    samples: int = eqx.field(static=True, default=2)

    def __check_init__(self):
        check_positive("Smoothed", "gamma", self.gamma, "1/gamma is the variance of the window.")
        check_draws("Smoothed", self.samples, 2, "draws come in pairs ±ξ")

    def __call__(self, loss: Callable[[Params], Scalar], params: Params, *, key: Key) -> Scalar:
        loss, sigma = check_loss(loss), 1 / jnp.sqrt(self.gamma)

        def pair(key):
            xi = normal_like(key, params)
            at = lambda a: loss(moved(params, a, xi))
            return jax.vmap(at)(jnp.stack([sigma, -sigma])).mean()

        return each_probe(pair, probes=self.samples // 2, key=key).mean()
