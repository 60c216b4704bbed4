"""Supervised: the distance to the truth that the data of a problem were made from.

    J = Σ_{t=1…T} w_t · ½ ‖x_t − x♯‖²

Recovering x♯ is another aim than minimising the loss, whose minimum is not x♯. The truth is told by
the loss: the `truth` of a `Composite`. Where the loss is none, x♯ is the solution that the task
knows, its `target`: a loss of many local minima leads astray, the distance does not.

Chen, Liu, Wang & Yin, "Theoretical linear convergence of unfolded ISTA and its practical weights
and thresholds", NeurIPS 2018: unrolled networks are trained by the distance after their last layer.
"""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array, Float

from ..core import tree
from ..core.episode import Episode, Step
from ..core.loss import Composite, expect
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


def half_square(x: Params, truth: Params) -> Scalar:
    """½ ‖x − truth‖²"""
    off = jtu.tree_map(jnp.subtract, x, truth)
    return tree.dot(off, off) / 2
