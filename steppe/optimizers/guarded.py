"""Guarded: a learned rule proposes, a classical one stands beside it and decides.

by="loss": the fallback makes a run of its own, z, from the same start. A proposal is accepted if

    F(proposal) ≤ F(z⁺),    else x ← z⁺

so that F(x_k) ≤ F(z_k) at every step: whatever holds for the values of the fallback, such as
FISTA’s 2 L ‖x₀ − x*‖² / (k + 1)², holds for the guarded rule with any weights. Cost: a gradient a
step, at z, and two values of the loss.

by="merit": the same with ‖∇F‖ in place of F, which a game has to bring down where it has no value:

    ‖∇F(proposal)‖ ≤ ‖∇F(z⁺)‖,    else x ← z⁺

so that ‖∇F(x_k)‖ ≤ ‖∇F(z_k)‖ at every step. With `Halpern` as the fallback, or `Anchored` with two
gradients, it falls like 1/k on every convex-concave game with a Lipschitz gradient, whatever is
proposed. Cost: two gradients a step, at the proposal and at z⁺, where it serves the next step of z
too (of a task that draws batches, it is then that of the batch before).

by="residual": T(x) is a step of the fallback begun afresh at x, and r(x) = ‖x − T(x)‖ zero at
solutions alone. With E ← ½ (E + r(x)) at every step, from E = r(x₀), a proposal is accepted if

    r(proposal) ≤ decay · E,    else x ← T(x)

Let T be averaged, as ISTA is for step < 2 and gradient descent for rates below 2/L. Then r never
grows along T, so that r(x) ≤ E at all times, and E never grows either. Each acceptance lowers it by
the factor ½ (1 + decay) at least. So where there are infinitely many, E and r go to 0; where there
are few, the rest is a run of T, along which r goes to 0 as well: whatever is proposed. Of a game T
may be the resolvent (`ProximalPoint`), or extragradient, which is averaged where the game is
bilinear and the rate below 1/‖A‖. Cost: a step of T at the proposal, and one gradient more with
ISTA or FISTA. No value: it serves games, too.

What is not finite is rejected. After a rejection the base begins afresh, as momentum is restarted
where it leads uphill.

By loss: Prémont-Schwarz, Vítků & Feyereisl, "A simple guard for learned optimizers", ICML 2022;
departure: compared at each step and with a run of the fallback alone, not with its step from x,
which bounds the fall of one step and not the curve. By residual: Heaton, Chen, Wang & Yin,
"Safeguarded learned convex optimization", AAAI 2023, with its average EMA(½); departure: steps of
the fallback enter E too, or an adversary would be let back to where it was when last accepted.
"""

from typing import Literal, get_args

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Int

from ..core import tree
from ..core.arguments import real
from ..core.loss import Saddle
from ..core.optimizer import AbstractOptimizer
from ..core.task import Problem
from ..core.types import Key, OptState, Params, Scalar, Updates
from .classic.proximal import FISTA, ISTA

By = Literal["loss", "merit", "residual"]
ULPS = 4  # by which a value may exceed another that it equals but for rounding


class GuardedState(eqx.Module):
    base: OptState
    fallback: OptState  # of its own run; () by residual
    z: Params  # where that run is; () by residual
    slope: Updates  # ∇F(z), but at the start 0; () but by merit
    bound: Scalar  # E
    steps: Int[Array, ""]
    rejections: Int[Array, ""]


class Guarded(AbstractOptimizer):
    """`base`, whose proposals `fallback` accepts or replaces. Needs the `problem`.

    - `fallback`: by loss or merit any rule; by residual one that comes to a solution from
      everywhere, such as ISTA or gradient descent
    - `by`: "loss", never above the fallback's own curve; "merit", never above its curve of ‖∇F‖,
      for games; or "residual", which needs no run beside
    - `decay`: by residual, what a residual must lie below, as a share of the bound; in (0, 1)
    - `restart`: a rejected base begins afresh, as is right for memories of the way, which has just
      been left, such as momentum. Else it goes on as if its update had been made, as is right for
      what it has learned about the problem, such as the factors of `SelfAdapting`
    """

    base: AbstractOptimizer
    fallback: AbstractOptimizer
    by: By = eqx.field(static=True)
    decay: float = eqx.field(static=True)
    restart: bool = eqx.field(static=True)

    def __init__(
        self,
        base: AbstractOptimizer,
        fallback: AbstractOptimizer,
        by: By = "loss",
        decay: float = 0.999,
        restart: bool = True,
    ):
        self.base, self.fallback, self.by, self.restart = base, fallback, by, restart
        self.decay = real("Guarded: decay", decay)

    def __check_init__(self):
        for name, opt in (("base", self.base), ("fallback", self.fallback)):
            if not isinstance(opt, AbstractOptimizer):
                raise ValueError(
                    f"Guarded: {name} is a {type(opt).__name__}, expected a steppe optimizer such "
                    'as steppe.zoo.build("ista").'
                )
        if self.by not in (known := get_args(By)):
            raise ValueError(f"Guarded: by is {self.by!r}, expected one of {known}.")
        if not 0 < self.decay < 1:
            raise ValueError(f"Guarded: decay must lie between 0 and 1, got {self.decay}.")

    @property
    def extra_gradients(self) -> int | None:
        """At z; by merit at z⁺ and the proposal; by residual what a step of the fallback from the
        proposal takes, where ISTA and FISTA take one of their own at x, too."""
        if self.by != "residual":
            return {"loss": 1, "merit": 2}[self.by]
        step = self.fallback.gradients_per_step
        return None if step is None else step + int(isinstance(self.fallback, ISTA | FISTA))

    def counts(self, state: GuardedState) -> dict[str, Int[Array, ""]]:
        """The proposals that were replaced so far."""
        return {"rejections": state.rejections}

    def init(self, params: Params, *, key: Key | None = None) -> GuardedState:
        params = tree.real(params, "Guarded")
        run = ((), ()) if self.by == "residual" else (self.fallback.init(params, key=key), params)
        slope = jtu.tree_map(jnp.zeros_like, params) if self.by == "merit" else ()
        zero = jnp.zeros((), jnp.int32)
        bound = jnp.zeros((), tree.working_dtype(params))
        return GuardedState(self.base.init(params, key=key), *run, slope, bound, zero, zero)

    def update(
        self,
        grads: Updates,
        state: GuardedState,
        params: Params,
        *,
        problem: Problem | None = None,
        key: Key | None = None,
        **extra,
    ) -> tuple[Updates, GuardedState]:
        if problem is None:
            raise ValueError(
                "Guarded judges by the problem that it solves, but update was given none. Run it "
                "in `unroll`, or give update(…, problem=Problem(task, instance, batch, key)); for "
                "gradients alone there is to_optax(opt, guard=…)."
            )
        ours, base = self.base.update(grads, state.base, params, problem=problem, key=key, **extra)
        proposal = tree.apply_updates(params, ours)
        judges = {"loss": self.by_loss, "merit": self.by_merit, "residual": self.by_residual}
        accepted, instead, (fallback, z, slope, bound) = judges[self.by](
            proposal, grads, state, params, problem, key
        )
        back = jtu.tree_map(jnp.subtract, instead, params)
        afresh = tree.cast_like(self.base.init(instead, key=key), state.base)
        goes_on = accepted if self.restart else accepted | tree.finite(base)
        return tree.select(accepted, ours, back), GuardedState(
            tree.select(goes_on, tree.cast_like(base, state.base), afresh),
            fallback,
            z,
            slope,
            bound,
            state.steps + 1,
            state.rejections + (~accepted).astype(jnp.int32),
        )

    def by_loss(
        self,
        proposal: Params,
        grads: Updates,
        state: GuardedState,
        params: Params,
        problem: Problem,
        key: Key | None,
    ) -> "Judged":
        """Compare with the next point of the fallback's own run."""
        loss = problem.loss()
        if isinstance(loss, Saddle):
            raise ValueError(
                f"Guarded: {type(problem.task).__name__} is a game, whose value tells nothing of a "
                "run; give by='merit' or by='residual'."
            )
        value, g = problem.value_and_grad(state.z)
        step, fallback = self.fallback.update(
            g, state.fallback, state.z, value=value, problem=problem, key=key
        )
        z = tree.apply_updates(state.z, step)
        accepted = not_above(loss(proposal), loss(z)) & tree.finite(proposal)
        return accepted, z, (tree.cast_like(fallback, state.fallback), z, (), state.bound)

    def by_merit(
        self,
        proposal: Params,
        grads: Updates,
        state: GuardedState,
        params: Params,
        problem: Problem,
        key: Key | None,
    ) -> "Judged":
        """Compare ‖∇F‖ with that at the next point of the fallback's own run."""
        g = tree.select(state.steps == 0, tree.cast_like(grads, params), state.slope)
        step, fallback = self.fallback.update(g, state.fallback, state.z, problem=problem, key=key)
        z = tree.apply_updates(state.z, step)
        slope = problem.grad(z)
        ours, theirs = tree.norm(problem.grad(proposal)), tree.norm(slope)
        accepted = not_above(ours, theirs) & tree.finite(proposal)
        return accepted, z, (tree.cast_like(fallback, state.fallback), z, slope, state.bound)

    def by_residual(
        self,
        proposal: Params,
        grads: Updates,
        state: GuardedState,
        params: Params,
        problem: Problem,
        key: Key | None,
    ) -> "Judged":
        """Compare the residual with its bound."""
        extra = {"problem": problem, "key": key}

        def moved(x: Params, g: Updates) -> Updates:
            return self.fallback.update(g, self.fallback.init(x, key=key), x, **extra)[0]

        step = moved(params, grads)
        here = tree.norm(step).astype(state.bound.dtype)
        bound = jnp.where(state.steps == 0, here, (state.bound + here) / 2)
        there = tree.norm(moved(proposal, problem.grad(proposal))).astype(bound.dtype)
        accepted = there <= self.decay * bound  # not where it is NaN
        return accepted, tree.apply_updates(params, step), ((), (), (), bound)


Judged = tuple[Bool[Array, ""], Params, tuple[OptState, Params, Updates, Scalar]]


def not_above(ours: Scalar, theirs: Scalar) -> Bool[Array, ""]:
    """True if a finite number is at most another, but for rounding, or that one is not finite."""
    rounding = ULPS * jnp.finfo(theirs.dtype).eps * jnp.abs(theirs)
    return ((ours <= theirs + rounding) | ~jnp.isfinite(theirs)) & jnp.isfinite(ours)
