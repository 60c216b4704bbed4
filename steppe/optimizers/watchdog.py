"""Watchdog: a second rule takes over where the first makes no progress. Sees gradients alone.

The base leads for turns of `window` steps. Two sums over a turn tell how it goes:

    gain  = −Σ ½⟨g_t + g_{t+1}, θ_{t+1} − θ_t⟩     fall of the loss, as an integral of its gradient
    offer = −Σ ⟨g_t, update of the fallback⟩       fall that the fallback would begin with

- The way back. Where a turn ends with gain < 0, or at some step the loss has risen by more than the
  fallback offers in a turn and the last turn gained, or a gradient is not finite: return to where
  the turn began, and let the fallback lead.
- No progress. Where gain < share · offer in `patience` turns in a row: let the fallback lead.
- Refusal. Where an update is not finite, or leads farther than reach · (1 + max |θ|) from where the
  turn began: let the fallback make this one, and lead.

After its k-th dismissal the base waits for 2^k turns, begins afresh and is tried again.

Chamberlain, Powell, Lemaréchal & Pedersen, "The watchdog technique for forcing convergence in
algorithms for constrained optimization", Mathematical Programming Study 16, 1982: for methods whose
single steps need not go downhill. Departure: an integral takes the place of values of the loss,
since optimizers in training are handed none.

**Proof and its limits.** The integral is the change of the loss but for an error of third order in
each step. As far as that is small, no turn of the base leaves the loss higher than it was, and
within a turn it rises by one turn of progress at most. Waits double: of T steps all but
window · log₂(T / window) belong to the fallback once the base has no more to give. So where the
fallback comes to a minimum from every point below the start, the two of them do.
On mini-batches the integral flatters a rule that follows the noise of its own batch: such a base is
dismissed late, and one that goes round in circles at the level of the noise is not.
"""

import dataclasses
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Int, PyTree

from ..core import tree
from ..core.measure import check_count, check_not_negative, check_positive
from ..core.optimizer import AbstractOptimizer
from ..core.types import Key, OptState, Params, Scalar, Updates

LONGEST = 30  # bits of the count of a wait, which has 32
WAY_BACK = 3  # steps: each rounds by a little of the distance that it goes


class Turn(eqx.Module):
    """Whose turn it is, and what is known of it. Two floats a parameter."""

    anchor: Params  # where it began
    moved: Updates  # by the last update
    slope: Scalar  # ⟨g, moved⟩ with the gradient before that update
    gain: Scalar
    offer: Scalar
    usual: Scalar  # gain or offer of a step of the last turn, the larger
    leads: Bool[Array, ""]  # the base does
    step: Int[Array, ""]  # updates made in it
    back: Int[Array, ""]  # steps left of the way back
    poor: Int[Array, ""]  # turns without progress in a row

    def best(self) -> Scalar:
        """Gain or offer of a step, the larger, not below 0."""
        steps = jnp.maximum(self.step, 1).astype(self.gain.dtype)
        most = jnp.maximum(self.gain, self.offer) / steps
        return jnp.where(jnp.isfinite(most), jnp.maximum(most, 0), jnp.zeros_like(most))


class WatchdogState(eqx.Module):
    base: OptState
    fallback: OptState
    turn: Turn
    dismissals: Int[Array, ""]


class Watchdog(AbstractOptimizer):
    """`base`, or `fallback` where it makes no progress. State: theirs and two floats a parameter.

    - `window`: steps of a turn
    - `share`: progress that is asked of the base, as a share of what the fallback offers
    - `patience`: turns below that share, after which the base is dismissed
    - `reach`: distance that a turn may go, in units of 1 + the largest parameter
    """

    base: AbstractOptimizer
    fallback: AbstractOptimizer
    window: int = eqx.field(static=True)
    share: float = eqx.field(static=True)
    patience: int = eqx.field(static=True)
    reach: float = eqx.field(static=True)

    def __init__(
        self,
        base: AbstractOptimizer,
        fallback: AbstractOptimizer,
        window: int = 100,
        share: float = 0.1,
        patience: int = 2,
        reach: float = 100.0,
    ):
        self.base, self.fallback = base, fallback
        self.window, self.share, self.patience, self.reach = window, share, patience, reach

    def __check_init__(self):
        check_count("Watchdog", "window", self.window, least=2)
        check_count("Watchdog", "patience", self.patience)
        check_not_negative("Watchdog", "share", self.share, "At 0 any fall will do.")
        check_positive("Watchdog", "reach", self.reach, "It bounds the distance of a turn.")
        for name, opt in (("base", self.base), ("fallback", self.fallback)):
            if not isinstance(opt, AbstractOptimizer):
                raise ValueError(
                    f"Watchdog: {name} is a {type(opt).__name__}, expected a steppe optimizer such "
                    'as steppe.zoo.build("adam", lr=1e-3).'
                )

    def counts(self, state: WatchdogState) -> dict[str, Int[Array, ""]]:
        """The dismissals of the base so far."""
        return {"dismissals": state.dismissals}

    def init(self, params: Params, *, key: Key | None = None) -> WatchdogState:
        params = tree.real(params, "Watchdog")
        zero, count = jnp.zeros((), tree.working_dtype(params)), jnp.zeros((), jnp.int32)
        turn = Turn(
            anchor=params,
            moved=jtu.tree_map(jnp.zeros_like, params),
            slope=zero,
            gain=zero,
            offer=zero,
            usual=zero,
            leads=jnp.ones((), bool),
            step=count,
            back=count,
            poor=count,
        )
        return WatchdogState(
            self.base.init(params, key=key), self.fallback.init(params, key=key), turn, count
        )

    def update(
        self,
        grads: Updates,
        state: WatchdogState,
        params: Params,
        *,
        key: Key | None = None,
        lr: float | Scalar = 1.0,
        **extra,
    ) -> tuple[Updates, WatchdogState]:
        """See `AbstractOptimizer`.

        - `lr`: multiplies the updates of both rules, and not the way back
        """
        sound = tree.finite(grads)
        g = _where(sound, grads)
        theirs, fallback = self.fallback.update(g, state.fallback, params, key=key, **extra)
        theirs = tree.rescale(lr, theirs)
        turn = _account(state.turn, g, theirs)
        verdict = self.judge(turn, sound, state.dismissals)
        anchor = tree.select(verdict.begins, params, turn.anchor)
        home = verdict.returns | (turn.back > 0)

        def propose() -> tuple[Updates, OptState]:
            fresh = lambda: tree.cast_like(self.base.init(params, key=key), state.base)
            start = jax.lax.cond(verdict.resumes, fresh, lambda: state.base)
            updates, base = self.base.update(g, start, params, key=key, **extra)
            return tree.rescale(lr, updates), tree.cast_like(base, state.base)

        rest = lambda: (jtu.tree_map(jnp.zeros_like, params), state.base)
        ours, base = jax.lax.cond(verdict.leads & ~home, propose, rest)
        leads = verdict.leads & self.admissible(ours, params, anchor)
        dismissed = verdict.dismissed | (verdict.leads & ~leads)

        back = jtu.tree_map(jnp.subtract, anchor, params)
        updates = tree.select(home, back, tree.select(leads, ours, _where(sound, theirs)))
        # Gradients from where the base went astray would slow the fallback down for long.
        fresh = tree.cast_like(self.fallback.init(params, key=key), state.fallback)
        fallback = tree.select(home, fresh, tree.select(sound, fallback, state.fallback))
        moved = jtu.tree_map(jnp.subtract, tree.apply_updates(params, updates), params)
        moved = _where(~home, moved)
        afresh = verdict.begins | dismissed
        kept = lambda x: jnp.where(afresh | home, jnp.zeros_like(x), x)  # of this turn
        turn = Turn(
            anchor=anchor,
            moved=moved,
            slope=tree.dot(g, moved).astype(turn.slope.dtype),
            gain=kept(turn.gain),
            offer=kept(turn.offer),
            usual=jnp.where(afresh, turn.best(), turn.usual),
            leads=leads,
            step=jnp.where(home, 0, kept(turn.step) + 1),
            back=jnp.where(verdict.returns, WAY_BACK - 1, jnp.maximum(turn.back - 1, 0)),
            poor=jnp.where(dismissed, 0, verdict.poor),
        )
        after = WatchdogState(base, fallback, turn, state.dismissals + dismissed.astype(jnp.int32))
        return updates, tree.cast_like(after, state)

    def judge(self, turn: Turn, sound: Bool[Array, ""], dismissals: Int[Array, ""]) -> "Verdict":
        """Decide who makes the next update.

        - `sound`: the gradient is finite
        - `dismissals`: how often the base has been dismissed
        """
        doublings = jnp.minimum(dismissals, max(0, LONGEST - int(self.window).bit_length()))
        wait = 2**doublings
        over = (turn.back == 0) & (turn.step >= self.window * jnp.where(turn.leads, 1, wait))
        rise = -turn.gain
        limit = self.window * jnp.maximum(turn.best(), turn.usual)
        sank = turn.leads & (~sound | ~jnp.isfinite(rise) | (rise > limit))
        ended = turn.leads & over & ~sank
        slow = turn.gain < self.share * turn.offer
        poor = jnp.where(ended, jnp.where(slow, turn.poor + 1, 0), turn.poor)
        returns = sank | (ended & (rise > 0))
        dismissed = returns | (ended & (poor >= self.patience))
        resumes = ~turn.leads & over
        return Verdict(
            leads=(turn.leads & ~dismissed) | resumes,
            begins=(ended & ~dismissed) | resumes,
            resumes=resumes,
            returns=returns,
            dismissed=dismissed,
            poor=poor,
        )

    def admissible(self, updates: Updates, params: Params, anchor: Params) -> Bool[Array, ""]:
        """True for updates that are finite and stay near enough to where the turn began."""
        ahead = jtu.tree_map(jnp.subtract, tree.apply_updates(params, updates), anchor)
        return _largest(ahead) <= self.reach * (1 + _largest(anchor))  # not where it is NaN


class Verdict(NamedTuple):
    """The next turn."""

    leads: Bool[Array, ""]  # the base
    begins: Bool[Array, ""]  # a turn of the base
    resumes: Bool[Array, ""]  # … after its wait
    returns: Bool[Array, ""]  # to where the last one began
    dismissed: Bool[Array, ""]
    poor: Int[Array, ""]


def _account(turn: Turn, g: Updates, theirs: Updates) -> Turn:
    """The sums with the gradient at which the last update arrived."""
    dtype = turn.gain.dtype
    fall = -0.5 * (turn.slope + tree.dot(g, turn.moved).astype(dtype))
    offer = turn.offer - tree.dot(g, theirs).astype(dtype)
    known = jnp.where(jnp.isfinite(offer), offer, turn.offer)
    return dataclasses.replace(turn, gain=turn.gain + fall, offer=known)


def _largest(x: PyTree) -> Scalar:
    """max |entry|; NaN if one is."""
    tops = [jnp.max(jnp.abs(leaf), initial=0) for leaf in jtu.tree_leaves(x)]
    dtype = tree.working_dtype(x)
    return jnp.max(jnp.stack([jnp.zeros((), dtype), *(top.astype(dtype) for top in tops)]))


def _where(holds: Bool[Array, ""], x: PyTree) -> PyTree:
    """x, or zeros."""
    return tree.select(holds, x, jtu.tree_map(jnp.zeros_like, x))
