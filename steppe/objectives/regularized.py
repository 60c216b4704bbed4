"""Regularized: an objective plus a measure of flatness is an objective.

    J = base + s · 1/k Σ_{j=1…k} P(R(θ_{t_j})),    P(R) ∈ {R, R/R₀, ln R, ln(1 + R/ρ)}

R is a measure of the training loss at points θ_t that the unroll passes: its last one, or every
`every`-th. The gradient reaches the optimizer through these points alone, dJ/dθ_t = s/k ∇P(R(θ_t)):
one derivative more than the measure takes, and none through the gradients handed to the optimizer
unless the estimator is of second order.

A point is measured on a training batch of its own, so that neither the path nor the base
objective has seen its noise. A warm measure hands its guess from point to point, and over
truncations from unroll to unroll.

Departure from the published code of flatness-aware learned optimizers: a mean over the points
instead of a sum over all steps; probes and batch drawn anew for every point; and where the
schedule switches the measure off, it is not computed.
"""

from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int, PyTree

from ..core import tree
from ..core.episode import Episode, Step
from ..core.estimator import AbstractEstimator
from ..core.measure import AbstractMeasure, AbstractWarm
from ..core.messages import at_least, reals
from ..core.objective import AbstractObjective, Score
from ..core.optimizer import AbstractOptimizer
from ..core.task import AbstractTask, Problem, draw
from ..core.types import Key, Memo, Obs, Params, Scalar

FOREVER = 2**31 - 1  # inner steps
Normalise = Literal["none", "initial", "log", "log1p"]


class StepRecord(eqx.Module):
    """The record of one step."""

    base: Obs
    params: Params | None  # after the step; None where only the end is measured


class EpisodeMemo(eqx.Module):
    """Memo of an episode."""

    base: Memo
    initial: Scalar | None  # R₀
    guess: PyTree  # of a warm measure


class Regularized(AbstractObjective):
    """`base` + `strength` · (mean of a measure along the unroll).

    - `strength`: s, a 0-d array: it changes without recompiling. At 0 everything is still
      computed; to switch the measure off, do not wrap.
    - `where`: "end", the last point of the unroll; "steps", the points after `every`, 2·`every`,
      … of its steps. The others are skipped and cost nothing but their memory (θ_t of all steps
      is kept), also where episodes of different ages run side by side.
    - `normalise`: "none"; "initial", R/R₀ with R₀ at the start of the episode; "log", ln R;
      "log1p", ln(1 + R/ρ) with ρ = `reference`, an array like `strength`: as ln R where R is
      above ρ, and bounded below. ln R has no bottom: to be perfectly flat, as a network of dead
      units is, is worth any loss to it.
    - `since`, `until`: the measure is active at the points after inner steps since + 1 … until of
      an episode; None: to its end. Arrays, like `strength`. The weight s/k of a point is the same
      whether or not others are active. What is inactive is not computed where episodes run one
      after the other; side by side (`vmap`) it is computed and dropped, for then all lanes run
      the same program.

    R/R₀ is NaN where R₀ ≤ 0, ln R where R ≤ 0 and ln(1 + R/ρ) where R ≤ −ρ: curvature can be
    negative, and one sample of it more often so. An estimator counts such an episode as not finite
    and leaves it out; nothing is clipped. With few probes R₀ is a chance number that scales a whole
    episode.

    Parts: `base`, the value of the base objective; `active`, the share of points measured;
    `flatness`, the mean of R itself, where inactive points count as 0, so that flatness/active is
    the mean over those measured. The parts of `base` follow as `base.…`.
    """

    base: AbstractObjective
    measure: AbstractMeasure
    strength: Float[Array, ""]
    where: Literal["end", "steps"] = eqx.field(static=True)
    every: int = eqx.field(static=True)
    normalise: Normalise = eqx.field(static=True)
    reference: Float[Array, ""]
    since: Int[Array, ""]
    until: Int[Array, ""]

    def __init__(
        self,
        base: AbstractObjective,
        measure: AbstractMeasure,
        strength: float | Scalar,
        *,
        where: Literal["end", "steps"] = "end",
        every: int = 1,
        normalise: Normalise = "none",
        reference: float | Scalar = 1.0,
        since: int | Int[Array, ""] = 0,
        until: int | Int[Array, ""] | None = None,
    ):
        for field, given, known in (
            ("where", where, ("end", "steps")),
            ("normalise", normalise, get_args(Normalise)),
        ):
            if given not in known:
                raise ValueError(f"Regularized: {field} is {given!r}, expected one of {known}.")
        reals("Regularized", strength=strength, reference=reference)
        at_least(0, "Regularized", since=since, until=until)
        if isinstance(reference, int | float) and not reference > 0:
            raise ValueError(f"Regularized: reference must be positive, got {reference}.")
        at_least(1, "Regularized", every=every)
        if every > 1 and where == "end":
            raise ValueError(
                f"Regularized: every={every} counts steps, but where='end' measures the last point "
                "alone. Use where='steps', or leave `every` out."
            )
        if isinstance(since, int) and isinstance(until, int) and until <= since:
            raise ValueError(
                f"Regularized: since={since} and until={until} leave no step where the measure is "
                "active, expected since < until. To switch it off, do not wrap."
            )
        self.base, self.measure = base, measure
        self.strength = jnp.asarray(strength, jnp.result_type(float))
        self.reference = jnp.asarray(reference, jnp.result_type(float))
        self.where, self.every, self.normalise = where, every, normalise
        self.since = jnp.asarray(since, jnp.int32)
        self.until = jnp.asarray(FOREVER if until is None else until, jnp.int32)

    def start(self, problem: Problem, episode: Episode, *, key: Key) -> EpisodeMemo:
        key_base, key_guess, key_initial = jr.split(key, 3)
        warm, params = self.measure, jax.lax.stop_gradient(episode.params)
        return EpisodeMemo(
            self.base.start(problem, episode, key=key_base),
            self.measure(problem.loss(), params, key=key_initial)
            if self.normalise == "initial"
            else None,
            warm.guess(params, key=key_guess) if isinstance(warm, AbstractWarm) else (),
        )

    def observe(self, step: Step, memo: EpisodeMemo) -> StepRecord:
        base = self.base.observe(step, memo.base)
        return StepRecord(base, step.after.params if self.where == "steps" else None)

    def __call__(
        self, task: AbstractTask, episode: Episode, obs: StepRecord, memo: EpisodeMemo, *, key: Key
    ) -> Score:
        key_base, key_points = jr.split(key)
        base = self.base(task, episode, obs.base, memo.base, key=key_base)
        params, steps = self._points(episode, obs)  # leading axis k
        wide = jnp.result_type(jnp.float32, base.value.dtype)

        def visit(guess: PyTree, point: tuple) -> tuple[PyTree, tuple]:
            params, step, key = point
            key_draw, key_measure = jr.split(key)
            active = (self.since < step) & (step <= self.until)
            # Under vmap the measure runs for inactive lanes too, and NaN · 0 is NaN.
            params = tree.select(active, params, jax.lax.stop_gradient(params))

            def measured(guess: PyTree) -> tuple[PyTree, tuple]:
                loss = draw(task, episode.instance, key_draw, split="train").loss()
                value, guess = self._resume(loss, params, guess, key_measure)
                value = value.astype(wide)
                return guess, (value, self._normalised(value, memo.initial))

            zero = jnp.zeros((), wide)
            skipped = lambda guess: (guess, (zero, zero))
            guess, (raw, penalty) = jax.lax.cond(active, measured, skipped, guess)
            return guess, (raw, penalty, active.astype(wide))

        points = (params, steps, jr.split(key_points, len(steps)))
        guess, (raw, penalty, active) = jax.lax.scan(visit, memo.guess, points)
        value = base.value + (self.strength.astype(wide) * penalty.mean()).astype(base.value.dtype)
        parts = {"base": base.value, "flatness": raw.mean(), "active": active.mean()}
        parts |= {f"base.{name}": part for name, part in base.parts.items()}
        kept = EpisodeMemo(base.memo, memo.initial, guess)
        return Score(value, kept, jax.lax.stop_gradient(parts))

    def _points(
        self, episode: Episode, obs: StepRecord
    ) -> tuple[PyTree[Float[Array, "k ..."]], Int[Array, " k"]]:
        """θ_t at the points, and how many inner steps of the episode lead to each."""
        if obs.params is None:
            return jtu.tree_map(lambda leaf: leaf[None], episode.params), episode.step[None]
        length = jtu.tree_leaves(obs.params)[0].shape[0]
        if self.every > length:
            raise ValueError(
                f"Regularized: every={self.every} leaves no point of an unroll of {length} steps. "
                "Take a smaller `every`, a longer unroll, or where='end'."
            )
        points = jtu.tree_map(lambda leaf: leaf[self.every - 1 :: self.every], obs.params)
        ages = episode.step - length + jnp.arange(self.every, length + 1, self.every)
        return points, ages.astype(episode.step.dtype)

    def _resume(self, loss, params: Params, guess: PyTree, key: Key) -> tuple[Scalar, PyTree]:
        if isinstance(self.measure, AbstractWarm):
            return self.measure.resume(loss, params, guess, key=key)
        return self.measure(loss, params, key=key), guess

    def _normalised(self, value: Scalar, initial: Scalar | None) -> Scalar:
        if self.normalise == "log":
            return jnp.log(_positive(value))
        if self.normalise == "log1p":
            return jnp.log(_positive(1 + value / self.reference.astype(value.dtype)))
        if initial is not None:
            return value / _positive(initial.astype(value.dtype))
        return value


def flatness_share(
    estimator: AbstractEstimator,
    task: AbstractTask,
    opt: AbstractOptimizer,
    state: PyTree,
    objective: Regularized,
    *,
    key: Key,
) -> Scalar:
    """‖s∇R‖/‖∇L‖: how much of the meta-gradient is the measure's, relative to the base's.

    Both of one `state` and `key`: g(s) − g(0) over g(0), so that whatever an estimator draws
    cancels. ∞ where the base has no gradient, NaN where neither has.
    """

    def gradient(strength: Scalar) -> PyTree:
        at = eqx.tree_at(lambda o: o.strength, objective, strength)
        return estimator(task, opt, state, at, key=key)[0]

    s = objective.strength
    # One after the other, so that the estimator is compiled once.
    both = jax.lax.map(gradient, jnp.stack([s, jnp.zeros_like(s)]))
    base = jtu.tree_map(lambda g: g[1], both)
    return tree.norm(jtu.tree_map(lambda g: g[0] - g[1], both)) / tree.norm(base)


def _positive(x: Scalar) -> Scalar:
    """x, or NaN where x ≤ 0."""
    return jnp.where(x > 0, x, jnp.nan)
