"""StepFISTA: FISTA with a learned step and a learned momentum at each of its first iterations.

    x⁺ = prox(y − s_k ∇f(y), s_k),   y⁺ = x⁺ + m_k (x⁺ − x),   s_k = exp(σ_k) / L,  m_k = tanh(μ_k)

for k = 1 … layers, and FISTA with restart from there on. Trained are σ and μ, 2 · layers numbers.
Untrained it is FISTA (Beck & Teboulle 2009): σ = 0, and m_k of FISTA's sequence. An iteration costs
what one of FISTA costs, and L and the regularizer are those of the problem, so that one rule serves
every problem of a family.

The worst case asks for steps of 1/L; the problems of a family ask for longer ones once the support
is found, since the curvature on it is far below L. Ablin, Moreau, Massias & Gramfort, "Learning
step sizes for unfolded sparse coding", NeurIPS 2019, learn steps of ISTA by that reason; to learn
the momentum with them is ours, as far as we know.

It comes to the minimum whatever was learned. The residual ρ_k = ‖y − x⁺‖ / s_k of a step that would
leave it far behind, ρ_k > 4 ρ_1, is the last one of the learned: FISTA goes on from there. So the
learned steps, `layers` at most, leave a point within a bounded distance of the start, and FISTA
comes to the minimum from every point.
"""

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float, Int

from ...core import tree
from ...core.messages import at_least
from ...core.optimizer import AbstractOptimizer
from ...core.task import Problem
from ...core.types import Key, Params, Scalar, Updates
from ..classic.proximal import composite, difference, momentum, proximal_step
from ..unrolled.base import Layers


class StepFISTAState(eqx.Module):
    ahead: Params  # y − x
    t: Scalar  # of FISTA, which begins after the layers
    step: Int[Array, ""]
    first: Scalar  # ρ_1


TRUST = 4.0  # of the first residual


class StepFISTA(AbstractOptimizer):
    """FISTA whose first steps and momenta are learned, for smooth + regularizer.

    - `layers`: iterations with numbers of their own, at least 1
    """

    steps: Float[Array, " layers"]  # ln of the step in units of 1/L
    momenta: Float[Array, " layers"]  # artanh
    layers: int = eqx.field(static=True)

    def __init__(self, layers: Layers = 32):
        at_least(1, "StepFISTA", layers=layers)
        self.layers = layers
        dtype = jnp.result_type(float)
        self.steps = jnp.zeros((layers,), dtype)
        self.momenta = jnp.asarray(np.arctanh(momentum(layers)), dtype)

    def init(self, params: Params, *, key: Key | None = None) -> StepFISTAState:
        params = tree.real(params, "StepFISTA")
        ahead = jtu.tree_map(jnp.zeros_like, params)
        one = jnp.ones((), tree.working_dtype(params))
        return StepFISTAState(ahead, one, jnp.zeros((), jnp.int32), jnp.zeros_like(one))

    def update(
        self,
        grads: Updates,
        state: StepFISTAState,
        params: Params,
        *,
        problem: Problem | None = None,
        **extra,
    ) -> tuple[Updates, StepFISTAState]:
        loss = composite("StepFISTA", problem)
        dtype = state.t.dtype
        learned = state.step < self.layers
        k = jnp.minimum(state.step, self.layers - 1)
        step = jnp.where(learned, jnp.exp(self.steps[k].astype(dtype)), 1)
        y = tree.add(params, state.ahead)
        after = proximal_step(loss, y, step / jnp.asarray(loss.lipschitz, dtype))
        move, rest = difference(after, params), difference(y, after)
        size = (tree.norm(rest) / step).astype(dtype)  # in units of 1/L
        first = jnp.where(state.step == 0, size, state.first)
        calm = size <= TRUST * first  # False where it is not finite
        t = (1 + jnp.sqrt(1 + 4 * state.t**2)) / 2
        uphill = tree.dot(rest, move) > 0
        fista = jnp.where(uphill, 0, (state.t - 1) / t).astype(dtype)
        momentum = jnp.where(learned & calm, jnp.tanh(self.momenta[k].astype(dtype)), fista)
        ahead = jtu.tree_map(lambda m: momentum.astype(m.dtype) * m, move)
        t = jnp.where(learned | uphill, jnp.ones_like(t), t)
        # What was learned is left for good where a step is wild.
        follows = jnp.where(calm, state.step + 1, jnp.maximum(state.step + 1, self.layers))
        return move, StepFISTAState(ahead, t, follows, first)
