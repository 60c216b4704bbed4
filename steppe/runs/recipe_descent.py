"""Settings of a meta-training as texts: the catalyst proposes how to go on with the training.

    how = recipe("twin", task="seesaw")
    knobs = [knob("meta.lr=1e-4:1e-1:log"), knob("meta.clip=0.1:10:log")]
    descent = RecipeDescent(how, knobs, jax.random.key(0))

A lane is an optimizer in training and the settings that it is trained by. A text begins a lane with
the same weights and the same problems to come, other settings, and fresh moments of the
meta-optimizer. Its score is the validation loss, judged by the recipe as it was given. Gradients
alone are the training by that recipe, which no text changes.

Settings that change in the middle of a training: Jaderberg et al., "Population based training of
neural networks", 2017, without a population.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Int

from ..core import tree
from ..core.estimator import AbstractEstimator
from ..core.objective import AbstractObjective
from ..core.optimizer import AbstractOptimizer, split_meta
from ..core.settings import build, values_of
from ..core.task import AbstractTask
from ..core.types import Key, Scalar
from ..prompt.codecs import CodecError
from ..prompt.descent import AbstractDescent, Lane, Score
from ..tasks import suite
from ..train.step import TrainState, meta_step, start
from ..train.validate import Validation
from ..zoo.assemble import assemble
from ..zoo.recipe import Recipe
from .folder import BadInput
from .knobs import Knob, between, codec_of, option, plain


class Trained(NamedTuple):
    """An optimizer, and the settings that it was trained by at last."""

    recipe: Recipe
    opt: AbstractOptimizer


class _Training(NamedTuple):
    recipe: Recipe
    state: TrainState
    left_out: int  # episodes that were not finite


class RecipeDescent(AbstractDescent):
    """Meta-training by a recipe, some settings of which texts may change.

    - `recipe`: with the name of a task, validation, and no curriculum
    - `knobs`: settings that texts may change; a text is a table of them
    - `key`: of weights, problems and validation

    A setting of the meta-optimizer's rate needs no compilation, each other one its own.
    Raises BadInput for a recipe that cannot be changed on the way, and for values out of range.
    """

    def __init__(self, recipe: Recipe, knobs: Sequence[Knob], key: Key):
        if recipe.task.name is None:
            raise BadInput("`task.name` is missing; give the name of a task (`steppe list tasks`).")
        staged = recipe.curriculum.horizons or recipe.curriculum.layers is not None
        if staged or recipe.meta.decay != "none":
            raise BadInput(
                "A recipe with a curriculum or a decaying rate has a schedule of its own, which "
                "settings that change would break; leave the schedule out."
            )
        if not recipe.run.validate_every:
            raise BadInput("Settings are judged by validation; give `run.validate_every` above 0.")
        if not knobs or len({knob.path for knob in knobs}) < len(knobs):
            raise BadInput("Name the settings that may change, each once.")
        self.recipe, self.knobs = recipe, tuple(knobs)
        self.codec = codec_of(self.knobs)
        self._check()
        key_opt, self._key_start, self._key_valid = jr.split(key, 3)
        self._key_opt = key_opt
        task = suite.build(recipe.task.name)
        self._task, self._made = task, {}
        self._opt, how = assemble(recipe, task, key=key_opt)
        self._problems: AbstractTask = how["task"]
        self._validation: Validation = how["validation"]
        self._objective: AbstractObjective = how["objective"]

    @property
    def gradients_per_step(self) -> int | None:
        """Meta-gradients; None where texts change the size or the kind of one."""
        sized = any(knob.path.startswith("estimator.") for knob in self.knobs)
        return None if sized else 1

    @property
    def texts_say(self) -> Literal["where", "how"]:
        return "how"

    def begin(self) -> Lane:
        parts = self._parts(self.recipe)
        state = _start(self._problems, self._opt, *parts, self._key_start)
        return Lane(_Training(self.recipe, state, 0), 0)

    def advance(self, lane: Lane, steps: int) -> Lane:
        recipe, state, left_out = lane.value
        rate = jnp.asarray(recipe.meta.lr, jnp.float32)
        count = jnp.asarray(steps, jnp.int32)
        state, more = _advance(self._problems, state, *self._parts(recipe), rate, count)
        return Lane(_Training(recipe, state, left_out + int(more)), lane.step + steps)

    def score(self, lane: Lane) -> Score:
        left_out = {"episodes left out": float(lane.value.left_out)}
        return Score(self._judged(lane.value.state.opt, self._key_valid), left_out)

    def test(self, trained: Trained) -> float:
        """The validation loss on problems that nothing was chosen by."""
        return self._judged(trained.opt, jr.fold_in(self._key_valid, 1))

    def text(self, lane: Lane) -> str:
        return self.codec.encode(self._point(lane.value.recipe))

    def restart(self, lane: Lane, text: str) -> Lane:
        old, state, left_out = lane.value
        recipe = self._with(self.codec.decode(text, self._point(old)))
        estimator, objective, meta_tx = self._parts(recipe)
        meta_state = tree.strongly_typed(meta_tx.init(split_meta(state.opt)[0]))
        episodes = state.est_state
        if _of_windows(old) != _of_windows(recipe):
            key = jr.fold_in(state.key, 1)
            episodes = _episodes(self._problems, state.opt, estimator, objective, key)
        state = TrainState(state.opt, meta_state, episodes, state.step, state.key)
        return Lane(_Training(recipe, state, left_out), lane.step)

    def params(self, lane: Lane) -> Trained:
        return Trained(lane.value.recipe, lane.value.state.opt)

    def told(self, trained: Trained) -> dict[str, float | str | None]:
        """The settings that texts may change, by their paths."""
        values = values_of(trained.recipe)
        return {knob.path: plain(values[knob.path]) for knob in self.knobs}

    def _judged(self, opt: AbstractOptimizer, key: Key) -> float:
        return float(_score(self._validation, self._problems, opt, self._objective, key))

    def _parts(
        self, recipe: Recipe
    ) -> tuple[AbstractEstimator, AbstractObjective, optax.GradientTransformation]:
        """The parts of a meta-step at rate 1, made once for each recipe: they compile by identity.

        Both meta-optimizers take steps in proportion to their rate, which is a number beside them.
        """
        unit = build(Recipe, values_of(recipe) | {"meta.lr": 1.0})
        name = repr(unit)
        if name not in self._made:
            _, how = assemble(unit, self._task, key=self._key_opt)
            self._made[name] = how["estimator"], how["objective"], how["meta_tx"]
        return self._made[name]

    def _point(self, recipe: Recipe) -> Any:
        """The settings as the codec has them."""
        values = values_of(recipe)
        numbers = [knob for knob in self.knobs if not knob.words]
        found = [float(values[knob.path]) for knob in numbers]  # pyright: ignore
        logs = zip(found, numbers, strict=True)
        leaf = np.array([math.log(x) if knob.log else x for x, knob in logs], np.float64)
        indices = [
            np.float64(knob.words.index(str(plain(values[knob.path]))))
            for knob in self.knobs
            if knob.words
        ]
        return leaf if not indices else (*([leaf] if numbers else []), *indices)

    def _with(self, point: Any) -> Recipe:
        """The recipe with the settings of a point. Raises CodecError for what cannot be."""
        words = [knob for knob in self.knobs if knob.words]
        numbers = [knob for knob in self.knobs if not knob.words]
        parts = list(point) if words else [point]
        changes: dict[str, object] = {}
        for knob, x in zip(numbers, parts.pop(0) if numbers else [], strict=True):
            value = float(f"{math.exp(x) if knob.log else x:.12g}")  # as the text said it
            value = min(max(value, knob.low), knob.high)
            changes[knob.path] = round(value) if option(knob.path).kind is int else value
        for knob, i in zip(words, parts, strict=True):
            word = knob.words[round(float(i))]
            changes[knob.path] = word == "true" if option(knob.path).kind is bool else word
        try:
            return build(Recipe, values_of(self.recipe) | changes)
        except ValueError as error:
            raise CodecError(str(error)) from None

    def _check(self) -> None:
        """Refuse a recipe whose own settings no text can tell, and ends that it cannot have."""
        values = values_of(self.recipe)
        for knob in self.knobs:
            value = values[knob.path]
            said = str(plain(value)) if knob.words else value
            inside = said in knob.words if knob.words else between(knob, value)
            if not inside:
                ends = ", ".join(knob.words) if knob.words else f"{knob.low:g} to {knob.high:g}"
                raise BadInput(
                    f"`{knob.path}` of the recipe is {said}, which is not in {ends}; give it "
                    "another value or range."
                )
            for end in () if knob.words else (knob.low, knob.high):
                kind = option(knob.path).kind
                build(Recipe, values | {knob.path: kind(end)})  # says what is out of range


def _of_windows(recipe: Recipe) -> tuple:
    """The part of a recipe that episodes in flight remember something of."""
    return recipe.estimator, recipe.objective, recipe.penalty


@eqx.filter_jit
def _start(
    task: AbstractTask,
    opt: AbstractOptimizer,
    estimator: AbstractEstimator,
    objective: AbstractObjective,
    meta_tx: optax.GradientTransformation,
    key: Key,
) -> TrainState:
    how = {"estimator": estimator, "objective": objective, "meta_tx": meta_tx}
    return start(task, opt, **how, key=key)


@eqx.filter_jit
def _episodes(
    task: AbstractTask,
    opt: AbstractOptimizer,
    estimator: AbstractEstimator,
    objective: AbstractObjective,
    key: Key,
) -> Any:
    return tree.strongly_typed(estimator.init(task, opt, objective, key=key))


@eqx.filter_jit
def _advance(
    task: AbstractTask,
    state: TrainState,
    estimator: AbstractEstimator,
    objective: AbstractObjective,
    meta_tx: optax.GradientTransformation,
    rate: Array,
    steps: Int[Array, ""],
) -> tuple[TrainState, Int[Array, ""]]:
    """Meta-steps at a rate, and the episodes that were not finite in them."""
    arrays, rest = eqx.partition(state, eqx.is_array)

    def one(_, carry):
        arrays, bad = carry
        state, stats = meta_step(
            task, eqx.combine(arrays, rest), estimator, objective, meta_tx, scale=rate
        )
        return eqx.filter(state, eqx.is_array), bad + jnp.asarray(stats.nonfinite, jnp.int32)

    arrays, bad = jax.lax.fori_loop(0, steps, one, (arrays, jnp.zeros((), jnp.int32)))
    return eqx.combine(arrays, rest), bad


@eqx.filter_jit
def _score(
    validation: Validation,
    task: AbstractTask,
    opt: AbstractOptimizer,
    objective: AbstractObjective,
    key: Key,
) -> Scalar:
    return validation.score(task, opt, key, objective=objective)
