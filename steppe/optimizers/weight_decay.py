"""WeightDecay: any optimizer on the gradient of f + ½ λ ‖θ‖².

    g ← ∇f(θ) + λ θ,      θ ← θ + base(g)

As `weight_decay` of SGD in PyTorch. AdamW has a decay of its own, which does not pass through the
averages of Adam: `FromOptax("adamw", …)`.
"""

import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float

from ..core import tree
from ..core.measure import check_not_negative
from ..core.optimizer import AbstractOptimizer
from ..core.types import Key, OptState, Params, Scalar, Updates


class WeightDecay(AbstractOptimizer):
    """`base` on ∇f(θ) + λ θ.

    - `weight`: λ, zero or positive; θ like the numbers of `base`
    """

    base: AbstractOptimizer
    weight: Float[Array, ""]

    def __init__(self, base: AbstractOptimizer, weight: float | Scalar = 5e-4):
        self.base = base
        self.weight = jnp.asarray(weight, jnp.result_type(float))

    def __check_init__(self):
        if not isinstance(self.base, AbstractOptimizer):
            raise ValueError(
                f"WeightDecay: base is a {type(self.base).__name__}, expected a steppe optimizer "
                'such as steppe.zoo.build("momentum", lr=0.1).'
            )
        check_not_negative("WeightDecay", "weight", self.weight, "It pulls θ to zero.")

    def init(self, params: Params, *, key: Key | None = None) -> OptState:
        return self.base.init(params, key=key)

    def update(
        self, grads: Updates, state: OptState, params: Params, **extra
    ) -> tuple[Updates, OptState]:
        pulled = tree.promoting(lambda g, p: jnp.asarray(g) + self.weight * p)
        return self.base.update(jtu.tree_map(pulled, grads, params), state, params, **extra)
