"""Supervised and Demonstrated: the distance to the truth, and to a path that leads there.

    J = Σ_{t=1…T} w_t · ½ ‖x_t − x♯‖²

Recovering x♯ is another aim than minimising the loss, whose minimum is not x♯. The truth is told by
the loss: the `truth` of a `Composite`. Where the loss is none, x♯ is the solution that the task
knows, its `target`: a loss of many local minima leads astray, the distance does not.

Chen, Liu, Wang & Yin, "Theoretical linear convergence of unfolded ISTA and its practical weights
and thresholds", NeurIPS 2018: unrolled networks are trained by the distance after their last layer.

`Demonstrated` looks around first:

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
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array, Float

from ..core import tree
from ..core.episode import Episode, Step
from ..core.loss import Composite, expect
from ..core.measure import check_positive
from ..core.messages import at_least
from ..core.objective import AbstractObjective, Score, Weights, check_weights, weighted
from ..core.task import AbstractTask, Problem, draw
from ..core.types import Key, Params, Scalar


def tells_truth(task: AbstractTask) -> bool:
    """True if the task tells the truth that its data were made from; nothing is computed."""
    loss = lambda key: draw(task, task.sample(key), key, split="train").loss()
    found = eqx.filter_eval_shape(loss, jr.key(0))
    return isinstance(found, Composite) and found.truth is not None


def truth_of(problem: Problem, like: Params, owner: str) -> Params:
    """x♯ in the dtypes of `like`. TypeError or ValueError, to `owner`, if none is known."""
    loss, target = problem.loss(), problem.task.target(problem.instance)
    if not isinstance(loss, Composite) and target is not None:
        return tree.cast_like(target, like)
    truth = expect(loss, Composite, owner).truth
    if truth is None:
        raise ValueError(
            f"{owner} needs the truth that data were made from, which "
            f"{type(problem.task).__name__} does not tell; give the `Composite` of its loss a "
            "`truth`, or train by the loss itself, with the objective Trajectory."
        )
    return tree.cast_like(truth, like)


class Supervised(AbstractObjective):
    """Weighted half squared distances to the truth after each step of an unroll.

    - `weights`: see `weighted`

    A problem must have a `Composite` loss with a `truth`, or a task with a `target` and a loss of
    another kind: else TypeError or ValueError.
    """

    weights: Weights = "last"

    def __check_init__(self):
        check_weights(self.weights, "Supervised")

    def start(self, problem: Problem, episode: Episode, *, key: Key) -> Params:
        return truth_of(problem, episode.params, "Supervised")

    def observe(self, step: Step, memo: Params) -> Scalar | tuple[()]:
        return () if self.weights == "last" else half_square(step.after.params, memo)

    def __call__(
        self,
        task: AbstractTask,
        episode: Episode,
        obs: Float[Array, " length"] | tuple[()],
        memo: Params,
        *,
        key: Key,
    ) -> Score:
        if isinstance(obs, tuple):
            return Score(half_square(episode.params, memo), memo, {})
        return Score(weighted(obs, self.weights, "Supervised"), memo, {})


class Demonstrated(AbstractObjective):
    """Weighted half squared distances to a walk there and back, and then to the truth.

    - `walk`: W above, its steps; episodes have to be longer to learn anything but the walk
    - `stride`: s above, in units of the parameters. No simple fraction of a period of the ripples,
      and W s/2 some periods
    - `weights`: see `weighted`

    A problem must tell the truth, as for `Supervised`: else TypeError or ValueError.
    """

    walk: int = eqx.field(static=True, default=32)
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


def half_square(x: Params, truth: Params) -> Scalar:
    """½ ‖x − truth‖²"""
    off = jtu.tree_map(jnp.subtract, x, truth)
    return tree.dot(off, off) / 2
