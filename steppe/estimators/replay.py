"""The meta-gradient of a coordinatewise rule, coordinate by coordinate.

In first-order mode the gradients handed to the rule are constants. Given them, the
n coordinates are independent runs of one small network, tied only through θ:

    dL/dθ = Σ_i Σ_t λ_{t,i} · ∂u_{t,i}/∂θ,      λ_t = dL/du_t

1. *Play*: one unroll with θ stopped records the gradients g and, through `nudges`,
   the cotangents λ. No activation of the network is kept, only 2·T·n numbers.
2. *Replay*: the rule runs again on (g_i), block of coordinates after block, with θ
   live, and each run is pulled back with its own λ_i. A block stays in cache from
   its first step to its last.

The sum over i may run over all coordinates (exact), or over k sampled ones weighted
by their inverse inclusion probability (unbiased). λ is known by then, and a
coordinate's share is linear in λ_i, so sampling in proportion to ‖λ_i‖ is close to
the best there is, and never draws a dead pixel.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int, PyTree

from ..core import tree
from ..core.coordinatewise import (
    AbstractCoordinatewise,
    CoordinateState,
    from_blocks,
    to_blocks,
)
from ..core.episode import Episode, unroll
from ..core.objective import AbstractObjective
from ..core.optimizer import AbstractOptimizer, join_meta, split_meta
from ..core.task import AbstractTask
from ..core.types import Key, Memo, OptState, Params, Scalar, Updates

BLOCK = 512  # rows replayed at once on a CPU; see docs/speed.md


class Recorded(AbstractOptimizer):
    """`base`, keeping the gradients it was handed last in its state."""

    base: AbstractOptimizer

    def init(self, params: Params, *, key: Key | None = None) -> tuple[OptState, Updates]:
        return self.base.init(params, key=key), jtu.tree_map(jnp.zeros_like, params)

    def update(
        self, grads: Updates, state: tuple[OptState, Updates], params: Params, **extra
    ) -> tuple[Updates, tuple[OptState, Updates]]:
        updates, base = self.base.update(grads, state[0], params, **extra)
        return updates, (base, grads)


def play(
    task: AbstractTask,
    opt: AbstractCoordinatewise,
    episode: Episode,
    objective: AbstractObjective,
    memo: Memo,
    length: int,
    key: Key,
) -> tuple[Scalar, Episode, Float[Array, "length n"], Float[Array, "length n"]]:
    """Unroll with θ stopped. Returns the loss, the episode after, all g and all λ."""
    recorded = Recorded(_frozen(opt))
    params = episode.params
    wrapped = _with_state(episode, (episode.opt_state, jtu.tree_map(jnp.zeros_like, params)))

    def score(nudges: Updates) -> tuple[Scalar, tuple[Episode, Updates]]:
        def observe(problem, before, after, value, key):
            return objective.observe(problem, before, after, value, memo, key=key), (
                after.opt_state[1]
            )

        after, (obs, grads) = unroll(task, recorded, wrapped, length, observe, nudges=nudges)
        return objective(task, after, obs, memo, key=key), (after, grads)

    zeros = jtu.tree_map(lambda p: jnp.zeros((length, *p.shape), p.dtype), params)
    (loss, (after, grads)), cotangents = jax.value_and_grad(score, has_aux=True)(zeros)
    dtype = opt.dtype(params)
    flat = jax.vmap(lambda x: tree.ravel(x, dtype)[0])
    return loss, _with_state(after, after.opt_state[0]), flat(grads), flat(cotangents)


def replay(
    opt: AbstractCoordinatewise,
    state: CoordinateState,
    g: Float[Array, "length n"],
    lam: Float[Array, "length n"],
) -> PyTree:
    """Σ over all given rows of the pulled-back λ: a gradient in the structure of θ.

    `state.rows` must hold exactly n rows (no padding): (features…, n).
    """
    theta, rest = split_meta(opt)
    block = BLOCK if jax.default_backend() == "cpu" else max(g.shape[-1], 1)

    def pull(theta: PyTree, rows: PyTree, g: Array, lam: Array) -> Scalar:
        rule = join_meta(theta, rest)

        def step(carry, g):
            rows, count = carry
            u, rows = rule.advance(g, rows, count + 1)
            return (rows, count + 1), u

        _, u = jax.lax.scan(jax.checkpoint(step), (rows, state.count), g)
        return jnp.vdot(u, lam)

    def add_block(total: PyTree, xs: tuple) -> tuple[PyTree, None]:
        return tree.add(total, jax.grad(pull)(theta, *xs)), None

    zeros = jtu.tree_map(jnp.zeros_like, theta)
    blocks = jtu.tree_map(lambda x: to_blocks(x, block), (state.rows, g, lam))
    if g.shape[-1] <= block:
        return add_block(zeros, jtu.tree_map(lambda x: x[0], blocks))[0]
    return jax.lax.scan(add_block, zeros, blocks)[0]


def all_rows(state: CoordinateState, n: int) -> CoordinateState:
    """The state with blocks joined and padding cut off: rows (features…, n)."""
    return CoordinateState(state.count, jtu.tree_map(lambda leaf: from_blocks(leaf, n), state.rows))


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
    episode: Episode,
    objective: AbstractObjective,
    memo: Memo,
    *,
    length: int,
    rows: int | None,
    key: Key,
) -> tuple[Scalar, Episode, PyTree]:
    """Loss, episode after `length` steps, and the first-order meta-gradient.

    `rows=None` sums over all coordinates, a number over so many sampled ones. The
    loss and the episode are the same to the last bit either way.
    """
    key_objective, key_rows = jr.split(key)
    loss, after, g, lam = play(task, opt, episode, objective, memo, length, key_objective)
    n = g.shape[-1]
    state = all_rows(episode.opt_state, n)
    if rows is not None and rows < n:
        index, weight = sample_rows(jnp.sqrt(jnp.sum(lam**2, axis=0)), rows, key_rows)
        state, g, lam = take_rows(state, index), g[:, index], lam[:, index] * weight[None]
    return loss, after, replay(opt, state, g, lam)


def _with_state(episode: Episode, opt_state: OptState) -> Episode:
    return eqx.tree_at(lambda e: e.opt_state, episode, opt_state, is_leaf=lambda x: x is None)


def _frozen(opt: AbstractOptimizer) -> AbstractOptimizer:
    theta, rest = split_meta(opt)
    return join_meta(jax.lax.stop_gradient(theta), rest)
