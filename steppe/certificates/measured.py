"""Runs of a steppe task, and measures of the network where each of them ends.

name              measure at the parameters θ where a run ends
train-loss        f(θ), the loss on up to 2000 training examples
test-loss         the loss on the whole test split
test-error        1 − accuracy on it
gap               test loss − train loss
of flatness       trace, top-eigenvalue and all others of `steppe list measures`, of f at θ

θ is what K updates came to; or, with `at_loss`, the first of some fifty looks of equal distance,
the start and the end among them, with f(θ) at most so much: there optimizers are compared at equal
training loss. A run that does not come there, or diverges, has ∞ for all measures.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import optax
from jaxtyping import Array, Float, PyTree

from ..core import loss as losses
from ..core.arguments import check_list, real
from ..core.episode import merit_of_steps
from ..core.loss import Saddle
from ..core.messages import did_you_mean
from ..core.optimizer import AbstractOptimizer
from ..core.rollout import rollout
from ..core.task import AbstractTask, Problem, draw, examples, length, structure
from ..core.types import Key, Params, Scalar
from ..flatness import names as flatness
from .episodes import check_subject, frozen, own_metrics, same_data
from .runs import AbstractRun, Metric, Program, Runs, Static, split_arrays
from .twins import sketch

ROWS = 2000  # training examples that the loss is measured on
LOOKS = 50  # at the training loss
PROBES = 10  # random vectors of a measure that is estimated from some
GAMMA = 1.0  # the curvature that counts as flat
LOSS = Metric(
    "batch loss", "the loss on the training batch of step k + 1, after k updates", "", True
)
TRAIN = f"the task's loss on up to {ROWS} training examples"
OF_LOSSES = {
    "train-loss": Metric("train loss", TRAIN, signed=True),
    "test-loss": Metric("test loss", "the task's loss on the whole test split", signed=True),
    "test-error": Metric("test error", "1 − accuracy on the whole test split"),
    "gap": Metric("gap", f"the loss on the whole test split, less {TRAIN}", signed=True),
}
NAMES = (*OF_LOSSES, *flatness.MEASURES)


class Measured(AbstractRun):
    """Runs of an optimizer on a task, and some measures where each ends.

    - `task`: draws the problems
    - `opt`: an optimizer of steppe or an optax transformation
    - `names`: of the measures, from the table above
    - `at_loss`: measure where the training loss first comes to this; None: at the end
    - `name`: of the optimizer, in the certificate
    - `task_name`, `task_options`: of a named task, in the certificate
    """

    metric = LOSS

    def __init__(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer | optax.GradientTransformation,
        names: Sequence[str],
        *,
        at_loss: float | None = None,
        name: str | None = None,
        task_name: str | None = None,
        task_options: dict[str, Any] | None = None,
    ):
        check_subject(task, opt)
        check_list("The measures at the end of a run", names)
        names = tuple(names)
        opt, self.about = frozen(task, opt, name, task_name, task_options)
        self.measures = tuple(metric_of(task, name) for name in names)
        self.at_loss = None if at_loss is None else real("A training loss", at_loss)
        arrays, static = split_arrays((task, opt))
        self.program = Program(_Ended(static, names, self.at_loss), arrays)
        self.notes = same_data(task)

    def run(self, seed: int, which: range, steps: int) -> Runs:
        runs = self.program(seed, which, steps)
        return runs._replace(errors=runs.errors[:, : steps + 1], ends=runs.errors[:, steps + 1 :])

    def described(self) -> dict[str, Any]:
        return self.about


def metric_of(task: AbstractTask, name: str) -> Metric:
    """Name and definition of a measure; refuses one that the task cannot have."""
    if name not in NAMES:
        raise ValueError(
            f"There is no measure {name!r} at the end of a run; {did_you_mean(str(name), NAMES)}"
        )
    if issubclass(structure(task), Saddle):
        raise ValueError("A game has no loss that runs bring down; certify its merit.")
    if name in OF_LOSSES:
        batch = lambda key: task.full_batch(task.sample(key), split="test")
        if length(eqx.filter_eval_shape(batch, jr.key(0))) is None and name != "train-loss":
            raise ValueError(
                f"{name} is of test examples, and {type(task).__name__} has none; take a task with "
                "data, or the metric loss."
            )
        own, _ = eqx.filter_eval_shape(lambda key: own_metrics(task, "test", key), jr.key(0))
        if name == "test-error" and "accuracy" not in own:
            raise ValueError(
                f"{type(task).__name__} has no accuracy, and so no test error; take test-loss."
            )
        return OF_LOSSES[name]
    entry, given = flatness.MEASURES[name], settings(task, name)
    if entry.needs and not issubclass(structure(task), getattr(losses, entry.needs)):
        raise ValueError(f"{name} needs a task with a model and a criterion; take trace.")
    how = "".join(f", {option} {value:g}" for option, value in given.items())
    definition = f"{entry.about}; of the loss on up to {ROWS} training examples{how}"
    return Metric(name.replace("-", " "), definition, signed=True)


def settings(task: AbstractTask, name: str) -> dict[str, float | int]:
    """The options of a measure of flatness, as it is certified with."""
    known = {"gamma": GAMMA, "probes": PROBES, "temperature": 1 / examples(task)}
    return {option: known[option] for option in flatness.MEASURES[name].tunable if option in known}


def token(metric: str) -> str:
    """The name in `NAMES` of a measure as a certificate has it."""
    return metric.replace(" ", "-")


Measure = Callable[[Params], Scalar]


@dataclasses.dataclass(frozen=True)
class _Ended:
    """One run and its measures; equal, and so compiled once, for tasks that differ in numbers."""

    static: Static
    names: tuple[str, ...]
    at_loss: float | None

    def __call__(self, arrays: PyTree, key: Key, steps: int) -> tuple[Array, Array]:
        """The errors of the steps, then the measures, (steps + 1 + measures,); and a sketch."""
        task, opt = self.static.join(arrays)
        key_begin, key_read, key_batch = jr.split(key, 3)
        every = 1 if self.at_loss is None else math.ceil(steps / LOOKS)
        marks = (0, steps) if self.at_loss is None else sorted({*range(0, steps, every), steps})
        look = lambda episode: (episode.instance, episode.params)
        observe = merit_of_steps(task)
        found = rollout(task, opt, key_begin, steps + 1, look, at=marks, observe=observe)
        instances, path = found.looks
        first = lambda stacked: jtu.tree_map(lambda leaf: leaf[0], stacked)
        instance, start = first(instances), first(path)
        at = lambda split: Problem(task, instance, task.full_batch(instance, split=split), key_read)
        train, test = head(at("train")), at("test")
        where, reached = self._place(train, path)
        params = jtu.tree_map(lambda leaf: leaf[where], path)
        measured = jnp.stack([jnp.asarray(x) for x in self._measures(train, test, params)])
        sound = reached & jnp.isfinite(found.steps).all()
        ends = jnp.where(sound, measured.astype(found.steps.dtype), jnp.nan)
        batch = draw(task, instance, key_batch, split="train").batch
        return jnp.concatenate([found.steps, ends]), sketch((instance, start, batch))

    def _place(self, train: Problem, path: PyTree) -> tuple[Array, Array]:
        """The number of the look to measure at, and whether there is one."""
        if self.at_loss is None:
            return jnp.asarray(-1), jnp.asarray(True)
        below = jax.lax.map(train.value, path) <= self.at_loss
        return below.argmax(), below.any()

    def _measures(self, train: Problem, test: Problem, params: Params) -> list[Scalar]:
        metrics = lambda: test.task.metrics(params, test.instance, test.batch, test.key)
        of_losses: dict[str, Callable[[], Scalar]] = {
            "train-loss": lambda: train.value(params),
            "test-loss": lambda: test.value(params),
            "test-error": lambda: 1 - metrics()["accuracy"],
            "gap": lambda: test.value(params) - train.value(params),
        }
        keys = jr.split(train.key, len(self.names))
        return [
            of_losses[name]() if name in of_losses else self._flat(name, train, params, key)
            for name, key in zip(self.names, keys, strict=True)
        ]

    def _flat(self, name: str, train: Problem, params: Params, key: Key) -> Float[Array, ""]:
        measure = flatness.build(name, **settings(train.task, name))
        return measure(train.loss(), params, key=key)


def head(problem: Problem) -> Problem:
    """The problem on the first `ROWS` rows of its batch."""
    if length(problem.batch) is None:
        return problem
    rows = jtu.tree_map(lambda leaf: leaf[:ROWS], problem.batch)
    return dataclasses.replace(problem, batch=rows)
