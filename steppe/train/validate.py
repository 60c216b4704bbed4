"""Validation: the score of an optimizer on fresh problems, and the run that keeps the best.

A `Run` is the state of meta-training with the part that validation decides: the best optimizer and
the place in the curriculum.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, ArrayLike, Float, Int

from ..core.episode import Episode, begin
from ..core.estimator import AbstractEstimator
from ..core.messages import at_least, brief
from ..core.objective import AbstractObjective
from ..core.optimizer import AbstractOptimizer
from ..core.rollout import episodes, lanes_of, map_lanes, rollout
from ..core.task import AbstractTask, Problem, draw
from ..core.types import Key, Scalar
from ..core.window import Window, score
from .adapt import Adapter
from .average import Mean, begin_mean, start_of
from .curriculum import AbstractCurriculum, AbstractProgress, Stage
from .step import TrainState


class Validation(eqx.Module):
    """Every `every` meta-steps, train `episodes` fresh problems for `horizon` inner steps.

    The same problems each time, so that two scores differ by the optimizer alone.

    - `by`: "valid", the loss on the whole validation split at the end, or the merit of a game, see
      `Problem.merit`; "objective", what
      meta-training minimises, its penalty included, over the last `window` steps. With the latter
      held-out data is not looked at, unless the objective does
    - `adapt`: judge the optimizer by how it does after adaptation: it is adapted to the instance of
      each problem by itself, then trains it from a start of its own. None: as it is
    """

    every: int = eqx.field(static=True, default=100)
    horizon: int = eqx.field(static=True, default=100)
    episodes: int = eqx.field(static=True, default=8)
    by: Literal["valid", "objective"] = eqx.field(static=True, default="valid")
    window: int = eqx.field(static=True, default=20)
    adapt: Adapter | None = None

    def __check_init__(self):
        sizes = ("every", "horizon", "episodes", "window")
        at_least(1, "Validation", **{name: getattr(self, name) for name in sizes})
        if self.by not in ("valid", "objective"):
            raise ValueError(f"Validation: by must be valid or objective, got {self.by!r}.")
        if not (self.adapt is None or isinstance(self.adapt, Adapter)):
            raise ValueError(
                f"Validation: adapt must be an Adapter or None, got {brief(self.adapt)}; give "
                "adapt=Adapter(BPTT(1, 20, 100, stagger=False), updates=5)."
            )

    @property
    def needs_objective(self) -> bool:
        """True where `score` looks at the objective of meta-training."""
        return self.by == "objective" or self.adapt is not None

    def score(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        key: Key,
        horizon: int | Int[Array, ""] | None = None,
        objective: AbstractObjective | None = None,
    ) -> Scalar:
        """Mean over the problems, the lower the better; inf if one diverged.

        `horizon` may be traced: one compilation serves all lengths. None: the field's. By the
        objective, at least `window` steps are taken. It has to be given then, and with `adapt`.
        """
        if objective is None and self.needs_objective:
            asks = "adapt" if self.adapt is not None else "by='objective'"
            raise ValueError(f"Validation: {asks} needs the objective; give objective=….")
        steps = jnp.asarray(self.horizon if horizon is None else horizon, jnp.int32)
        begins, keys = jax.vmap(jr.split, out_axes=1)(jr.split(key, self.episodes))
        find = self._losses if self.adapt is None else self._adapted
        losses = find(task, opt, begins, steps, objective, keys)
        return jnp.where(jnp.all(jnp.isfinite(losses)), jnp.mean(losses), jnp.inf)

    def _losses(
        self, task, opt, begins: Key, steps, objective, keys: Key
    ) -> Float[Array, " episodes"]:
        if self.by == "objective":
            return self._objective(task, opt, begins, steps, objective, keys)

        def held_out(end: Episode, key: Key) -> Scalar:
            batch = task.full_batch(end.instance, split="valid")
            return Problem(task, end.instance, batch, key).merit(end.params)

        return episodes(task, opt, begins, steps, held_out, beside=keys).looks

    def _adapted(
        self, task, opt, begins: Key, steps, objective, keys: Key
    ) -> Float[Array, " episodes"]:
        """`_losses`, each episode with an optimizer of its own, adapted to its instance."""

        def one(shared: tuple, lane: tuple[Key, Key]) -> Scalar:
            (self, task, opt, steps, objective), (begins, key) = shared, lane
            own = self.adapt.to_instance(task, opt, objective, begins)
            return self._losses(task, own, begins[None], steps, objective, key[None])[0]

        shared = (self, task, opt, steps, objective)
        batch_size = lanes_of(task, opt, shared=False)
        return map_lanes(one, shared, (begins, keys), batch_size=batch_size)

    def _objective(self, task, opt, begins: Key, steps, objective, keys: Key) -> Scalar:
        """Values over the last `window` steps, with what the objective remembers of the start.

        Episodes begin inside the lane that is mapped: as in `Whole`, what they have in common has
        no axis of episodes then, and a layer of a network multiplies all of them by one matrix.
        """

        def one(shared: tuple, lane: tuple[Key, Key]) -> Scalar:
            (task, opt, objective, steps), (begins, key) = shared, lane
            key_problem, key_start, key_score = jr.split(key, 3)
            episode = begin(task, opt, begins)
            problem = draw(task, episode.instance, key_problem, split="train")
            memo = objective.start(problem, episode, key=key_start)

            def value(episode: Episode) -> Scalar:
                window = Window(episode, memo, jnp.asarray(self.window, jnp.int32))
                return score(task, opt, window, objective, self.window, key=key_score)[0].value

            return rollout(task, opt, episode, steps - self.window, value).looks

        shared = (task, opt, objective, steps)
        return map_lanes(one, shared, (begins, keys), batch_size=lanes_of(task, opt))


class Run(eqx.Module):
    """Complete state of a meta-training run; what a checkpoint holds."""

    state: TrainState
    best: AbstractOptimizer
    best_score: Float[Array, ""]
    best_step: Int[Array, ""]
    progress: AbstractProgress | None  # in a curriculum
    pending: Mapping[str, ArrayLike]  # statistics since the last row of the log, see `tally.py`
    mean: Mean | None = None  # of the weights, where the run ends with that

    @property
    def stage(self) -> int:
        return 0 if self.progress is None else int(self.progress.stage)

    @property
    def finished(self) -> bool:
        return self.progress is not None and bool(self.progress.finished)


def begin_run(
    state: TrainState, curriculum: AbstractCurriculum | None, *, averaged: int | None = None
) -> Run:
    """A run before its first meta-step; `averaged`: of so many the weights are averaged."""
    return Run(
        state,
        best=state.opt,
        best_score=jnp.asarray(jnp.inf, jnp.result_type(float)),
        best_step=jnp.zeros((), jnp.int32),
        progress=None if curriculum is None else curriculum.begin(state.meta_state),
        pending={},
        mean=None if averaged is None else begin_mean(state.opt, start_of(averaged)),
    )


def stage_of(
    curriculum: AbstractCurriculum | None,
    number: int,
    estimator: AbstractEstimator,
    objective: AbstractObjective,
    opt: AbstractOptimizer,
) -> Stage:
    """Stage `number` of a run; without a curriculum all is as given."""
    if curriculum is None:
        return Stage(estimator, objective)
    return curriculum.stage(number, estimator, objective, opt)


def horizon_of(
    run: Run, curriculum: AbstractCurriculum | None, validation: Validation | None
) -> int:
    """Inner steps of a validation where the run stands; 0 without one."""
    if curriculum is not None:
        return curriculum.validation_horizon(run.stage)
    return 0 if validation is None else validation.horizon


def judged(
    run: Run,
    score: Callable[[AbstractOptimizer, int], float],
    curriculum: AbstractCurriculum | None,
    horizon: int,
) -> tuple[Run, dict[str, float]]:
    """The run after a validation, and its numbers for the log.

    `score(opt, steps)` is the validation loss after so many inner steps, `horizon` how many where
    there is no curriculum to say it.
    """
    if curriculum is not None:
        horizon = curriculum.validation_horizon(run.stage)
    value = score(run.state.opt, horizon)
    better = value < float(run.best_score)
    found: dict[str, float] = {"valid_loss": value}
    if better:
        best = (run.state.opt, jnp.asarray(value, run.best_score.dtype), run.state.step)
        run = eqx.tree_at(lambda r: (r.best, r.best_score, r.best_step), run, best)
    if curriculum is None or run.progress is None:
        return run, found
    found |= {"stage": run.stage, "valid_horizon": horizon}
    now = {"step": int(run.state.step), "meta_state": run.state.meta_state}
    progress, verdict = curriculum.judge(run.progress, better, **now)
    run = eqx.tree_at(lambda r: r.progress, run, progress)
    if verdict == "advance":
        run = eqx.tree_at(lambda r: r.state.opt, run, run.best)
        if (meta_state := curriculum.meta_state(progress)) is not None:
            run = eqx.tree_at(lambda r: r.state.meta_state, run, meta_state)
        if run.mean is not None:  # of the weights of this stage alone
            afresh = begin_mean(run.state.opt, int(run.mean.since))
            run = dataclasses.replace(run, mean=afresh)
        run = scored(run, score, curriculum)
    return run, found


def scored(
    run: Run, score: Callable[[AbstractOptimizer, int], float], curriculum: AbstractCurriculum
) -> Run:
    """The run with the score that its best optimizer has at the stage's length."""
    value = score(run.best, curriculum.validation_horizon(run.stage))
    return eqx.tree_at(lambda r: r.best_score, run, jnp.asarray(value, run.best_score.dtype))
