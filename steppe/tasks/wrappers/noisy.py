"""A task whose gradients are noisy, and mostly zero if wished; its values are exact.

    g̃ = m ∘ (∇f + σ ξ),   ξ ~ N(0, I),   mᵢ = 0 with probability `zero`, else 1

The noisy problems (σ = 0.5, 1, 2) and the sparse-gradient ones (`zero` = 0.99) of Wichrowska et
al., "Learned optimizers that scale and generalize", ICML 2017. With s(·) stopping gradients,

    loss(x) = f(s(x) + m ∘ (x − s(x))) + ⟨m ∘ σ ξ, x − s(x)⟩

has the value of f and the gradient g̃. ξ and m come from the key of the loss: new ones at each step.
Finite differences of the loss see f, not g̃.
"""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu

from ...core import tree
from ...core.messages import reals
from ...core.task import AbstractTask, Problem
from ...core.types import Batch, Instance, Key, Params, Scalar
from .wrapper import AbstractLossWrapper


class Noisy(AbstractLossWrapper):
    """`task` seen through noise of standard deviation `deviation` and a mask.

    The gradients of every split are disturbed, values and metrics of none.
    """

    task: AbstractTask
    deviation: float = eqx.field(static=True, default=0.0)
    zero: float = eqx.field(static=True, default=0.0)

    def __check_init__(self):
        reals("Noisy", finite=False, deviation=self.deviation, zero=self.zero)
        if not 0 <= self.deviation < math.inf:
            raise ValueError(f"Noisy: deviation must not be negative, got {self.deviation}.")
        if not 0 <= self.zero < 1:
            raise ValueError(
                f"Noisy: zero is {self.zero}, expected a probability in [0, 1); at 1 nothing is "
                "left of the gradient."
            )

    def loss(self, instance: Instance, batch: Batch, key: Key) -> Callable[[Params], Scalar]:
        key_loss, key_noise, key_mask = jr.split(key, 3)
        loss = Problem(self.task, instance, batch, key_loss).loss()

        def disturbed(params: Params) -> Scalar:
            still = jax.lax.stop_gradient(params)
            move = jtu.tree_map(jnp.subtract, params, still)  # zero, with a gradient
            if self.zero:
                keep = lambda key, shape: jr.bernoulli(key, 1 - self.zero, shape)
                move = jtu.tree_map(lambda d, m: m * d, move, draw_like(keep, params, key_mask))
            f = loss(tree.add(still, move))
            if self.deviation:
                xi = draw_like(jr.normal, params, key_noise)
                f = f + (self.deviation * tree.dot(xi, move)).astype(f.dtype)
            return f

        return disturbed

    def target(self, instance: Instance) -> Params | None:
        return self.task.target(instance)

    def metrics(
        self, params: Params, instance: Instance, batch: Batch, key: Key
    ) -> dict[str, Scalar]:
        key_loss, _, _ = jr.split(key, 3)  # as in `loss`
        return self.task.metrics(params, instance, batch, key_loss)


def draw_like(law, params: Params, key: Key) -> Params:
    """law(key, shape) for each leaf, in its dtype."""
    leaves, treedef = jtu.tree_flatten(params)
    keys = jr.split(key, len(leaves))
    drawn = [law(k, p.shape).astype(p.dtype) for k, p in zip(keys, leaves, strict=True)]
    return jtu.tree_unflatten(treedef, drawn)
