"""The meta-gradient of a coordinatewise rule, coordinate by coordinate.

In first-order mode the gradients handed to the rule are constants. Given them, the
n coordinates are independent runs of one small network, tied only through θ:

    dL/dθ = Σ_i Σ_t λ_{t,i} · ∂u_{t,i}/∂θ,      λ_t = dL/du_t

1. *Record*: one unroll records the gradients g and, through `nudges`,
   the cotangents λ. No activation of the network is kept.
2. *Replay*: block of coordinates after block, the rule runs again on (g_i) and is
   pulled back with its own λ_i. A block stays in cache from its first step to its
   last. (If all coordinates are wanted and memory allows, recording keeps the states it
   passes through, and only the pull back is left to do.)

The sum over i may run over all coordinates (exact), or over k sampled ones weighted
by their inverse inclusion probability (unbiased). λ is known by then, and a
coordinate's share is linear in λ_i, so sampling in proportion to ‖λ_i‖ is close to
the best there is, and never draws a dead pixel.
"""

import typing
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int, PyTree

from ..core import tree
from ..core.backend import KEPT_BYTES, replay_block
from ..core.coordinatewise import (
    AbstractCoordinatewise,
    CoordinateState,
    Inputs,
    Rows,
    joined,
    to_blocks,
)
from ..core.episode import Step
from ..core.objective import AbstractObjective, Score
from ..core.optimizer import AbstractOptimizer, join_meta, split_meta
from ..core.task import AbstractTask
from ..core.types import Key, OptState, Params, Scalar, Updates
from ..core.window import Window, score_and_record


class Recorded(AbstractOptimizer):
    """`base`, keeping the row inputs of the last step in its state."""

    base: AbstractCoordinatewise

    def init(self, params: Params, *, key: Key | None = None) -> tuple[OptState, Inputs]:
        return self.base.init(params, key=key), self.no_inputs(params)

    def update(
        self, grads: Updates, state: tuple[OptState, Inputs], params: Params, **extra
    ) -> tuple[Updates, tuple[OptState, Inputs]]:
        updates, base = self.base.update(grads, state[0], params, **extra)
        return updates, (base, self.base.row_inputs(grads, params, extra))

    def no_inputs(self, params: Params) -> Inputs:
        """Zeros, before the first step."""
        zeros = jtu.tree_map(jnp.zeros_like, params)
        return self.base.row_inputs(zeros, zeros, dict.fromkeys(self.base.asks, zeros))


class Recording(NamedTuple):
    """One window, and what to replay."""

    score: Score
    window: Window  # after it
    inputs: Inputs  # of every step: g, and what else the rule asks for, (length, n) each
    lam: Float[Array, "length n"]  # λ, the cotangents of the updates
    rows: PyTree | None  # the optimizer's state before every step, where it was kept


def record(
    task: AbstractTask,
    opt: AbstractCoordinatewise,
    window: Window,
    objective: AbstractObjective,
    length: int,
    key: Key,
    *,
    keep: bool = False,
) -> Recording:
    """Score a window, and keep what the rule is replayed on.

    With `keep` also the rows of the optimizer's state before every step (leading axis length).
    """
    recorded = Recorded(opt)
    params, state = window.episode.params, window.episode.opt_state
    wrapped = _with_state(window, (state, recorded.no_inputs(params)))

    def look(step: Step) -> tuple[Inputs, PyTree | None]:
        return step.after.opt_state[1], step.before.opt_state[0].rows if keep else None

    def value(nudges: Updates) -> tuple[Scalar, tuple]:
        found = score_and_record(
            task, recorded, wrapped, objective, length, look, key=key, nudges=nudges
        )
        return found[0].value, found

    zeros = jtu.tree_map(lambda p: jnp.zeros((length, *p.shape), p.dtype), params)
    (_, found), cotangents = jax.value_and_grad(value, has_aux=True)(zeros)
    score, after, (inputs, rows) = found
    dtype = opt.dtype(params)
    flat = jax.vmap(lambda x: tree.ravel(x, dtype)[0])
    after = _with_state(after, after.episode.opt_state[0])
    return Recording(score, after, inputs, flat(cotangents), rows)


def replay(
    opt: AbstractCoordinatewise,
    state: CoordinateState,
    inputs: Inputs,
    lam: Float[Array, "length n"],
) -> PyTree:
    """Σ over all given rows of the pulled-back λ: a gradient in the structure of θ.

    `state.rows` must hold exactly n rows (no padding): (features…, n).
    """
    block = replay_block(lam.shape[-1])

    def add_block(total: PyTree, xs: tuple) -> tuple[PyTree, None]:
        start, inputs, lam = xs

        def step(rows, x):
            inputs, count = x
            return opt.advance(inputs, rows, count)[1], rows

        counts = _counts(state, len(lam))
        _, rows = jax.lax.scan(step, start, (inputs, counts))
        at = lambda t: jtu.tree_map(lambda leaf: leaf[t], rows)
        return tree.add(total, pull_back(opt, at, inputs, lam, counts)), None

    zeros = jtu.tree_map(jnp.zeros_like, split_meta(opt)[0])
    xs = jtu.tree_map(lambda x: to_blocks(x, block), (state.rows, inputs, lam))
    return jax.lax.scan(add_block, zeros, xs)[0]


def replay_kept(
    opt: AbstractCoordinatewise,
    state: CoordinateState,
    rows: PyTree[Float[Array, "length blocks ... block"]],
    inputs: Inputs,
    lam: Float[Array, "length n"],
    params: Params,
) -> PyTree:
    """`replay` from the rows that `record` kept, in the blocks of the optimizer's state."""
    if opt.elementwise:
        before = lambda t: joined(opt, jtu.tree_map(lambda leaf: leaf[t], rows), params)
        return pull_back(opt, before, inputs, lam, _counts(state, len(lam)))
    block = opt.block_of(lam.shape[-1])
    inputs, lam = jtu.tree_map(lambda x: to_blocks(x, block), (inputs, lam))
    counts = _counts(state, lam.shape[1])

    def add_block(total: PyTree, b: Int[Array, ""]) -> tuple[PyTree, None]:
        at = lambda t: jtu.tree_map(lambda leaf: leaf[t, b], rows)
        here = jtu.tree_map(lambda x: x[b], inputs)
        return tree.add(total, pull_back(opt, at, here, lam[b], counts)), None

    zeros = jtu.tree_map(jnp.zeros_like, split_meta(opt)[0])
    return jax.lax.scan(add_block, zeros, jnp.arange(len(lam)))[0]


def pull_back(
    opt: AbstractCoordinatewise,
    before: Callable[[Int[Array, ""]], Rows],
    inputs: Inputs,
    lam: Float[Array, "length block"],
    counts: Int[Array, " length"],
) -> PyTree:
    """Back-propagation through time of one block; `before(t)` is its state before step t."""
    theta, rest = split_meta(opt)
    live = lambda theta: typing.cast(AbstractCoordinatewise, join_meta(theta, rest))

    def back(carry: tuple[PyTree, PyTree], x: tuple) -> tuple[tuple[PyTree, PyTree], None]:
        total, later = carry  # dL/dθ of the steps after this one, dL/d(state after it)
        t, inputs, lam, count = x
        advance = lambda theta, rows: live(theta).advance(inputs, rows, count)
        _, pull = jax.vjp(advance, theta, before(t))
        here, earlier = pull((lam, later))
        return (tree.add(total, here), earlier), None

    steps = jnp.arange(len(lam))
    last = jtu.tree_map(jnp.zeros_like, before(steps[0]))
    zeros = jtu.tree_map(jnp.zeros_like, theta)
    return jax.lax.scan(back, (zeros, last), (steps, inputs, lam, counts), reverse=True)[0][0]


def _counts(state: CoordinateState, length: int) -> Int[Array, " length"]:
    return state.count + jnp.arange(1, length + 1, dtype=state.count.dtype)


def all_rows(
    opt: AbstractCoordinatewise, state: CoordinateState, params: Params
) -> CoordinateState:
    """The state with blocks joined and padding cut off: rows (features…, n)."""
    return CoordinateState(state.count, joined(opt, state.rows, params))


def take_rows(state: CoordinateState, index: Int[Array, " k"]) -> CoordinateState:
    return CoordinateState(state.count, jtu.tree_map(lambda leaf: leaf[..., index], state.rows))


def sample_rows(
    scores: Float[Array, " n"], k: int, key: Key
) -> tuple[Int[Array, " k"], Float[Array, " k"]]:
    """k rows drawn with expected count ∝ min(score, cap), and the weight 1/(expected count).

    Systematic sampling (Madow 1949): k evenly spaced ticks with one random offset on
    the cumulated scores. Rows come in the order of the tensors, so it is stratified
    by tensor by itself. Rows that would be drawn more than once are capped to once,
    and their share goes to the others. Σ weight·x[index] is unbiased for Σ x whenever
    a zero score means a zero x.
    """
    n = scores.shape[0]
    scores = jnp.where(jnp.sum(scores) > 0, scores, 1.0)
    expected = scores * (k / jnp.sum(scores))
    for _ in range(4):  # water-filling: what the capped rows leave goes to the others
        capped = expected >= 1
        room = k - jnp.sum(capped)
        free = jnp.sum(jnp.where(capped, 0.0, scores))
        expected = jnp.where(capped, 1.0, scores * (room / jnp.where(free > 0, free, 1.0)))
    cumulated = jnp.cumsum(expected)
    total = cumulated[-1]
    ticks = (jnp.arange(k) + jr.uniform(key, dtype=scores.dtype)) * (total / k)
    index = jnp.clip(jnp.searchsorted(cumulated, ticks, side="right"), 0, n - 1)
    chance = expected[index] * (k / total)
    weight = jnp.where(chance > 0, 1 / jnp.where(chance > 0, chance, 1.0), 0.0)
    # A score that is not finite must not vanish because its row was not drawn.
    return index, jnp.where(jnp.isfinite(total), weight, jnp.nan)


def replay_gradient(
    task: AbstractTask,
    opt: AbstractCoordinatewise,
    window: Window,
    objective: AbstractObjective,
    *,
    length: int,
    rows: int | None,
    remat: bool | None,
    key: Key,
) -> tuple[Score, Window, PyTree]:
    """Score, window after `length` steps, and the first-order meta-gradient.

    - `rows`: None sums over all coordinates, a number over so many sampled ones. The score and the
      window are the same to the last bit either way
    - `remat`: run the rule again where its recorded states could have been kept; None: where they
      would take more than KEPT_BYTES an episode
    """
    key_objective, key_rows = jr.split(key)
    params, state = window.episode.params, window.episode.opt_state
    n = tree.size(params)
    sampled = n if rows is None else min(rows, n)
    exact = sampled == n
    if remat is None:
        leaves = jtu.tree_leaves(state.rows)
        remat = length * sum(leaf.size * leaf.dtype.itemsize for leaf in leaves) > KEPT_BYTES
    score, after, inputs, lam, kept = record(
        task, opt, window, objective, length, key_objective, keep=exact and not remat
    )
    if kept is not None:
        return score, after, replay_kept(opt, state, kept, inputs, lam, params)
    state = all_rows(opt, state, params)
    if not exact:
        index, weight = sample_rows(jnp.sqrt(jnp.sum(lam**2, axis=0)), sampled, key_rows)
        state, lam = take_rows(state, index), lam[:, index] * weight[None]
        inputs = jtu.tree_map(lambda x: x[:, index], inputs)
    return score, after, replay(opt, state, inputs, lam)


def _with_state(window: Window, opt_state: OptState) -> Window:
    return eqx.tree_at(
        lambda w: w.episode.opt_state, window, opt_state, is_leaf=lambda x: x is None
    )
