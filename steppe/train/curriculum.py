"""Stages of a meta-training; among them the curriculum, episodes that grow longer.

Stage i of a `Curriculum` trains on episodes of N_i steps and is judged at N_{i+1}, the next stage's
length:

    better than the best            keep θ as the best of the stage
    `patience` judgements or more,
      the last of them no better:   the stage had a better one → go back to it, on to stage i + 1
                                    it had none                → over

Chen, Zhang, Zhou, Chang, Liu, Chen & Wang, "Training stronger baselines for learning to
optimize", NeurIPS 2020, section 3.1, after the published code. Departures: the last stage is
judged at its own length (there the code reads past its list), and θ goes back together with the
state of the meta-optimizer.
"""

import abc
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Int, PyTree

from ..core import tree
from ..core.estimator import AbstractEstimator
from ..core.messages import at_least, reals
from ..core.objective import AbstractObjective
from ..core.optimizer import AbstractOptimizer, split_meta


class Stage(eqx.Module):
    """Arguments of a meta-step besides its state; two stages differ by their arrays alone."""

    estimator: AbstractEstimator
    objective: AbstractObjective
    mask: PyTree | None = None  # of θ; False does not move
    scale: PyTree | None = None  # of the updates of θ: a number, or a tree of them like θ


class AbstractProgress(eqx.Module):
    """Position of a run in its curriculum; part of its checkpoints."""

    stage: eqx.AbstractVar[Int[Array, ""]]
    finished: eqx.AbstractVar[Bool[Array, ""]]


Verdict = Literal["go on", "advance", "stop"]


class AbstractCurriculum(eqx.Module):
    """Stages of a meta-training: their differences, and the judgement of when the next begins.

    A stage that follows another begins at the best θ so far.
    """

    from_start: ClassVar[bool]  # the θ that a run begins with is judged, too

    @abc.abstractmethod
    def stage(
        self,
        number: int,
        estimator: AbstractEstimator,
        objective: AbstractObjective,
        opt: AbstractOptimizer,
    ) -> Stage:
        """Estimator, objective, mask and scale of a stage: all alike but for their arrays."""

    @abc.abstractmethod
    def validation_horizon(self, stage: int) -> int:
        """Inner steps of a validation in this stage."""

    @abc.abstractmethod
    def begin(self, meta_state: PyTree) -> AbstractProgress:
        """Before the first stage, with the state of a meta-optimizer that has made no step."""

    @abc.abstractmethod
    def judge(
        self, progress: Any, better: bool, *, step: int, meta_state: PyTree
    ) -> tuple[AbstractProgress, Verdict]:
        """The progress after one more validation, and whether to go on, to advance or to stop.

        - `better`: the validation was the best of the stage
        - `step`, `meta_state`: meta-steps so far, and the state of the meta-optimizer
        """

    @abc.abstractmethod
    def meta_state(self, progress: Any) -> PyTree | None:
        """The state of the meta-optimizer that a stage begins with; None: as it is."""


class Curriculum(AbstractCurriculum):
    """Stages of growing horizons.

    - `horizons`: inner steps of an episode, stage by stage
    - `judged_at`: inner steps of a validation, stage by stage (default: the next stage's horizon,
      at the last stage its own)
    - `weights`: of the parts of a `Mix`, stage by stage, the last ones repeated; None: unchanged
    - `objectives`: what meta-training minimises, stage by stage; alike but for their arrays (the
      weights of a `Trajectory`, a strength). None: that of the run
    - `masks`: booleans in the structure of θ, stage by stage, of shapes that broadcast to it; False
      does not move. None: all of θ moves
    - `scales`: factors of the updates of θ, stage by stage. None: 1
    - `patience`: judgements that a stage gets at least
    - `restore_meta`: take the meta-optimizer's state back with θ
    """

    horizons: tuple[int, ...] = eqx.field(static=True, converter=tuple)
    judged_at: tuple[int, ...] | None = eqx.field(static=True, default=None)
    weights: tuple[tuple[float, ...], ...] | None = eqx.field(static=True, default=None)
    objectives: tuple[AbstractObjective, ...] | None = None
    masks: tuple[PyTree[Bool[Array, "..."] | bool], ...] | None = None
    scales: tuple[float, ...] | None = eqx.field(static=True, default=None)
    patience: int = eqx.field(static=True, default=3)
    restore_meta: bool = eqx.field(static=True, default=True)
    from_start: ClassVar[bool] = False

    def __check_init__(self):
        steps = {"horizons": self.horizons, "judged_at": self.judged_at}
        at_least(1, "Curriculum", **steps, patience=self.patience)
        reals("Curriculum", scales=self.scales)
        for weights in self.weights or ():
            reals("Curriculum", weights=weights)
        if not self.horizons:
            raise ValueError("Curriculum: horizons must be steps of at least 1, got ().")
        if self.judged_at is not None and len(self.judged_at) != len(self.horizons):
            raise ValueError(
                f"Curriculum: judged_at must be one number of at least 1 for each of the "
                f"{len(self.horizons)} stages, got {self.judged_at}."
            )
        if self.weights is not None and not self.weights:
            raise ValueError("Curriculum: weights are empty; give one tuple a stage, or None.")
        for name in ("objectives", "masks", "scales"):
            given = getattr(self, name)
            if given is not None and len(given) != self.stages:
                raise ValueError(
                    f"Curriculum: {len(given)} {name} for {self.stages} stages; give one a stage."
                )

    @property
    def stages(self) -> int:
        return len(self.horizons)

    def validation_horizon(self, stage: int) -> int:
        if self.judged_at is not None:
            return self.judged_at[stage]
        return self.horizons[min(stage + 1, self.stages - 1)]

    def staged(self, estimator: AbstractEstimator, stage: int) -> AbstractEstimator:
        """The estimator as it is used in a stage: arrays changed, nothing to compile again."""
        horizon = jnp.asarray(self.horizons[stage], estimator.horizon.dtype)
        estimator = eqx.tree_at(lambda e: e.horizon, estimator, horizon)
        if self.weights is None:
            return estimator
        old = jnp.asarray(getattr(estimator, "weights", 0.0))
        weights = self.weights[min(stage, len(self.weights) - 1)]
        if old.shape != (len(weights),):
            raise ValueError(
                f"Curriculum: weights {weights} are for a Mix of {len(weights)} parts, but the "
                f"estimator is {type(estimator).__name__} of {old.size}."
            )
        return eqx.tree_at(lambda e: e.weights, estimator, jnp.asarray(weights, old.dtype))

    def stage(
        self,
        number: int,
        estimator: AbstractEstimator,
        objective: AbstractObjective,
        opt: AbstractOptimizer,
    ) -> Stage:
        """Estimator, objective, mask and scale of a stage: all alike but for their arrays."""
        if self.objectives is not None:
            objective = _alike(objective, self.objectives[number])
        mask = None if self.masks is None else _like_theta(self.masks[number], opt)
        scale = None if self.scales is None else jnp.asarray(self.scales[number], jnp.float32)
        return Stage(self.staged(estimator, number), objective, mask, scale)

    def begin(self, meta_state: PyTree) -> "Progress":
        zero, no = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.bool_)
        return Progress(zero, zero, no, no, meta_state)

    def judge(
        self, progress: "Progress", better: bool, *, step: int, meta_state: PyTree
    ) -> tuple["Progress", Verdict]:
        stage, judgements = int(progress.stage), int(progress.judgements) + 1
        improved = bool(progress.improved) or better
        verdict: Verdict = "go on"
        if not better and judgements >= self.patience:
            last = stage + 1 == self.stages
            verdict = "advance" if improved and not last else "stop"
        if verdict == "advance":
            stage, judgements, improved = stage + 1, 0, False
        after = Progress(
            jnp.asarray(stage, jnp.int32),
            jnp.asarray(judgements, jnp.int32),
            jnp.asarray(improved),
            jnp.asarray(verdict == "stop"),
            meta_state if better else progress.meta_state,
        )
        return after, verdict

    def meta_state(self, progress: "Progress") -> PyTree | None:
        return progress.meta_state if self.restore_meta else None


def _alike(objective: AbstractObjective, other: AbstractObjective) -> AbstractObjective:
    """The other objective, refused where a compiled step could not take it."""
    known, new = (
        eqx.filter_eval_shape(lambda o=o: tree.strongly_typed(o)) for o in (objective, other)
    )
    if not eqx.tree_equal(known, new):
        raise ValueError(
            "Curriculum: the objectives of the stages may differ from the objective of the run by "
            f"the numbers in their arrays alone, but got {other} beside {objective}."
        )
    return other


def _like_theta(mask: PyTree, opt: AbstractOptimizer) -> PyTree:
    """The mask as full arrays, so that all stages have the same shapes."""
    spread = lambda leaf, m: jnp.broadcast_to(jnp.asarray(m, bool), leaf.shape)
    return jtu.tree_map(spread, split_meta(opt)[0], mask)


class Progress(AbstractProgress):
    """Position of a run in a `Curriculum`."""

    stage: Int[Array, ""]
    judgements: Int[Array, ""]  # in this stage
    improved: Bool[Array, ""]  # whether this stage has a best of its own
    finished: Bool[Array, ""]
    meta_state: PyTree  # of the meta-optimizer, at the best θ
