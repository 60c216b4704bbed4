"""The part of a run beside its state: the best optimizer, and the place in its curriculum."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..core.estimator import AbstractEstimator
from ..core.objective import AbstractObjective
from ..core.optimizer import AbstractOptimizer
from .curriculum import Curriculum, Progress, Stage, begin_progress, judge
from .step import TrainState


class Run(eqx.Module):
    """Complete state of a meta-training run; what a checkpoint holds."""

    state: TrainState
    best: AbstractOptimizer
    best_score: Float[Array, ""]
    best_step: Int[Array, ""]
    progress: Progress | None  # in a curriculum

    @property
    def stage(self) -> int:
        return 0 if self.progress is None else int(self.progress.stage)

    @property
    def over(self) -> bool:
        return self.progress is not None and bool(self.progress.over)


def begin_run(state: TrainState, curriculum: Curriculum | None) -> Run:
    return Run(
        state,
        best=state.opt,
        best_score=jnp.asarray(jnp.inf, jnp.result_type(float)),
        best_step=jnp.zeros((), jnp.int32),
        progress=None if curriculum is None else begin_progress(state.meta_state),
    )


def stage_of(
    curriculum: Curriculum | None,
    number: int,
    estimator: AbstractEstimator,
    objective: AbstractObjective,
    opt: AbstractOptimizer,
) -> Stage:
    """Stage `number` of a run; without a curriculum all is as given."""
    if curriculum is None:
        return Stage(estimator, objective)
    return curriculum.stage(number, estimator, objective, opt)


def judged(
    run: Run,
    score: Callable[[AbstractOptimizer, int], float],
    curriculum: Curriculum | None,
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
    progress = run.progress
    if better:
        progress = eqx.tree_at(lambda p: p.meta_state, progress, run.state.meta_state)
    progress, verdict = judge(curriculum, progress, better)
    run = eqx.tree_at(lambda r: r.progress, run, progress)
    if verdict == "advance":
        run = _back_to_best(run, curriculum)
        again = score(run.best, curriculum.validation_horizon(run.stage))
        again = jnp.asarray(again, run.best_score.dtype)
        run = eqx.tree_at(lambda r: r.best_score, run, again)
    return run, found


def _back_to_best(run: Run, curriculum: Curriculum) -> Run:
    run = eqx.tree_at(lambda r: r.state.opt, run, run.best)
    if run.progress is None or not curriculum.restore_meta:
        return run
    return eqx.tree_at(lambda r: r.state.meta_state, run, run.progress.meta_state)
