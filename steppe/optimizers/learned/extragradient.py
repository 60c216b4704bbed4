"""Extragradient with momentum, its numbers learned: five for each of the two players of a game.

    w = z − (h/ℓ) F(z),    s = −(a/L) F(z) − (c/L²) (ℓ/h) (F(w) − F(z)),    e⁺ = β_t (e + s)
    z⁺ = z + s + e⁺,       β_t = m t / (t + τ)

with F = (∇ₓf, −∇ᵧf), t = 1, 2, … the steps, L the largest ‖F(w) − F(z)‖ / ‖w − z‖ so far, and ℓ the
one before this step, or 1. Where ‖F‖ has grown, momentum begins afresh: e = 0, t = 1. Trained are
ln h, a, ln c/(C − c) with C = 4/3, ln m/(1 − m) and ln τ; a = h, c = h² and m = 0 is
extragradient with steps that find their unit by themselves.

On a bilinear game F(w) − F(z) = −(h/ℓ) MF(z), M antisymmetric, goes along the gradient of ½‖F‖²:
descent along it has no rotation, so that momentum helps it as it helps on quadratics. Extragradient
takes as many steps as the square of the condition number of the game, such a rule as many as the
number itself, and no method of first order fewer: Azizian, Scieur, Mitliagkas, Lacoste-Julien &
Gidel, "Accelerating smooth games by manipulating spectral shapes", AISTATS 2020. Departures:
numbers trained, of its own for each player; a unit of steps; Nesterov's momentum, which needs to
know no condition number and is stable for c ≤ 4/3; restarts, as O'Donoghue & Candès have them by
the value, Foundations of Comp. Math. 2015. Cost: two gradients a step.
"""

import math
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int

from ...core import tree
from ...core.arguments import real
from ...core.optimizer import AbstractOptimizer
from ...core.task import Problem
from ...core.types import Key, Params, Scalar, Updates
from ..classic.games import field, game, operator

PLAYERS = ("min", "max")
LARGEST = 4 / 3  # c
Both = Float[Array, " players"]


class LearnedExtragradientState(eqx.Module):
    e: Params  # what momentum adds
    L: Scalar  # 0: none seen yet
    size: Scalar  # ‖F‖ before
    count: Int[Array, ""]  # steps since momentum began


class LearnedExtragradient(AbstractOptimizer):
    """Ten numbers: a look ahead, two step sizes and two of momentum, player by player.

    `ahead`, `lr`, `change`, `momentum` and `delay` are h, a, c, m and τ before training. What is
    learned is `log_ahead`, `along`, `logit_change`, `logit_momentum` and `log_delay`, two entries
    each, of the minimising and of the maximising player.
    """

    log_ahead: Both
    along: Both
    logit_change: Both
    logit_momentum: Both
    log_delay: Both
    ahead: float = eqx.field(static=True)
    lr: float = eqx.field(static=True)
    change: float = eqx.field(static=True)
    momentum: float = eqx.field(static=True)
    delay: float = eqx.field(static=True)
    extra_gradients: ClassVar[int] = 1

    def __init__(
        self,
        ahead: float = 0.5,
        lr: float = 0.1,
        change: float = 0.9,
        momentum: float = 0.95,
        delay: float = 3.0,
    ):
        number = lambda name, x: real(f"LearnedExtragradient: {name}", x)
        self.ahead, self.lr = number("ahead", ahead), number("lr", lr)
        self.change, self.momentum = number("change", change), number("momentum", momentum)
        self.delay = number("delay", delay)
        for name in ("ahead", "delay"):
            if not (x := getattr(self, name)) > 0:
                raise ValueError(f"LearnedExtragradient: {name} must be positive, got {x}.")
        for name, most, shown in (("change", LARGEST, "4/3"), ("momentum", 1.0, "1")):
            if not 0 < (x := getattr(self, name)) < most:
                raise ValueError(
                    f"LearnedExtragradient: {name} must lie between 0 and {shown}, got {x}."
                )
        both = lambda x: jnp.full((2,), x, jnp.result_type(float))
        self.log_ahead, self.along = both(math.log(self.ahead)), both(self.lr)
        self.logit_change = both(logit(self.change / LARGEST))
        self.logit_momentum, self.log_delay = both(logit(self.momentum)), both(math.log(self.delay))

    def init(self, params: Params, *, key: Key | None = None) -> LearnedExtragradientState:
        params = tree.real(params, "LearnedExtragradient")
        still = jtu.tree_map(jnp.zeros_like, params)
        zero = jnp.zeros((), tree.working_dtype(params))
        return LearnedExtragradientState(still, zero, zero, jnp.zeros((), jnp.int32))

    def update(
        self,
        grads: Updates,
        state: LearnedExtragradientState,
        params: Params,
        *,
        problem: Problem | None = None,
        second_order: bool = True,
        **extra,
    ) -> tuple[Updates, LearnedExtragradientState]:
        loss, F = game("LearnedExtragradient", problem), operator(grads, params)
        h, before = jnp.exp(self.log_ahead), jnp.where(state.L > 0, state.L, 1)
        away = each(h, tree.rescale(1 / before, F))
        there = field(loss, jtu.tree_map(jnp.subtract, params, away))
        there = there if second_order else jax.lax.stop_gradient(there)
        changed = jtu.tree_map(jnp.subtract, there, F)
        # Both over a power of two near them: near a solution no square leaves the dtype.
        unit = 1 / tree.magnitude(away)
        far = tree.norm(tree.rescale(unit, away))
        steep = tree.norm(tree.rescale(unit, changed)) / jnp.where(far > 0, far, 1)
        L = jnp.maximum(state.L, steep.astype(state.L.dtype))
        c = LARGEST * jax.nn.sigmoid(self.logit_change)
        inverse = 1 / jnp.where(L > 0, L, 1)
        change = tree.rescale(inverse * before, each(c / h, changed))
        s = tree.rescale(-inverse, tree.add(each(self.along, F), change))
        size = tree.norm(F).astype(state.size.dtype)
        afresh = (state.count > 0) & (size > state.size)
        count = jnp.where(afresh, 0, state.count) + 1
        kept = tree.select(afresh, jtu.tree_map(jnp.zeros_like, state.e), state.e)
        e = each(self.beta(count), tree.add(kept, s))
        return tree.add(s, e), LearnedExtragradientState(e, L, size, count)

    def beta(self, count: Int[Array, ""]) -> Both:
        """The momentum of step t = 1, 2, …"""
        t = count.astype(self.log_delay.dtype)
        return jax.nn.sigmoid(self.logit_momentum) * t / (t + jnp.exp(self.log_delay))


def logit(x: float) -> float:
    """ln x/(1 − x)"""
    return math.log(x) - math.log1p(-x)


def each(factors: Both, x: Params) -> Params:
    """The part of each player times its own factor, leaf by leaf in its own dtype."""
    return {name: tree.rescale(factors[k], x[name]) for k, name in enumerate(PLAYERS)}
