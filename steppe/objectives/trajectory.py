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
from ..core.objective import AbstractObjective, Score
from ..core.task import AbstractTask, Problem, draw
from ..core.types import Key, Memo, Scalar

WEIGHTS = ("uniform", "ramp", "last", "sum")
EPSILON = 1e-6  # of the log-ratio (L2O-Scale's published code)


class Trajectory(AbstractObjective):
    """Weighted losses after each step of an unroll.

    - `weights`: "uniform" (1/T each), "ramp" (∝ t), "last" (only F_T), "sum" (1 each,
      as published for DM and RNNProp), or an array of T numbers: other numbers need no other
      compilation. One 1 among zeros is the loss after that step alone.
    - `transform`: "identity", "ratio" to the episode's first loss, or "log" of that ratio.
    - `batch`: where F_t is taken. "same": on the batch whose gradient the optimizer
      sees next (free; F_T on a fresh one). "fresh": on a further training batch.
      "valid": on a batch of the validation split.
    """

    weights: Literal["uniform", "ramp", "last", "sum"] | Float[Array, " length"] = "uniform"
    transform: Literal["identity", "ratio", "log"] = eqx.field(static=True, default="log")
    batch: Literal["same", "fresh", "valid"] = eqx.field(static=True, default="same")

    def __check_init__(self):
        # Any other thing may stand for an array while a tree is taken apart and put together.
        if isinstance(self.weights, str) and self.weights not in WEIGHTS:
            raise ValueError(
                f"Trajectory: weights is {self.weights!r}, expected one of {WEIGHTS} or an array."
            )
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
        return Score(jnp.sum(self._weights(len(losses), losses.dtype) * losses), memo, {})

    def _weights(self, length: int, dtype: jnp.dtype) -> Float[Array, " length"]:
        if not isinstance(self.weights, str):
            if self.weights.shape != (length,):
                raise ValueError(
                    f"Trajectory: weights have the shape {self.weights.shape}, but the unroll has "
                    f"{length} steps: give one number a step."
                )
            return self.weights.astype(dtype)
        if self.weights == "ramp":
            ramp = jnp.arange(1, length + 1, dtype=dtype)
            return ramp / ramp.sum()
        if self.weights == "last":
            return jnp.zeros(length, dtype).at[-1].set(1)
        return jnp.full(length, 1.0 if self.weights == "sum" else 1.0 / length, dtype)
