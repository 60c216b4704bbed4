"""Entropy-SGD: descend local entropy, whose gradient is the way to the mean of a Langevin chain.

    w ← c,  μ ← c;   L times:   w ← w − η (∇f(w) + γ_t (w − c)) + √(2ητ) n,   μ ← α μ + (1 − α) w
    g = c − μ,    b ← m b + g,    c ← c − lr (g + m b)               (Nesterov momentum m)
    γ_t = γ (1 + scoping)^t,    t updates of c taken before

Chaudhari, Choromanska, Soatto, LeCun et al., "Entropy-SGD: biasing gradient descent into wide
valleys", ICLR 2017. As published the factor γ of γ (c − μ) is part of the learning rate. The
first of the L gradients is the one handed to the rule, the others are on fresh batches: L a step.

**Temperature.** Published: noise ε √(2η) n with ε = 1e-4, that is τ = ε² = 1e-8, the default here
for the sake of comparison. Such a chain does not feel how wide a valley is; see
`flatness/local_entropy.py` for a τ that does.

Departures: no momentum within the chain, and no weight decay. The published PyTorch code never
advances t; here scoping works, and t counts from 0.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int

from ...core import tree
from ...core.measure import check_count, check_not_negative, check_positive
from ...core.optimizer import AbstractOptimizer
from ...core.task import Problem, draw
from ...core.types import Key, Params, Scalar, Updates
from ...flatness.entropy.sgld import STABLE, Chain, Langevin, check_decay


class EntropyState(eqx.Module):
    momentum: Updates  # b
    count: Int[Array, ""]  # t
    evaluations: Int[Array, ""]  # gradients handed to this rule and taken by it
    key: Key


class EntropySGD(AbstractOptimizer):
    """c ← c − lr (c − μ) with momentum, μ from a chain of `steps` gradients around c.

    - `learning_rate`, `gamma` (γ), `temperature` (τ), `step_size` (η), `scoping`, `momentum`: θ,
      0-d arrays that change without recompiling.
    - `decay` (α): weight of the old average; None for the plain mean of the chain.

    Needs a key at `init`, and the `problem` that `unroll` hands to `update`. Meta-gradients go
    through the chain, whatever the order of the estimator.
    """

    learning_rate: Float[Array, ""]
    gamma: Float[Array, ""]
    steps: int = eqx.field(static=True)
    temperature: Float[Array, ""]
    step_size: Float[Array, ""]
    scoping: Float[Array, ""]
    momentum: Float[Array, ""]
    decay: float | None = eqx.field(static=True)

    def __init__(
        self,
        learning_rate: float | Scalar,
        gamma: float | Scalar = 1e-4,
        steps: int = 20,
        temperature: float | Scalar = 1e-8,
        *,
        step_size: float | Scalar = 0.1,
        scoping: float | Scalar = 1e-3,
        momentum: float | Scalar = 0.9,
        decay: float | None = 0.75,
    ):
        number = lambda x: jnp.asarray(x, jnp.result_type(float))
        self.learning_rate, self.gamma = number(learning_rate), number(gamma)
        self.temperature, self.step_size = number(temperature), number(step_size)
        self.scoping, self.momentum = number(scoping), number(momentum)
        self.steps, self.decay = steps, decay

    def __check_init__(self):
        check_positive("EntropySGD", "learning_rate", self.learning_rate, "It moves the centre.")
        check_positive("EntropySGD", "gamma", self.gamma, "It ties the chain to its centre.")
        check_count("EntropySGD", "steps", self.steps)
        check_not_negative("EntropySGD", "temperature", self.temperature, "Published: 1e-8.")
        check_positive("EntropySGD", "step_size", self.step_size, STABLE)
        check_not_negative("EntropySGD", "scoping", self.scoping, "gamma grows by it, or stays.")
        check_not_negative("EntropySGD", "momentum", self.momentum, "0 is none.")
        check_decay("EntropySGD", self.decay)

    @property
    def extra_gradients(self) -> int:
        return self.steps - 1

    def init(self, params: Params, *, key: Key | None = None) -> EntropyState:
        if key is None:
            raise ValueError(
                "EntropySGD draws noise and batches, but init was given no key. Give "
                "init(params, key=jax.random.key(seed))."
            )
        params = tree.real(params, "EntropySGD")
        none = jnp.zeros((), jnp.int32)
        return EntropyState(jtu.tree_map(jnp.zeros_like, params), none, none, key)

    def update(
        self,
        grads: Updates,
        state: EntropyState,
        params: Params,
        *,
        problem: Problem | None = None,
        **extra,
    ) -> tuple[Updates, EntropyState]:
        if problem is None:
            raise ValueError(
                "EntropySGD takes gradients on batches of its own, but update was given no "
                "problem. Run it in `unroll`, or give update(…, problem=Problem(task, instance, "
                "batch, key))."
            )
        key, key_chain = jr.split(state.key)
        mean = self._chain(grads, state.count, params, problem, key_chain).average
        m, lr = self.momentum, self.learning_rate
        g = jtu.tree_map(jnp.subtract, params, mean)
        gather = tree.promoting(lambda b, g: (m * b + g).astype(g.dtype))
        b = jtu.tree_map(gather, state.momentum, g)
        step = tree.promoting(lambda g, b: (-lr * (g + m * b)).astype(g.dtype))
        updates = jtu.tree_map(step, g, b)
        evaluations = state.evaluations + self.steps
        return updates, EntropyState(b, state.count + 1, evaluations, key)

    def _chain(
        self, grads: Updates, t: Int[Array, ""], params: Params, problem: Problem, key: Key
    ) -> Chain:
        gamma = self.gamma * jnp.exp(t.astype(self.scoping.dtype) * jnp.log1p(self.scoping))
        langevin = Langevin(gamma, self.temperature, self.step_size, self.decay)

        def fresh(w: Params, key: Key) -> Params:
            return draw(problem.task, problem.instance, key, split="train").grad(w)

        keys = jr.split(key, self.steps)
        chain = langevin.step(lambda w, key: grads, langevin.init(params), key=keys[0])
        step = lambda chain, key: (langevin.step(fresh, chain, key=key), None)
        return jax.lax.scan(step, chain, keys[1:])[0]
