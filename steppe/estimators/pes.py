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
from ..core.objective import AbstractObjective
from ..core.optimizer import AbstractOptimizer, split_meta
from ..core.task import AbstractTask
from ..core.types import Key, Scalar
from ..core.window import Window, score
from .es import antithetic, check_sigma, es_gradient, normal_like, perturbed
from .windows import AbstractWindowed, Lane, Windows, finished_unless


class Pair(eqx.Module):
    """Two perturbed runs of one episode, and the perturbations they have seen."""

    window: Window  # leading axis 2: θ + ε, θ − ε
    total: PyTree  # Σ ε since the episode began, in the structure of θ

    @property
    def episode(self) -> Episode:
        """Both runs, the last leading axis 2."""
        return self.window.episode


class PES(AbstractWindowed):
    """Persistent evolution strategies over windows of `length` of the `horizon` steps.

    `episodes` counts pairs. A gradient is that of the mean over an episode's windows, so it has
    the scale of the objective as `BPTT` has. Arguments are those of `ES`; θ is kept once a pair.
    """

    windows: Windows
    sigma: Float[Array, ""]

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
        check_sigma("PES", sigma)
        self.windows = Windows(episodes, length, horizon, stagger, together, owner="PES")
        self.sigma = jnp.asarray(sigma, jnp.result_type(float))

    def init(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        objective: AbstractObjective,
        *,
        key: Key,
    ) -> Pair:
        windows = self.windows.open(task, opt, objective, key=key)
        twice = jtu.tree_map(lambda x: jnp.stack([x, x], axis=1), windows)  # (episodes, 2, …)
        zero = lambda t: jnp.zeros((self.windows.episodes, *t.shape), t.dtype)
        return Pair(twice, jtu.tree_map(zero, split_meta(opt)[0]))

    def lane(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        objective: AbstractObjective,
        state: Pair,
        key: Key,
    ) -> tuple[Pair, Lane]:
        key_reset, key_eps, key_score = jr.split(key, 3)
        eps = normal_like(split_meta(opt)[0], self.sigma, key_eps)
        length = self.windows.length

        def side(sign: Scalar, window: Window) -> tuple:
            here = perturbed(opt, eps, sign)
            window, reset = self.windows.refresh(task, here, objective, window, key=key_reset)
            found, after = score(task, here, window, objective, length, key=key_score)
            return found.value, found.parts, after, reset

        losses, parts, after, resets = antithetic(side, state.window)
        reset = resets[0]  # the two have the same age
        before = jtu.tree_map(lambda t: jnp.where(reset, jnp.zeros_like(t), t), state.total)
        total = tree.add(before, eps)
        loss, grads = jnp.mean(losses), es_gradient(total, losses, self.sigma)
        finite = jnp.isfinite(loss) & tree.finite((grads, after.episode.params))
        parts = jtu.tree_map(lambda part: jnp.mean(part, axis=0), parts)
        lane = Lane(loss, parts, grads, finite, reset, 2 * length)
        return Pair(finished_unless(finite, after), total), lane
