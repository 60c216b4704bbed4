"""Adaptable: an optimizer that carries the rates at which it is to be adapted, and trains them.

    θ_l ← θ_l − e^{ρ_l} ∇_l G        a step of adaptation, for each tensor l of θ

In use it is `base`, step by step. `Adapted` and `steppe.adapt` adapt `base` at its rates, and
`Adapted` trains them with it: with one step of first order,

    dG(θ')/dρ_l = −e^{ρ_l} ⟨∇_l G(θ'), ∇_l G(θ)⟩

so a rate grows where the two gradients agree, and a tensor that should stay comes to a halt.

After Li, Zhou, Chen & Li, "Meta-SGD: learning to learn quickly for few-shot learning", 2017.
Departure: one rate a tensor, and its logarithm, so that a rate stays positive.
"""

import math

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float

from ..core.arguments import real
from ..core.optimizer import AbstractOptimizer, split_meta
from ..core.types import Key, OptState, Params, Updates


class Adaptable(AbstractOptimizer):
    """`base`, with a rate of adaptation for each of its tensors. Steps and state are its own.

    - `base`: an optimizer with something to train
    - `rate`: all rates before training, above 0; what has been learned is exp(`log_rates`), in the
      order of the tensors of θ
    """

    base: AbstractOptimizer
    log_rates: Float[Array, " leaves"]
    rate: float = eqx.field(static=True)

    def __init__(self, base: AbstractOptimizer, rate: float = 1e-3):
        if not isinstance(base, AbstractOptimizer) or isinstance(base, Adaptable):
            raise ValueError(
                f"Adaptable: base is a {type(base).__name__}, expected a steppe optimizer that is "
                'not adaptable yet, such as steppe.zoo.build("rnnprop", key=key).'
            )
        rate = real("Adaptable: rate", rate)
        if not rate > 0:
            raise ValueError(f"Adaptable: rate must be positive, got {rate}.")
        leaves = len(jtu.tree_leaves(split_meta(base)[0]))
        if not leaves:
            raise ValueError(
                f"Adaptable: {type(base).__name__} has no trained numbers, so there is nothing to "
                "adapt. Give an optimizer that is learned."
            )
        self.base, self.rate = base, rate
        self.log_rates = jnp.full((leaves,), math.log(rate), jnp.result_type(float))

    @property
    def matrix(self) -> bool:
        """True where `base` is best run on all episodes at once."""
        return getattr(self.base, "matrix", False)

    @property
    def bound(self) -> float:
        """The largest size of an update."""
        return getattr(self.base, "bound", math.inf)

    def init(self, params: Params, *, key: Key | None = None) -> OptState:
        return self.base.init(params, key=key)

    def update(
        self, grads: Updates, state: OptState, params: Params, **extra
    ) -> tuple[Updates, OptState]:
        return self.base.update(grads, state, params, **extra)
