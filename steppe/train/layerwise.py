"""Layer-wise training of unrolled networks.

For the layers k = 1 … T, one after the other, the network of the first k layers is trained:

    1   what appears first in layer k              at the rate r
    2   all of layers 1 … k                        at 0.2 r
    3   the same                                   at 0.02 r

A stage begins at the best θ so far, with a fresh state of the meta-optimizer, and ends after a
number of meta-steps or when validation stops improving. In stages 2 and 3 the step of a layer that
is j older than the newest may be multiplied by decay^j.

Borgerding, Schniter & Rangan, "AMP-inspired deep networks for sparse linear inverse problems",
IEEE Trans. Signal Processing 2017; Chen, Liu, Wang & Yin, NeurIPS 2018, and the code of Open-L2O.
Departures: the published code multiplies the *gradient* by 0.3^j, which Adam undoes, so that all
layers move alike there: ours multiplies the step, and by default not at all. And it goes on from
the last θ of a stage instead of the best.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import optax
from jaxtyping import Array, Bool, Int, PyTree

from ..core.arguments import check_list, expect_kind, told, whole
from ..core.estimator import AbstractEstimator
from ..core.measure import check_positive
from ..core.messages import at_least, reals
from ..core.objective import AbstractObjective
from ..core.optimizer import AbstractOptimizer, split_meta
from ..core.task import AbstractTask
from ..core.types import Key
from ..estimators.whole import Whole
from ..objectives.supervised import Supervised, tells_truth
from ..objectives.trajectory import Trajectory
from ..optimizers.unrolled.base import MOST_LAYERS, AbstractUnrolled
from .curriculum import AbstractCurriculum, AbstractProgress, Stage, Verdict
from .loop import History, meta_train
from .step import TASK
from .validate import Validation

RATES = (1.0, 0.2, 0.02)  # of the three stages of a layer
STEPS = (200, 200, 100)  # meta-steps of each
DECAY = 1.0  # 0.3 loses 2 to 6 dB at 64 × 128 (LISTA, LISTA-CP, LISTA-CPSS, TISTA)
RATE = 5e-4  # of networks with matrices; of those with numbers alone NUMBERS times as much
NUMBERS = 20
VALIDATED = 256  # problems of a validation


@dataclasses.dataclass(frozen=True)
class Span:
    """Train what appears first in the layers `first` … `last`, to be good after layer `last`.

    - `rate`: factor of the learning rate
    - `steps`: meta-steps at most; the stage ends at the first validation at or after them
    """

    first: int
    last: int
    rate: float = 1.0
    steps: int = STEPS[0]

    def __post_init__(self):
        at_least(1, "Span", first=self.first, last=self.last, steps=self.steps)
        reals("Span", rate=self.rate)
        if not (self.first <= self.last and self.rate > 0):
            raise ValueError(
                f"Span: layers must ascend and the rate be positive, got {self.first} … "
                f"{self.last} at {self.rate}."
            )


def layer_by_layer(
    layers: int,
    steps: Sequence[int] = STEPS,
    rates: Sequence[float] = RATES,
) -> tuple[Span, ...]:
    """The stages of all layers.

    - `steps`, `rates`: of each layer's stages: of the newest layer alone, then of all so far
    """
    layers = whole("layer_by_layer: layers", layers, least=1, most=MOST_LAYERS)
    check_list("layer_by_layer: steps", steps)
    check_list("layer_by_layer: rates", rates)
    steps, rates = tuple(steps), tuple(rates)
    if len(steps) != len(rates) or not steps:
        raise ValueError(
            f"layer_by_layer: give a rate for each number of steps, got {len(rates)} rates and "
            f"{len(steps)} steps."
        )
    return tuple(
        Span(1 if stage else k, k, rate, count)
        for k in range(1, layers + 1)
        for stage, (rate, count) in enumerate(zip(rates, steps, strict=True))
    )


class LayerProgress(AbstractProgress):
    """Position of a run in a `Layerwise`."""

    stage: Int[Array, ""]
    began: Int[Array, ""]  # meta-step before the stage
    stale: Int[Array, ""]  # validations since the best
    finished: Bool[Array, ""]
    fresh: PyTree  # the state of the meta-optimizer before any step


def _stages(given: Iterable[Span]) -> tuple[Span, ...]:
    check_list("Layerwise: spans", given)
    return tuple(given)


class Layerwise(AbstractCurriculum):
    """Stages of a network's layers; see the head of this file.

    - `spans`: the stages
    - `decay`: factor of the step of a layer for each newer one, in (0, 1]
    - `patience`: validations without a better one after which a stage ends early
    """

    spans: tuple[Span, ...] = eqx.field(static=True, converter=_stages)
    decay: float = eqx.field(static=True, default=DECAY)
    patience: int = eqx.field(static=True, default=5)
    from_start: ClassVar[bool] = True

    def __check_init__(self):
        at_least(1, "Layerwise", patience=self.patience)
        reals("Layerwise", decay=self.decay)
        if not self.spans:
            raise ValueError("Layerwise: spans must be stages of training, got none.")
        for span in self.spans:
            if not isinstance(span, Span):
                raise ValueError(f"Layerwise: a stage must be a Span, got {told(span)}.")
        if not 0 < self.decay <= 1:
            raise ValueError(f"Layerwise: decay must be in (0, 1], got {self.decay}.")

    def steps(self, every: int) -> int:
        """Meta-steps of all stages, if none ends early, with a validation after `every`."""
        return sum(-(-span.steps // every) * every for span in self.spans)

    def stage(
        self,
        number: int,
        estimator: AbstractEstimator,
        objective: AbstractObjective,
        opt: AbstractOptimizer,
    ) -> Stage:
        opt, span = unrolled(opt, "Layerwise"), self.spans[number]
        if not getattr(estimator, "rests", True):
            raise ValueError(
                "Layerwise: every stage ends with its newest layer, but the episodes of the "
                "estimator go on to the last; give Whole(episodes, layers, horizon=layers)."
            )
        horizon = jnp.asarray(span.last, estimator.horizon.dtype)
        first = opt.first_layer()
        within = lambda layer: (span.first <= layer) & (layer <= span.last)
        scale = lambda layer: span.rate * self.decay ** jnp.maximum(span.last - layer, 0)
        return Stage(
            eqx.tree_at(lambda e: e.horizon, estimator, horizon),
            objective,
            jtu.tree_map(within, first),
            jtu.tree_map(lambda layer: scale(layer).astype(jnp.float32), first),
        )

    def validation_horizon(self, stage: int) -> int:
        return self.spans[stage].last

    def begin(self, meta_state: PyTree) -> LayerProgress:
        zero = jnp.zeros((), jnp.int32)
        return LayerProgress(zero, zero, zero, jnp.zeros((), jnp.bool_), meta_state)

    def judge(
        self, progress: LayerProgress, better: bool, *, step: int, meta_state: PyTree
    ) -> tuple[LayerProgress, Verdict]:
        stage, began = int(progress.stage), int(progress.began)
        stale = 0 if better else int(progress.stale) + 1
        verdict: Verdict = "go on"
        if step - began >= self.spans[stage].steps or stale >= self.patience:
            verdict = "advance" if stage + 1 < len(self.spans) else "stop"
        if verdict == "advance":
            stage, began, stale = stage + 1, step, 0
        count = lambda n: jnp.asarray(n, jnp.int32)
        over = jnp.asarray(verdict == "stop")
        numbers = count(stage), count(began), count(stale)
        return LayerProgress(*numbers, over, progress.fresh), verdict

    def meta_state(self, progress: LayerProgress) -> PyTree:
        return progress.fresh


def fit_layerwise(
    task: AbstractTask,
    opt: AbstractUnrolled,
    *,
    key: Key,
    objective: AbstractObjective | None = None,
    stages: Sequence[Span] | None = None,
    rate: float | None = None,
    decay: float = DECAY,
    episodes: int = 64,
    validation: Validation | None = None,
    patience: int = 5,
    **run: Any,
) -> tuple[AbstractUnrolled, History]:
    """Train an unrolled network layer by layer, on fresh problems at every meta-step.

    Returns the network with the best validation score after its last layer, and the history.

    - `objective`: number to be minimised after the newest layer. None: the distance to the truth
      that the data were made from, `Supervised`, where the task tells it; else the loss
    - `stages`: None: those of all layers, see `layer_by_layer`. `[Span(1, layers)]` trains all
      layers at once
    - `rate`: of Adam, in the first stage of a layer. None: 5e-4; 0.01 where only numbers, and no
      matrices, are trained
    - `decay`, `patience`: see `Layerwise`
    - `episodes`: problems of a meta-step
    - `validation`: by the objective, on the same problems each time. None: 256 problems, every 20
      meta-steps
    - `run`: further arguments of `meta_train`, such as `folder` and `sinks`
    """
    layers = unrolled(opt, "fit_layerwise").layers
    expect_kind("fit_layerwise: task", task, AbstractTask, TASK)
    given = "None or a Validation, such as Validation(20, by='objective', window=1)"
    expect_kind("fit_layerwise: validation", validation, Validation | None, given)
    if rate is not None:
        check_positive("fit_layerwise", "rate", rate, "It is the learning rate of Adam.")
    curriculum = Layerwise(layer_by_layer(layers) if stages is None else stages, decay, patience)
    if (last := max(span.last for span in curriculum.spans)) > layers:
        raise ValueError(
            f"fit_layerwise: a stage is about layer {last}, but the network has {layers} layers."
        )
    if validation is not None and validation.by == "objective" and validation.window != 1:
        raise ValueError(
            "fit_layerwise: a validation by the objective looks after the newest layer alone, got "
            f"window={validation.window}; give Validation(…, window=1)."
        )
    if validation is None:
        validation = Validation(20, layers, VALIDATED, "objective", window=1)
    run = {"steps": curriculum.steps(validation.every)} | run
    best, history = meta_train(
        task,
        opt,
        estimator=Whole(episodes, layers, layers),
        objective=natural_objective(task) if objective is None else objective,
        meta_tx=optax.adam(natural_rate(opt) if rate is None else rate),
        validation=validation,
        curriculum=curriculum,
        key=key,
        **run,
    )
    return unrolled(best, "fit_layerwise"), history


def unrolled(opt: AbstractOptimizer, asker: str) -> AbstractUnrolled:
    """The same optimizer, refused with a sentence if it has no layers."""
    if isinstance(opt, AbstractUnrolled):
        return opt
    raise TypeError(
        f"{asker} trains the layers of an unrolled network, got {type(opt).__name__}; give one of "
        "`steppe.optimizers.unrolled`, or train by meta_train."
    )


def natural_objective(task: AbstractTask) -> AbstractObjective:
    """After the last layer: the distance to the truth if the task tells one, else the loss."""
    return Supervised("last") if tells_truth(task) else Trajectory("last", "identity")


def natural_rate(opt: AbstractUnrolled) -> float:
    """The first learning rate of a layer: numbers bear larger steps than matrices."""
    matrices = any(leaf.ndim > 1 for leaf in jtu.tree_leaves(split_meta(opt)[0]))
    return RATE if matrices else NUMBERS * RATE
