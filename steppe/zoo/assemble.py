"""Make the objects that `meta_train` takes from a recipe.

task = steppe.tasks.build("mnist-mlp")
opt, how = assemble(recipe("dm-cl-il"), task, key=jax.random.key(0))
best, history = meta_train(how.pop("task"), opt, **how, key=jax.random.key(1))
"""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import optax

from ..core import loss
from ..core.estimator import AbstractEstimator
from ..core.measure import AbstractMeasure
from ..core.objective import AbstractObjective
from ..core.optimizer import AbstractOptimizer
from ..core.task import AbstractTask, examples, structure
from ..core.types import Key
from ..estimators.adapted import Adapted
from ..estimators.bptt import BPTT
from ..estimators.imitation import Imitation
from ..estimators.mix import Mix, Part
from ..estimators.names import ESTIMATORS
from ..estimators.self_paced import SelfPaced
from ..estimators.whole import Whole
from ..flatness import names as measures
from ..flatness.units import Adaptive, Relative
from ..objectives.minimax import Merit, Reward
from ..objectives.regularized import Regularized
from ..objectives.supervised import Demonstrated, Supervised, tells_truth
from ..objectives.swarm import Located
from ..objectives.trajectory import Trajectory
from ..optimizers.adaptable import Adaptable
from ..optimizers.classic.from_optax import FromOptax, adam, rmsprop, sgd
from ..optimizers.unrolled.base import AbstractUnrolled
from ..tasks import suite
from ..tasks.wrappers.population import Population
from ..tasks.wrappers.scaled import Scaled
from ..tasks.wrappers.with_bowl import WithBowl
from ..train.adapt import Adapter
from ..train.curriculum import Curriculum
from ..train.layerwise import Layerwise, layer_by_layer
from ..train.step import separate_states
from ..train.validate import Validation
from .recipe import Estimator, Meta, Penalty, Recipe
from .registry import build, check_players

FIRST = "first"  # name of the recipe's own task among several

MAKE: dict[str, Callable[[float], AbstractOptimizer]] = {  # teachers by name
    "adam": adam,
    "rmsprop": rmsprop,
    "nag": lambda lr: FromOptax("sgd", learning_rate=lr, momentum=0.9, nesterov=True),
    "sgd": sgd,
}


def assemble(
    recipe: Recipe,
    task: AbstractTask,
    *,
    key: Key,
    others: Mapping[str, AbstractTask] | None = None,
) -> tuple[AbstractOptimizer, dict[str, Any]]:
    """The optimizer, with random weights from `key`, and the keyword arguments of `meta_train`.

    `key`, `folder` and what else is about a run and not about its recipe are left to the caller.

    - `recipe`: its settings; the name of its task and its seed are not used
    - `task`: the problems to train on, and to validate on
    - `others`: further tasks by name, for the meta-gradient alone; None: those of the recipe
    """
    others = others_of(recipe) if others is None else others
    problems = augmented(recipe, task)
    opt = build(recipe.optimizer.name, key=key, task=problems, **recipe.optimizer.arguments)
    for each in (task, *others.values()):
        check_players(recipe.optimizer.name, opt, each)
    layers = None if recipe.curriculum.layers is None else layerwise(recipe, opt)
    if recipe.adapted.rate is not None and recipe.adapted.learn_rate:
        opt = Adaptable(opt, recipe.adapted.rate)
    main = _adapted(recipe, _main(recipe.estimator, growing=layers is not None))
    if recipe.curriculum.easiest is not None and isinstance(main, BPTT):
        main = SelfPaced(main, recipe.curriculum.easiest, recipe.curriculum.easiest_until)
    main = among(recipe, main, task, others) if others else main
    imitated, run = recipe.imitation, recipe.run
    teachers = {name: _imitation(recipe, name, opt) for name in imitated.teachers}
    chances = [_chances(ratio, len(teachers)) for ratio in imitated.ratio]
    estimator = Mix({"main": main, **teachers}, chances[0], draw=True) if teachers else main
    tx = meta_optimizer(recipe.meta, run.steps)
    return opt, {
        "task": problems,
        "estimator": estimator,
        "objective": objective(recipe, populated(recipe, task)),
        "meta_tx": separate_states(tx, 1 + len(teachers))
        if teachers and not imitated.shared
        else tx,
        "steps": run.steps,
        "weights": run.keep,
        "validation": (
            Validation(
                run.validate_every,
                recipe.estimator.horizon,
                run.validation_episodes,
                run.validate_by,
                1 if layers else recipe.estimator.unroll,
                _before_validation(recipe),
            )
            if run.validate_every
            else None
        ),
        "curriculum": (
            Curriculum(
                recipe.curriculum.horizons,
                weights=tuple(chances) if teachers else None,
                patience=recipe.curriculum.patience,
            )
            if recipe.curriculum.horizons
            else layers
        ),
    }


def others_of(recipe: Recipe) -> dict[str, AbstractTask]:
    """The further tasks that a recipe names."""
    return {name: suite.build(name) for name in recipe.task.others}


def among(
    recipe: Recipe,
    main: AbstractEstimator,
    task: AbstractTask,
    others: Mapping[str, AbstractTask],
) -> AbstractEstimator:
    """The estimator on the task of the call and on others: the mean of their meta-gradients."""

    first = objective(recipe, populated(recipe, task))

    def part(other: AbstractTask) -> Part:
        own = objective(recipe, populated(recipe, other))
        return Part(main, augmented(recipe, other), None if eqx.tree_equal(own, first) else own)

    parts = {name: part(other) for name, other in others.items()}
    if FIRST in parts:
        raise ValueError(
            f"assemble: {FIRST!r} is the task of the recipe; name the other otherwise."
        )
    count = 1 + len(parts)
    return Mix({FIRST: main, **parts}, [1 / count] * count)


def augmented(recipe: Recipe, task: AbstractTask) -> AbstractTask:
    """The task that the optimizer is trained on; evaluation is on the task itself."""
    task = WithBowl(task, recipe.task.convex) if recipe.task.convex else task
    task = Scaled(task, recipe.task.scaling) if recipe.task.scaling else task
    return populated(recipe, task)  # outermost: particles share a problem, and its scaling


def populated(recipe: Recipe, task: AbstractTask) -> AbstractTask:
    """The task for as many particles as the recipe says; the task itself where it says nothing."""
    particles = recipe.task.particles
    return task if particles is None else Population(task, particles)


def objective(recipe: Recipe, task: AbstractTask) -> AbstractObjective:
    """The losses along the unroll, with the recipe's penalty."""
    how, penalty = recipe.objective, recipe.penalty
    base: AbstractObjective = Trajectory(how.weights, how.transform, how.batch)
    horizon = recipe.estimator.horizon
    if how.of == "truth" or (how.of == "either" and tells_truth(task)):
        base = Supervised(how.weights)
    if how.of == "path":
        base = Demonstrated(how.walk, how.stride, how.weights)
    if how.of in ("merit", "reward"):
        base = Merit(how.weights, how.transform) if how.of == "merit" else Reward()
    base = Located(base, how.entropy) if how.entropy else base
    if penalty.kind == "none" or penalty.weight is None:
        return base
    steps = max(1, round(penalty.fraction * horizon))
    return Regularized(
        base,
        measure(penalty, task),
        penalty.weight,
        where=penalty.where,
        every=penalty.every,
        normalise=penalty.normalise,
        reference=penalty.reference,
        since=horizon - steps if penalty.active == "last" else 0,
        until=steps if penalty.active == "first" else None,
    )


def layerwise(recipe: Recipe, opt: AbstractOptimizer) -> Layerwise:
    """The stages of the optimizer's layers; ValueError if it has none, or others than unrolled."""
    how, unroll = recipe.curriculum, recipe.estimator.unroll
    if not isinstance(opt, AbstractUnrolled):
        raise ValueError(
            f"`curriculum.layers` is about unrolled networks, which {recipe.optimizer.name} is "
            "not; leave it out."
        )
    if opt.layers != unroll:
        raise ValueError(
            f"`estimator.unroll` and `estimator.horizon` must be the {opt.layers} layers of "
            f"{recipe.optimizer.name} where they are trained one by one, got {unroll}."
        )
    spans = layer_by_layer(opt.layers, how.layers or ())
    return Layerwise(spans, how.decay, how.patience)


def measure(penalty: Penalty, task: AbstractTask) -> AbstractMeasure:
    """The penalty's measure, in its units."""
    entry = measures.MEASURES[penalty.kind]
    if entry.needs and not issubclass(structure(task), getattr(loss, entry.needs)):
        raise ValueError(
            f"{penalty.kind} needs a task with a model and a criterion of its outputs, which "
            f"{type(task).__name__} has not; use trace, or a task of digits."
        )
    arguments = {name: getattr(penalty, name) for name in entry.tunable}
    if arguments.get("temperature", 0) is None:
        arguments["temperature"] = 1 / examples(task)
    base = measures.build(penalty.kind, **arguments)
    if penalty.units == "length":
        return Relative(base, 4 if penalty.kind == "frobenius" else 2)
    if penalty.units in ("weights", "layers"):
        return Adaptive(base, "tensors" if penalty.units == "layers" else "weights")
    return base


def meta_optimizer(meta: Meta, steps: int) -> optax.GradientTransformation:
    """The transformation of meta-gradients; a decaying rate is at zero after `steps` of them."""
    clips = []
    if meta.clip_each is not None:
        clips.append(optax.clip(meta.clip_each))
    if meta.clip is not None:
        clips.append(optax.clip_by_global_norm(meta.clip))
    lr = optax.cosine_decay_schedule(meta.lr, steps) if meta.decay == "cosine" else meta.lr
    if meta.optimizer == "adam":
        return optax.chain(*clips, optax.adam(lr))
    rms = optax.rmsprop(lr, decay=0.9, eps=1e-20, initial_scale=1.0)
    return optax.chain(*clips, rms)


def _main(how: Estimator, *, growing: bool) -> AbstractEstimator:
    """The estimator; episodes that are `growing` may end before their length."""
    sizes = how.episodes, how.unroll, how.horizon
    if how.kind == "whole":
        horizon = how.horizon if growing else None
        return Whole(how.episodes, how.unroll, horizon, second_order=how.second_order)
    if how.kind == "bptt":
        return BPTT(*sizes, second_order=how.second_order, rows=how.rows)
    return ESTIMATORS[how.kind].load()(*sizes, sigma=how.sigma)


def _adapted(recipe: Recipe, main: AbstractEstimator) -> AbstractEstimator:
    """The estimator after adaptation, where the recipe asks for it."""
    how = recipe.adapted
    if how.rate is None or not isinstance(main, BPTT):
        return main
    order = 2 if how.order == 2 else 1
    return Adapted(main, how.rate, how.steps, how.outer, order, how.inner)


def _before_validation(recipe: Recipe) -> Adapter | None:
    """The adaptation before a validation: on one episode, an update for each of its unrolls."""
    how, sizes = recipe.adapted, recipe.estimator
    if how.rate is None or not how.updates:
        return None
    horizon = max(sizes.unroll, sizes.horizon)
    return Adapter(BPTT(1, sizes.unroll, horizon, stagger=False), how.updates)


def _imitation(recipe: Recipe, name: str, opt: AbstractOptimizer) -> Imitation:
    how, sizes = recipe.imitation, recipe.estimator
    return Imitation(
        opt if name == "self" else MAKE[name](how.lr),
        sizes.episodes,
        sizes.unroll,
        sizes.horizon,
        follow=how.follow,
        every=how.every,
        weights=how.weights,
    )


def _chances(ratio: float, teachers: int) -> tuple[float, ...]:
    """Chances of the main part and of each teacher; one of them is drawn at each meta-step."""
    return (1 - ratio, *[ratio / teachers] * teachers) if teachers else (1.0,)
