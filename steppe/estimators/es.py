"""ES and PES: slopes of the objective along random directions of θ; nothing is differentiated.

    g = ε (L(θ + ε) − L(θ − ε)) / 2σ²,   ε ~ N(0, σ²I)

is an unbiased estimate of the gradient of the smoothed E L(θ + ε) (Salimans, Ho, Chen, Sidor &
Sutskever, "Evolution strategies as a scalable alternative to reinforcement learning", 2017).
L is the score of one window of `length` steps, so for length < horizon it is biased as truncated
BPTT is: it does not see what an update of this window does to later ones. With `length` equal to
the `horizon` every window is a whole episode, and the estimate is that of the whole horizon.

PES remembers, and has no bias of short windows:

    g_k = (ε_1 + … + ε_k) (L_k⁺ − L_k⁻) / 2σ²

Each pair of runs keeps its two perturbed episodes from window to window, with a fresh ε in each,
and window k answers for all perturbations since the episode began: Σ_k g_k is an unbiased estimate
of the gradient of the smoothed loss of the *whole* episode, at the cost of one window a meta-step
(Vicol, Metz & Sohl-Dickstein, "Unbiased gradient estimation in unrolled computation graphs with
persistent evolution strategies", ICML 2021, algorithm 2, antithetic).

Both take antithetic pairs, g = δ (L(θ + ε) − L(θ − ε)) / 2σ² with δ = ε in ES, and δ the sum of all
ε since the episode began in PES. Both runs of a pair draw the same numbers, so that their losses
differ by ε alone.
"""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jax.core import Tracer
from jaxtyping import Array, Float, Int, PyTree

from ..core import tree
from ..core.episode import Episode
from ..core.messages import reals
from ..core.objective import AbstractObjective, Score
from ..core.optimizer import AbstractOptimizer, join_meta, split_meta
from ..core.task import AbstractTask
from ..core.types import Key, Scalar
from ..core.window import Window, score
from .windows import AbstractWindowed, Lane, Windows, finished_unless

SIGNS = (1.0, -1.0)


def normal_like(theta: PyTree, sigma: Scalar, key: Key) -> PyTree:
    """ε ~ N(0, σ²I) in the structure, shapes and dtypes of θ."""
    leaves, structure = jtu.tree_flatten(theta)
    keys = jr.split(key, max(len(leaves), 1))
    noise = [
        sigma.astype(leaf.dtype) * jr.normal(k, leaf.shape, leaf.dtype)
        for leaf, k in zip(leaves, keys, strict=False)
    ]
    return jtu.tree_unflatten(structure, noise)


def perturbed(opt: AbstractOptimizer, eps: PyTree, sign: Scalar) -> AbstractOptimizer:
    """The optimizer at θ + sign · ε."""
    theta, rest = split_meta(opt)
    step = jtu.tree_map(lambda t, e: t + sign.astype(t.dtype) * e, theta, eps)
    return join_meta(step, rest)


def antithetic(f: Callable[[Scalar, PyTree], PyTree], xs: PyTree) -> PyTree:
    """f(+1, x₊) and f(−1, x₋), stacked.

    One after the other: two θ side by side would be products of batched weights.
    """
    return jax.lax.map(lambda pair: f(*pair), (jnp.array(SIGNS), xs))


def es_gradient(delta: PyTree, losses: Float[Array, "2"], sigma: Scalar) -> PyTree:
    """δ (L⁺ − L⁻) / 2σ²"""
    return tree.scale((losses[0] - losses[1]) / (2 * sigma.astype(losses.dtype) ** 2), delta)


def check_sigma(owner: str, sigma: float | Scalar) -> None:
    reals(owner, finite=False, sigma=sigma)
    if not isinstance(sigma, Tracer) and not 0 < sigma < math.inf:
        raise ValueError(f"{owner}: sigma must be positive, got {sigma}.")


class ES(AbstractWindowed):
    """Antithetic evolution strategies over windows of `length` steps.

    - `episodes`: pairs of perturbed runs, each pair from one episode in flight
    - `length`, `horizon`, `stagger`, `together`: as in `Windows`; length = horizon is
      full-horizon ES
    - `sigma`: standard deviation of the perturbation of every number of θ, an array

    An episode goes on with θ itself: a third run, left out where the window ends it. `Stats.loss`
    is the mean over the pairs, `Stats.grad_error` their standard error.
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
        check_sigma("ES", sigma)
        self.windows = Windows(episodes, length, horizon, stagger, together, owner="ES")
        self.sigma = jnp.asarray(sigma, jnp.result_type(float))

    def init(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        objective: AbstractObjective,
        *,
        key: Key,
    ) -> Window:
        return self.windows.open(task, opt, objective, key=key)

    def lane(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        objective: AbstractObjective,
        state: Window,
        key: Key,
    ) -> tuple[Window, Lane]:
        key_reset, key_eps, key_score = jr.split(key, 3)
        eps = normal_like(split_meta(opt)[0], self.sigma, key_eps)
        length = self.windows.length

        def run(opt: AbstractOptimizer) -> tuple[Score, Window]:
            """The window with this θ, from its start if it is the first of an episode."""
            window, _ = self.windows.refresh(task, opt, objective, state, key=key_reset)
            return score(task, opt, window, objective, length, key=key_score)

        def side(sign: Scalar, _: PyTree) -> tuple[Scalar, dict]:
            found, _ = run(perturbed(opt, eps, sign))
            return found.value, found.parts

        losses, parts = antithetic(side, ())
        window, reset = self.windows.refresh(task, opt, objective, state, key=key_reset)
        goes_on = window.steps_left > length
        stay = lambda: Window(window.episode, window.memo, jnp.zeros_like(window.steps_left))
        after = jax.lax.cond(goes_on, lambda: run(opt)[1], stay)

        loss, grads = jnp.mean(losses), es_gradient(eps, losses, self.sigma)
        finite = jnp.isfinite(loss) & tree.finite((grads, after.episode.params))
        parts = jtu.tree_map(lambda part: jnp.mean(part, axis=0), parts)
        steps = length * (2 + goes_on.astype(jnp.int32))
        return finished_unless(finite, after), Lane(loss, parts, grads, finite, reset, steps)


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
