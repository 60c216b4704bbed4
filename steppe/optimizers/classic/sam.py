"""SAM: feed any optimizer the gradient taken at the worst nearby point.

    ε = ρ g/‖g‖,    θ ← θ + base(∇f(θ + ε))

Foret, Kleiner, Mobahi & Neyshabur, "Sharpness-aware minimization for efficiently improving
generalization", ICLR 2021; adaptive: ε = ρ θ² ⊙ g / ‖|θ| ⊙ g‖, Kwon, Kim, Park & Choi, "ASAM",
ICML 2021. Both gradients are of one batch, two a step.
"""

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ...core.measure import check_positive
from ...core.optimizer import AbstractOptimizer
from ...core.task import Problem
from ...core.types import Key, OptState, Params, Scalar, Updates
from ...flatness.gradient import worst_point


class SAMState(eqx.Module):
    base: OptState
    evaluations: Int[Array, ""]  # gradients handed to this rule and taken by it


class SAM(AbstractOptimizer):
    """`base` on ∇f(θ + ε), a gradient more a step than `base` takes.

    Needs the `problem` that `unroll` hands to `update`. `rho` is θ, like the numbers of `base`.
    The second gradient is taken inside the rule: meta-gradients go through it, with the Hessian,
    whatever the order of the estimator.
    """

    base: AbstractOptimizer
    rho: Float[Array, ""]
    adaptive: bool = eqx.field(static=True)
    extra_gradients: ClassVar[int] = 1

    def __init__(self, base: AbstractOptimizer, rho: float | Scalar = 0.05, adaptive: bool = False):
        self.base = base
        self.rho = jnp.asarray(rho, jnp.result_type(float))
        self.adaptive = adaptive

    def __check_init__(self):
        check_positive("SAM", "rho", self.rho, "It is the radius searched for the worst point.")

    def init(self, params: Params, *, key: Key | None = None) -> SAMState:
        return SAMState(self.base.init(params, key=key), jnp.zeros((), jnp.int32))

    def update(
        self,
        grads: Updates,
        state: SAMState,
        params: Params,
        *,
        problem: Problem | None = None,
        **extra,
    ) -> tuple[Updates, SAMState]:
        if problem is None:
            raise ValueError(
                "SAM takes a second gradient at another point, but update was given no problem. "
                "Run it in `unroll`, or give update(…, problem=Problem(task, instance, batch, key))"
                "."
            )
        worst = worst_point(grads, params, rho=self.rho, adaptive=self.adaptive)
        updates, base = self.base.update(
            problem.grad(worst), state.base, params, problem=problem, **extra
        )
        return updates, SAMState(base, state.evaluations + 2)
