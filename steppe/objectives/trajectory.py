"""Trajectory: a weighted mean of the losses along an unroll.

    J = Σ_{t=1…T} w_t Λ(F_t),   F_t = loss after t steps

with Λ ∈ {F, F/F₀, ln((F+ε)/(F₀+ε))} and F₀ the loss at the start of the *episode*,
kept over all its truncations. The loss before the first step of an unroll does not
depend on θ and is left out (the published code adds it as a constant).
"""

from typing import Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..core.episode import Episode, Step
from ..core.objective import AbstractObjective, Score, Weights, check_weights, weighted
from ..core.task import AbstractTask, Problem, draw
from ..core.types import Key, Memo, Scalar

EPSILON = 1e-6  # of the log-ratio (L2O-Scale's published code)


class Trajectory(AbstractObjective):
    """Weighted losses after each step of an unroll.

    - `weights`: see `weighted`; "sum" is as published for DM and RNNProp
    - `transform`: "identity", "ratio" to the episode's first loss, or "log" of that ratio.
    - `batch`: where F_t is taken. "same": on the batch whose gradient the optimizer
      sees next (free; F_T on a fresh one). "fresh": on a further training batch.
      "valid": on a batch of the validation split.
    """

    weights: Weights = "uniform"
    transform: Literal["identity", "ratio", "log"] = eqx.field(static=True, default="log")
    batch: Literal["same", "fresh", "valid"] = eqx.field(static=True, default="same")

    def __check_init__(self):
        check_weights(self.weights, "Trajectory")
        for field, known in (
            ("transform", ("identity", "ratio", "log")),
            ("batch", ("same", "fresh", "valid")),
        ):
            if getattr(self, field) not in known:
                raise ValueError(
                    f"Trajectory: {field} is {getattr(self, field)!r}, expected one of {known}."
                )

    def start(self, problem: Problem, episode: Episode, *, key: Key) -> Memo:
        if self.transform == "identity":
            return ()
        if self.batch == "valid":
            problem = draw(problem.task, episode.instance, key, split="valid")
        return problem.value(episode.params)

    def observe(self, step: Step, memo: Memo) -> Scalar:
        if self.batch == "same":
            return step.value
        split = "train" if self.batch == "fresh" else "valid"
        problem = draw(step.problem.task, step.after.instance, step.key, split=split)
        return problem.value(step.after.params)

    def __call__(
        self,
        task: AbstractTask,
        episode: Episode,
        obs: Float[Array, " length"],
        memo: Memo,
        *,
        key: Key,
    ) -> Score:
        losses = obs
        if self.batch == "same":  # losses before each step → losses after each step
            final = draw(task, episode.instance, key, split="train").value(episode.params)
            losses = jnp.append(obs[1:], final)
        if self.transform == "ratio":
            losses = losses / (memo + EPSILON)
        if self.transform == "log":
            losses = jnp.log((losses + EPSILON) / (memo + EPSILON))
        return Score(weighted(losses, self.weights, "Trajectory"), memo, {})
