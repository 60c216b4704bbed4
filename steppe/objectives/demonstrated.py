"""Demonstrated: the distance to a path that looks around first and then goes to the truth.

    J = Σ_{t=1…T} w_t · ½ ‖x_t − z_t‖²,   z_t = x₀ + s · min(t, W − t)   for t ≤ W,   x♯   later

in every coordinate. Of many local minima the nearest is not the lowest. By the loss, or by the
distance to x♯ from the first step on, an optimizer learns to go somewhere at once, and
meta-gradients of first order do not see what a step lets the next gradients tell. Here the first W
steps are a walk there and back, over which ripples cancel in a mean of slopes, whatever they tell;
to be at x♯ afterwards, an optimizer has to learn from what it saw on the way.

It is imitation of a path that no rule could take by itself, since it knows x♯. Ours.
"""

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float

from ..core.episode import Episode, Step
from ..core.measure import check_positive
from ..core.messages import at_least
from ..core.objective import AbstractObjective, Score, Weights, check_weights, weighted
from ..core.task import AbstractTask, Problem
from ..core.types import Key, Params, Scalar
from .supervised import half_square, truth_of


class Demonstrated(AbstractObjective):
    """Weighted half squared distances to a walk there and back, and then to the truth.

    - `walk`: W above, its steps; episodes have to be longer to learn anything but the walk
    - `stride`: s above, in units of the parameters. No simple fraction of a period of the ripples,
      and W s/2 some periods
    - `weights`: see `weighted`

    A problem must tell the truth, as for `Supervised`: else TypeError or ValueError.
    """

    walk: int = eqx.field(static=True, default=24)
    stride: float = eqx.field(static=True, default=0.37)
    weights: Weights = "uniform"

    def __check_init__(self):
        at_least(2, "Demonstrated", walk=self.walk)
        check_positive("Demonstrated", "stride", self.stride, "It is the length of a step.")
        check_weights(self.weights, "Demonstrated")

    def start(self, problem: Problem, episode: Episode, *, key: Key) -> tuple[Params, Params]:
        return episode.params, truth_of(problem, episode.params, "Demonstrated")

    def observe(self, step: Step, memo: tuple[Params, Params]) -> Scalar:
        start, truth = memo
        t = step.after.step
        away = self.stride * jnp.minimum(t, self.walk - t)
        path = jtu.tree_map(
            lambda x, y: jnp.where(t <= self.walk, x + away.astype(x.dtype), y), start, truth
        )
        return half_square(step.after.params, path)

    def __call__(
        self,
        task: AbstractTask,
        episode: Episode,
        obs: Float[Array, " length"],
        memo: tuple[Params, Params],
        *,
        key: Key,
    ) -> Score:
        return Score(weighted(obs, self.weights, "Demonstrated"), memo, {})
