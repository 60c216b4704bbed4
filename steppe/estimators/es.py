"""ES: the slope of the objective along random directions of θ; nothing is differentiated.

    g = ε (L(θ + ε) − L(θ − ε)) / 2σ²,   ε ~ N(0, σ²I)

is an unbiased estimate of the gradient of the smoothed E L(θ + ε) (Salimans, Ho, Chen, Sidor &
Sutskever, "Evolution strategies as a scalable alternative to reinforcement learning", 2017).
L is the score of one window of `length` steps, so for length < horizon it is biased as truncated
BPTT is: it does not see what an update of this window does to later ones. With `length` equal to
the `horizon` every window is a whole episode, and the estimate is that of the whole horizon.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Float, Int, PyTree

from ..core import tree
from ..core.estimator import AbstractEstimator, Stats
from ..core.lanes import lanes_together, map_lanes
from ..core.objective import AbstractObjective, Score
from ..core.optimizer import AbstractOptimizer, split_meta
from ..core.task import AbstractTask
from ..core.types import Key, Scalar
from .average import Lane, average
from .perturb import both, check, moved, normal_like, played, slope
from .windows import Window, open_windows, refresh


class ES(AbstractEstimator):
    """Antithetic evolution strategies over windows of `length` steps.

    - `episodes`: pairs of perturbed runs, each pair from one episode in flight
    - `sigma`: standard deviation of the perturbation of every number of θ, an array
    - `length`, `horizon`, `stagger`, `together`: as in `BPTT`; length = horizon is full-horizon ES

    An episode goes on with θ itself: a third run, left out where the window ends it. `Stats.loss`
    is the mean over the pairs, `Stats.grad_error` their standard error.
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
        check("ES", episodes=episodes, length=length, horizon=horizon, sigma=sigma)
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
    ) -> Window:
        return open_windows(
            task,
            opt,
            objective,
            key,
            episodes=self.episodes,
            length=self.length,
            horizon=self.horizon,
            stagger=self.stagger,
        )

    def __call__(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        state: Window,
        objective: AbstractObjective,
        *,
        key: Key,
    ) -> tuple[PyTree, Window, Stats]:
        arrays, static = eqx.partition((task, opt, objective, self), eqx.is_array)

        def one(arrays, lane):
            task, opt, objective, self = eqx.combine(arrays, static)
            return self._pair(task, opt, objective, *lane)

        n = tree.size(state.episode.params) // self.episodes
        together = self.together or lanes_together(n)
        xs = (state, jr.split(key, self.episodes))
        state, (lanes, carried) = map_lanes(one, arrays, xs, batch_size=together)
        steps = self.length * (2 * self.episodes + jnp.sum(carried))
        grads, stats = average(lanes, inner_steps=steps)
        return grads, state, stats

    def _pair(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        objective: AbstractObjective,
        window: Window,
        key: Key,
    ) -> tuple[Window, tuple[Lane, Bool[Array, ""]]]:
        key_reset, key_eps, key_score = jr.split(key, 3)
        eps = normal_like(split_meta(opt)[0], self.sigma, key_eps)

        def run(opt: AbstractOptimizer) -> tuple[Score, Window]:
            """The window with this θ, from its start if it is the first of an episode."""
            begun, _ = refresh(task, opt, objective, window, key_reset, self.horizon)
            return played(task, opt, begun, objective, self.length, key_score)

        def side(sign: Scalar, _: PyTree) -> tuple[Scalar, dict]:
            score, _ = run(moved(opt, eps, sign))
            return score.value, score.parts

        losses, parts = both(side, ())
        begun, over = refresh(task, opt, objective, window, key_reset, self.horizon)
        goes_on = begun.left > self.length
        stay = lambda: Window(begun.episode, begun.memo, jnp.zeros_like(begun.left))
        after = jax.lax.cond(goes_on, lambda: run(opt)[1], stay)

        loss, grads = jnp.mean(losses), slope(eps, losses, self.sigma)
        fine = jnp.isfinite(loss) & tree.finite((grads, after.episode.params))
        after = Window(after.episode, after.memo, jnp.where(fine, after.left, 0))
        parts = jtu.tree_map(lambda part: jnp.mean(part, axis=0), parts)
        return after, (Lane(loss, parts, grads, fine, over), goes_on)
