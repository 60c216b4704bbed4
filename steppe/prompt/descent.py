"""All that the catalyst knows of a problem: how gradients go on, what a point costs, what it reads.

`Descent` is that of a task and an optimizer of steppe. Another subclass of `AbstractDescent` lets
the catalyst work on anything else that can be run on, scored, and begun again from a text.
"""

import abc
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Int, PyTree

from ..core import tree
from ..core.arguments import expect_kind, told
from ..core.episode import Episode, begin
from ..core.loss import Saddle
from ..core.optimizer import AbstractOptimizer
from ..core.rollout import rollout
from ..core.task import AbstractTask, Problem, structure
from ..core.types import Batch, Instance, Key, Params, Scalar, Split
from .apart import Apart, ApartState, others_of, split
from .codecs import AbstractCodec


@dataclasses.dataclass(frozen=True)
class Lane:
    """A way that gradients go, at one moment.

    - `value`: what its descent goes on from
    - `step`: gradient steps since the start
    """

    value: Any
    step: int


@dataclasses.dataclass(frozen=True)
class Score:
    """The loss on held-out data, and further numbers there."""

    loss: float
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)


class AbstractDescent(abc.ABC):
    """A problem as the catalyst sees it. Lanes are values: none of these changes one."""

    @property
    @abc.abstractmethod
    def gradients_per_step(self) -> int | None:
        """Gradients of the loss that one step takes; None if their number varies."""

    @property
    @abc.abstractmethod
    def texts_say(self) -> Literal["where", "how"]:
        """The meaning of a text: where to go on from, or how to go on from where a lane is.

        The score of the first is that of its point. The score of the second is what comes of it:
        its loss after its probation, less that of going on as before.
        """

    @abc.abstractmethod
    def begin(self) -> Lane:
        """The lane of gradients alone, before its first step."""

    @abc.abstractmethod
    def advance(self, lane: Lane, steps: int) -> Lane:
        """The lane after so many steps more."""

    @abc.abstractmethod
    def score(self, lane: Lane) -> Score:
        """The score of where a lane is, on data that no step is taken on."""

    @abc.abstractmethod
    def text(self, lane: Lane) -> str:
        """The text that comes nearest to where a lane is. CodecError if there is none."""

    @abc.abstractmethod
    def restart(self, lane: Lane, text: str) -> Lane:
        """A lane from the point of a text, with the data to come and the step of this one.

        Raises CodecError where the text stands for none.
        """

    @abc.abstractmethod
    def params(self, lane: Lane) -> Any:
        """The parameters of a lane now."""


class Descent(AbstractDescent):
    """An optimizer on one problem of a task.

    - `start`: a key to begin from, as that of `rollout`, or an episode to go on from
    - `where`: the leaves of the parameters that a text stands for, as in `equinox.tree_at`
    - `split`: data that scores are of

    Gradients alone are `rollout(task, opt, start, …)`, bit by bit.
    """

    def __init__(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        codec: AbstractCodec,
        start: Key | Episode,
        *,
        where: Callable[[PyTree], PyTree] = lambda params: params,
        split: Split = "valid",
    ):
        expect_kind("Descent: task", task, AbstractTask, "a task")
        expect_kind("Descent: opt", opt, AbstractOptimizer, "an optimizer")
        expect_kind("Descent: codec", codec, AbstractCodec, "a codec such as Numeric(…)")
        typed = isinstance(start, jax.Array) and jnp.issubdtype(start.dtype, jax.dtypes.prng_key)
        if not (isinstance(start, Episode) or (typed and start.shape == ())):
            raise ValueError(
                f"Descent: start must be one key such as jax.random.key(0), or an Episode, got "
                f"{told(start)}."
            )
        if issubclass(structure(task), Saddle):
            raise ValueError(
                f"Descent: {type(task).__name__} is a game, whose loss is not to be lowered: no "
                "point is better than another by it."
            )
        self.task, self.opt, self.codec, self.where = task, opt, codec, where
        episode = start if isinstance(start, Episode) else _begin(task, opt, start)
        self.episode = episode
        treedef = jtu.tree_structure(episode.params)
        numbers = jtu.tree_unflatten(treedef, range(treedef.num_leaves))
        self.chosen = tuple(sorted(jtu.tree_leaves(where(numbers))))
        if not self.chosen:
            raise ValueError("Descent: `where` must give a leaf of the parameters at least.")
        self.apart = len(self.chosen) < treedef.num_leaves
        if isinstance(opt, Apart) and self.apart and opt.chosen != self.chosen:
            raise ValueError(f"Descent: `where` gives the leaves {self.chosen}, {opt} others.")
        if self.apart:  # what cannot be told apart is said now
            Apart(opt.base if isinstance(opt, Apart) else opt, self.chosen)
            leaf = where(episode.params)
            eqx.filter_eval_shape(restarted, where, self.chosen, opt, episode, leaf)
        self._batch = task.full_batch(episode.instance, split=split)
        self._key = jr.fold_in(episode.key, 0)

    @property
    def gradients_per_step(self) -> int | None:
        return self.opt.gradients_per_step

    @property
    def texts_say(self) -> Literal["where", "how"]:
        return "where"

    def begin(self) -> Lane:
        return Lane((self.opt, self.episode), 0)

    def advance(self, lane: Lane, steps: int) -> Lane:
        opt, episode = lane.value
        episode = _advance(self.task, opt, episode, jnp.asarray(steps, jnp.int32))
        return Lane((opt, episode), lane.step + steps)

    def score(self, lane: Lane) -> Score:
        return self.score_at(lane.value[1].params)

    def score_at(self, params: Params) -> Score:
        """The score of any parameters."""
        loss, metrics = _score(self.task, self.episode.instance, params, self._batch, self._key)
        return Score(float(loss), {name: float(value) for name, value in metrics.items()})

    def text(self, lane: Lane) -> str:
        return self.codec.encode(self._leaf(lane.value[1]))

    def restart(self, lane: Lane, text: str) -> Lane:
        opt, episode = lane.value
        leaf = self._leaf(episode)
        new = self.codec.decode(text, leaf)
        shapes = lambda x: jtu.tree_map(np.shape, x)
        if shapes(new) != shapes(leaf):
            raise ValueError(f"{type(self.codec).__name__} gave {shapes(new)}, not {shapes(leaf)}.")
        new = jtu.tree_map(lambda x, like: jnp.asarray(x, like.dtype), new, leaf)
        rule = opt if isinstance(opt, Apart) or not self.apart else Apart(opt, self.chosen)
        return Lane((rule, _restart(self.where, self.chosen, opt, episode, new)), lane.step)

    def params(self, lane: Lane) -> Params:
        return lane.value[1].params

    def _leaf(self, episode: Episode) -> PyTree:
        return jtu.tree_map(np.asarray, self.where(episode.params))


@eqx.filter_jit
def _begin(task: AbstractTask, opt: AbstractOptimizer, key: Key) -> Episode:
    return begin(task, opt, key)


@eqx.filter_jit
def _advance(
    task: AbstractTask, opt: AbstractOptimizer, episode: Episode, steps: Int[Array, ""]
) -> Episode:
    """One program for any number of steps, so that no bit depends on where one looks."""
    return rollout(task, opt, episode, steps, lambda episode: episode).looks


@eqx.filter_jit
def _score(
    task: AbstractTask, instance: Instance, params: Params, batch: Batch, key: Key
) -> tuple[Scalar, dict[str, Scalar]]:
    return Problem(task, instance, batch, key).value(params), task.metrics(
        params, instance, batch, key
    )


def restarted(
    where: Callable[[PyTree], PyTree],
    chosen: tuple[int, ...],
    opt: AbstractOptimizer,
    episode: Episode,
    new: PyTree,
) -> Episode:
    """The episode from other leaves: their state is fresh, that of the others is kept.

    The episode's own key goes on, so that the same data come. Unless all leaves are chosen, the
    state is one of `Apart`.
    """
    params = eqx.tree_at(where, episode.params, new)
    key = jr.fold_in(episode.key, 1)
    if len(chosen) == len(jtu.tree_leaves(params)):
        state = opt.init(params, key=key)
    else:
        joint, base = (False, opt.base) if isinstance(opt, Apart) else (True, opt)
        others = (
            others_of(opt, episode.opt_state, episode.params, chosen)
            if joint
            else episode.opt_state.others
        )
        state = ApartState(base.init(split(params, chosen)[0], key=key), others)
    state = tree.strongly_typed(state)
    return Episode(episode.instance, params, state, episode.step, episode.key)


_restart = eqx.filter_jit(restarted)
