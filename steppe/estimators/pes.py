"""PES: evolution strategies that remember, without the bias of short windows.

    g_k = (ε_1 + … + ε_k) (L_k⁺ − L_k⁻) / 2σ²

Each pair of runs keeps its two perturbed episodes from window to window, with a fresh ε in each,
and window k answers for all perturbations since the episode began: Σ_k g_k is an unbiased estimate
of the gradient of the smoothed loss of the *whole* episode, at the cost of one window a meta-step.

Vicol, Metz & Sohl-Dickstein, "Unbiased gradient estimation in unrolled computation graphs with
persistent evolution strategies", ICML 2021, algorithm 2 (antithetic).
"""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int, PyTree

from ..core import tree
from ..core.episode import Episode
from ..core.estimator import AbstractEstimator, Stats
from ..core.lanes import lanes_together, map_lanes
from ..core.objective import AbstractObjective
from ..core.optimizer import AbstractOptimizer, split_meta
from ..core.task import AbstractTask
from ..core.types import Key, Scalar
from .average import Lane, average
from .perturb import both, check, moved, normal_like, played, slope
from .windows import Window, open_windows, refresh


class Pair(eqx.Module):
    """Two perturbed runs of one episode, and the perturbations they have seen."""

    window: Window  # leading axis 2: θ + ε, θ − ε
    total: PyTree  # Σ ε since the episode began, in the structure of θ

    @property
    def episode(self) -> Episode:
        """Both runs, the last leading axis 2."""
        return self.window.episode


class PES(AbstractEstimator):
    """Persistent evolution strategies over windows of `length` of the `horizon` steps.

    `episodes` counts pairs. A gradient is that of the mean over an episode's windows, so it has
    the scale of the objective as `BPTT` has. Arguments are those of `ES`; θ is kept once a pair.
    """

    episodes: int = eqx.field(static=True)
    length: int = eqx.field(static=True)
    horizon: Int[Array, ""]
    sigma: Float[Array, ""]
    stagger: bool = eqx.field(static=True)
    together: int | None = eqx.field(static=True)

    def __init__(
        self,
        episodes: int = 8,
        length: int = 20,
        horizon: int | Int[Array, ""] = 100,
        *,
        sigma: float | Scalar = 0.01,
        stagger: bool = True,
        together: int | None = None,
    ):
        check("PES", episodes=episodes, length=length, horizon=horizon, sigma=sigma)
        self.episodes, self.length = episodes, length
        self.horizon = jnp.asarray(horizon, jnp.int32)
        self.sigma = jnp.asarray(sigma, jnp.result_type(float))
        self.stagger, self.together = stagger, together

    def init(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        objective: AbstractObjective,
        *,
        key: Key,
    ) -> Pair:
        windows = open_windows(
            task,
            opt,
            objective,
            key,
            episodes=self.episodes,
            length=self.length,
            horizon=self.horizon,
            stagger=self.stagger,
        )
        twice = jtu.tree_map(lambda x: jnp.stack([x, x], axis=1), windows)  # (episodes, 2, …)
        zero = lambda t: jnp.zeros((self.episodes, *t.shape), t.dtype)
        return Pair(twice, jtu.tree_map(zero, split_meta(opt)[0]))

    def __call__(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        state: Pair,
        objective: AbstractObjective,
        *,
        key: Key,
    ) -> tuple[PyTree, Pair, Stats]:
        arrays, static = eqx.partition((task, opt, objective, self), eqx.is_array)

        def one(arrays, lane):
            task, opt, objective, self = eqx.combine(arrays, static)
            return self._pair(task, opt, objective, *lane)

        n = tree.size(state.window.episode.params) // (2 * self.episodes)
        together = self.together or lanes_together(n)
        xs = (state, jr.split(key, self.episodes))
        state, lanes = map_lanes(one, arrays, xs, batch_size=together)
        grads, stats = average(lanes, inner_steps=2 * self.length * self.episodes)
        return grads, state, stats

    def _pair(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        objective: AbstractObjective,
        pair: Pair,
        key: Key,
    ) -> tuple[Pair, Lane]:
        key_reset, key_eps, key_score = jr.split(key, 3)
        eps = normal_like(split_meta(opt)[0], self.sigma, key_eps)

        def side(sign: Scalar, window: Window):
            opt_side = moved(opt, eps, sign)
            begun, over = refresh(task, opt_side, objective, window, key_reset, self.horizon)
            score, after = played(task, opt_side, begun, objective, self.length, key_score)
            return score.value, score.parts, after, over

        losses, parts, after, overs = both(side, pair.window)
        over = overs[0]  # the two have the same age
        before = jtu.tree_map(lambda t: jnp.where(over, jnp.zeros_like(t), t), pair.total)
        total = tree.add(before, eps)
        loss, grads = jnp.mean(losses), slope(total, losses, self.sigma)
        fine = jnp.isfinite(loss) & tree.finite((grads, after.episode.params))
        after = Window(after.episode, after.memo, jnp.where(fine, after.left, 0))
        parts = jtu.tree_map(lambda part: jnp.mean(part, axis=0), parts)
        return Pair(after, total), Lane(loss, parts, grads, fine, over)
