"""Merit and Reward, by which rules for games are trained: the gradient left, the players' gains.

    Merit     J = Σ_t w_t ‖∇f(z_t)‖²,    z_t = (x_t, y_t) after each step
    Reward    J = Σ_t [f(x_t, y_{t−1}) − f(x_{t−1}, y_{t−1})] + [f(x_t, y_{t−1}) − f(x_t, y_t)]

‖∇f‖ = ‖(∇ₓf, −∇ᵧf)‖ is zero at solutions alone where f is convex in x and concave in y. Merit asks
that it be small, and is to be differentiated through the gradients handed to the optimizer (second
order). A reward is what a player gains by its move: it is differentiated in that move alone, all
else (where it stood, and where the other stands) being constant. It has no lower bound where f is
bilinear, so that the optimizer is best kept by validation.

Reward: Shen, Chen, Heaton, Chen, Wang & Yin, "Learning a minimax optimizer: a pilot study", ICLR
2021, the telescoped form of the published code. There the first term of a segment is f itself and
no difference, which changes values and no gradient; and the last move of a segment is rewarded
after the optimizer has been updated, so that nothing is learned from it: here it is like the rest.
Merit is this library's.

The part "visited" of both is Σ ‖∇f‖² over the points that an episode has come to, by which
`SelfPaced` tells easy episodes from hard ones.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float

from ..core import tree
from ..core.episode import Episode, Step
from ..core.loss import Saddle, expect
from ..core.measure import check_positive
from ..core.objective import AbstractObjective, Score, Weights, check_weights, weighted
from ..core.task import AbstractTask, Problem
from ..core.types import Key, Params, Scalar

FLOOR = 1e-24  # as a share of the episode's first square


class Visited(eqx.Module):
    first: Scalar  # ‖∇f‖² at the start of the episode
    sum: Scalar  # of all points so far, the start included


class Merit(AbstractObjective):
    """Weighted squares of ‖∇f‖ after each step of an unroll.

    - `weights`: see `weighted`
    - `transform`: "identity", "ratio" to the episode's first square, or "log" of that ratio
    - `floor`: added to the ratio under the logarithm: a square far below it is as good as none, so
      that "log" with weights "uniform" tells how soon an episode has come so far

    The loss must be a `Saddle`: else StructureError.
    """

    weights: Weights = "sum"
    transform: Literal["identity", "ratio", "log"] = eqx.field(static=True, default="identity")
    floor: float = eqx.field(static=True, default=FLOOR)

    def __check_init__(self):
        check_weights(self.weights, "Merit")
        if self.transform not in (known := ("identity", "ratio", "log")):
            raise ValueError(f"Merit: transform is {self.transform!r}, expected one of {known}.")
        check_positive("Merit", "floor", self.floor, "It is a share of the first square.")

    def start(self, problem: Problem, episode: Episode, *, key: Key) -> Visited:
        return begun("Merit", problem, episode)

    def observe(self, step: Step, memo: Visited) -> Scalar:
        return square(step.problem, step.after.params)

    def __call__(
        self,
        task: AbstractTask,
        episode: Episode,
        obs: Float[Array, " length"],
        memo: Visited,
        *,
        key: Key,
    ) -> Score:
        values = obs
        if self.transform != "identity":
            values = obs / jnp.where(memo.first > 0, memo.first, 1)
        if self.transform == "log":
            values = jnp.log(values + self.floor)
        memo = further(memo, obs)
        return Score(weighted(values, self.weights, "Merit"), memo, {"visited": memo.sum})


class Reward(AbstractObjective):
    """Gains of the players by their moves, summed over an unroll and negated (Shen et al. 2021).

    For a rule under which the minimising player moves first, in meta-training of first order. The
    parts "reward_min" and "reward_max" are those of either player. The loss must be a `Saddle`:
    else StructureError.
    """

    def start(self, problem: Problem, episode: Episode, *, key: Key) -> Visited:
        return begun("Reward", problem, episode)

    def observe(self, step: Step, memo: Visited) -> tuple[Scalar, Scalar, Scalar]:
        f = step.problem.loss()
        before, after = step.before.params, step.after.params
        still = jax.lax.stop_gradient
        # Of the new point the move alone is live: where the player stood is a constant.
        moved = jtu.tree_map(
            lambda old, new: still(new) + ((new - old) - still(new - old)), before, after
        )
        x, y, there = still(before["min"]), still(before["max"]), still(after["min"])
        of_min = f({"min": moved["min"], "max": y}) - f({"min": x, "max": y})
        of_max = f({"min": there, "max": y}) - f({"min": there, "max": moved["max"]})
        return of_min, of_max, square(step.problem, still(after))

    def __call__(
        self,
        task: AbstractTask,
        episode: Episode,
        obs: tuple[Float[Array, " length"], Float[Array, " length"], Float[Array, " length"]],
        memo: Visited,
        *,
        key: Key,
    ) -> Score:
        of_min, of_max = jnp.sum(obs[0]), jnp.sum(obs[1])
        memo = further(memo, obs[2])
        parts = {"visited": memo.sum, "reward_min": of_min, "reward_max": of_max}
        return Score(of_min + of_max, memo, parts)


def begun(owner: str, problem: Problem, episode: Episode) -> Visited:
    """The memo of a fresh episode; refuses what is no game."""
    expect(problem.loss(), Saddle, owner)
    first = square(problem, episode.params)
    return Visited(first, first)


def further(memo: Visited, squares: Float[Array, " length"]) -> Visited:
    """The memo after some more steps. It is no way for a gradient."""
    return Visited(memo.first, memo.sum + jax.lax.stop_gradient(jnp.sum(squares)))


def square(problem: Problem, params: Params) -> Scalar:
    """‖∇f‖²"""
    return tree.squared_norm(problem.grad(params))
