"""The recipe of a meta-training: every setting, declared once.

    recipe("dm-cl-il")                              a `Recipe`, exactly as published
    recipe("dm-cl-il", steps=500, meta_lr=1e-2)     with some of its settings changed
    Recipe(optimizer=Optimizer(name="dm"), meta=Meta(clip=None))

The command line of `steppe train`, its help, TOML files, `config.json` and the recipe in a
checkpoint derive from these classes: a field added here is an option everywhere. Objects check
their values, `Recipe` checks what goes together. Plain data, standard library only; `assemble.py`
makes the objects that `meta_train` takes.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar

from ..core.settings import (
    REQUIRED,
    build,
    check,
    from_table,
    group,
    setting,
    settings_of,
    values_of,
)
from ..estimators.names import ESTIMATORS
from ..optimizers.formulas import canonical
from .adaptation import Adaptation
from .penalty import Penalty

R = TypeVar("R", bound="Recipe")
TEACHERS = ("adam", "rmsprop", "nag", "sgd", "self")
# Options of optimizers that have a setting each, beside `hidden`
NAMED = ("scale", "layers", "formula", "time_scales", "horizon", "weight_decay")
SEEDS = 2**32  # jax.random.key takes 32 bits where float64 is off


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """The problems of meta-training (`steppe.tasks`)."""

    name: str | None = setting(
        None, "task to train on, see `steppe list tasks`", flag="task", required=True
    )
    others: tuple[str, ...] = setting(
        (),
        "further tasks to train on in each meta-step, with as many episodes and the same weight "
        "(default: the task alone)",
        metavar="NAME",
        flag="other-tasks",
    )
    scaling: float = setting(
        0.0, "half width, in ln, of a random scaling of every coordinate; 0: none", least=0
    )
    convex: int = setting(0, "variables of a convex function added to the task; 0: none", least=0)
    particles: int | None = setting(
        None,
        "points from which an optimizer of swarms sees each problem, e.g. 4 (default: one alone)",
        least=1,
        most=2**12,
    )

    def __post_init__(self):
        check(self, "task.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer:
    """The optimizer that is trained (`steppe.zoo.build`)."""

    name: str = setting(REQUIRED, "optimizer to train, see `steppe list optimizers`", flag="opt")
    hidden: tuple[int, ...] = setting(
        (),
        "widths of the optimizer's recurrent layers, e.g. 20,20 (default: the paper's)",
        least=1,
        unit="widths",
    )
    scale: float | None = setting(
        None,
        "factor of the optimizer's output: the largest step of rnnprop (default: the paper's)",
        above=0,
    )
    layers: int | None = setting(
        None, "layers of an unrolled network (default: 16)", least=1, most=2**16, unit="layers"
    )
    formula: str | None = setting(
        None,
        "update of the optimizer symbolic, e.g. '-0.01 * tanh(mn95)' (default: that of Adam)",
        metavar="TEXT",
    )
    time_scales: tuple[float, ...] = setting(
        (),
        "steps of the features of time that rnnprop and dm can have, e.g. 10,100,1000 (default: "
        "none)",
        above=0,
        unit="steps",
    )
    horizon: int | None = setting(
        None,
        "steps of a training that rnnprop or dm is told, for the feature t/T (default: not told)",
        least=1,
        most=2**31,
        unit="steps",
        flag="opt-horizon",
    )
    weight_decay: float | None = setting(
        None,
        "largest share of a parameter that a step of rnnprop or dm takes away besides, e.g. 0.001; "
        "the share is learned (default: none)",
        above=0,
        most=0.5,
    )
    options: Mapping[str, Any] = setting(
        {}, "other options of the optimizer by name; in files only", flag="opt-options"
    )

    def __post_init__(self):
        check(self, "optimizer.")
        if "hidden" in self.options:
            raise ValueError("`optimizer.options` has 'hidden'; give it as `optimizer.hidden`.")
        if self.formula is not None:
            canonical(self.formula, None)  # raises for what is no formula, or lacks numbers
        for name in NAMED:
            if name in self.options and getattr(self, name) not in (None, ()):
                raise ValueError(
                    f"`optimizer.{name}` was given, and {name!r} in `optimizer.options` too."
                )

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of the optimizer's class."""
        own = {"hidden": self.hidden, **{name: getattr(self, name) for name in NAMED}}
        return {name: x for name, x in own.items() if x not in (None, ())} | dict(self.options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimator:
    """The estimator of the meta-gradient (`BPTT`, `ES`, `PES`)."""

    kind: str = setting(
        "bptt",
        "estimator of the meta-gradient: back-propagation through time, evolution strategies, "
        "persistent ones, or back-propagation through whole episodes",
        choices=tuple(ESTIMATORS),
        flag="estimator",
    )
    sigma: float = setting(
        0.01, "standard deviation of the perturbations of evolution strategies", above=0
    )
    unroll: int = setting(20, "inner steps between two meta-steps", least=1)
    horizon: int = setting(100, "inner steps of an episode", least=1)
    episodes: int = setting(8, "episodes in parallel", least=1)
    rows: int | None = setting(
        None,
        "coordinates sampled for back-propagation; fewer is faster and noisier",
        least=1,
        nothing="all",
    )
    second_order: bool = setting(False, "differentiate through the gradients of the task as well")

    def __post_init__(self):
        check(self, "estimator.")
        if self.kind in ("es", "pes") and (self.rows is not None or self.second_order):
            raise ValueError(
                "`estimator.rows` and `estimator.second_order` are about back-propagation, which "
                f"`estimator.kind {self.kind}` does without; leave them out."
            )
        if self.kind == "whole" and (self.rows is not None or self.horizon != self.unroll):
            raise ValueError(
                "`estimator.kind whole` takes all coordinates of whole episodes: leave "
                "`estimator.rows` out, and give `estimator.unroll` and `estimator.horizon` the "
                f"same number, got {self.unroll} and {self.horizon}."
            )
        if self.rows is not None and self.second_order:
            raise ValueError(
                "`estimator.rows` samples coordinates, which `estimator.second_order` makes "
                "impossible; leave one of them out."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective:
    """The number that meta-training minimises along an unroll.

    `Trajectory`, `Supervised`, `Demonstrated`; `Merit`, `Reward`.
    """

    of: Literal["loss", "truth", "either", "path", "merit", "reward"] = setting(
        "loss",
        "number after each step: the loss, the distance to the truth that data were made from, or "
        "either: that distance where the task tells a truth, else the loss; path: the distance to "
        "a walk that looks around first and then goes to the truth; of games merit, the square of "
        "the gradient that is left, or reward, what the players gain by their moves",
    )
    weights: Literal["uniform", "ramp", "last", "sum"] = setting(
        "uniform",
        "weights of the losses after each step: equal, growing with the step, only the last, or 1 "
        "each",
    )
    transform: Literal["identity", "ratio", "log"] = setting(
        "log",
        "transform of each loss: none, ratio to the episode's first loss, logarithm of that",
    )
    batch: Literal["same", "fresh", "valid"] = setting(
        "same",
        "data of the losses: the training batches, fresh ones, or the validation split",
    )
    entropy: float = setting(
        0.0,
        "weight of the entropy of where a swarm knows the minimum to be; 0: none",
        least=0,
    )
    walk: int = setting(32, "steps of the walk of a path, there and back", least=2)
    stride: float = setting(0.37, "length of a step of that walk in every parameter", above=0)

    def __post_init__(self):
        check(self, "objective.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Imitation:
    """Now and then a meta-step on what a teacher would do (`steppe.Imitation`)."""

    teachers: tuple[str, ...] = setting(
        (),
        "teachers to imitate: adam, rmsprop, nag, sgd, or self: the optimizer as it was at the "
        "start (default: no imitation)",
        choices=TEACHERS,
        metavar="NAME",
    )
    lr: float = setting(0.01, "learning rate of the teachers", above=0)
    ratio: tuple[float, ...] = setting(
        (0.3,),
        "share of imitation among the meta-steps, with a curriculum stage by stage, the last one "
        "repeated",
        least=0,
        most=1,
    )
    follow: Literal["teacher", "student"] = setting(
        "teacher",
        "leader of the run that teacher and student both see",
    )
    every: int = setting(1, "show the student every so many of the teacher's steps", least=1)
    weights: Literal["sum", "uniform"] = setting(
        "sum",
        "weights of the steps in imitation: 1 each, or 1 over their number",
    )
    shared: bool = setting(
        False, "keep one state of the meta-optimizer for all losses instead of one each"
    )

    def __post_init__(self):
        check(self, "imitation.")
        if not self.ratio:
            raise ValueError("`imitation.ratio` must be numbers from 0 to 1, got none.")
        if self.every > 1 and self.follow == "student":
            raise ValueError(
                "`imitation.every` needs `imitation.follow teacher`: a student that leads sees "
                "every gradient."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curriculum:
    """Stages of a training: episodes that grow longer, easy ones first, or layers of a network.

    `steppe.Curriculum`; `SelfPaced`; `steppe.fit_layerwise`.
    """

    horizons: tuple[int, ...] = setting(
        (),
        "inner steps of an episode, stage by stage, e.g. 100,200,500 (default: no curriculum)",
        least=1,
        unit="steps",
    )
    layers: tuple[int, ...] | None = setting(
        None,
        "meta-steps of the three stages of each layer of an unrolled network: the newest alone, "
        "then all so far at 1/5 and at 1/50 of the rate; none: all layers at once",
        least=1,
        unit="meta-steps",
    )
    easiest: float | None = setting(
        None,
        "share of the episodes, the easiest, that the first meta-step goes by; it grows to all",
        above=0,
        most=1,
        nothing="all from the start",
    )
    easiest_until: int = setting(400, "meta-steps from which all episodes count", least=1)
    decay: float = setting(
        1.0, "factor of the step of a layer of a network for each newer layer", above=0, most=1
    )
    patience: int = setting(
        3,
        "validations that a stage gets at least; for layers: that it gets without a better one",
        least=1,
    )

    def __post_init__(self):
        check(self, "curriculum.")
        if self.layers is not None and len(self.layers) != 3:
            raise ValueError(
                "`curriculum.layers` must be the meta-steps of three stages, such as 200,200,100, "
                f"got {','.join(map(str, self.layers))}."
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Meta:
    """The meta-optimizer."""

    optimizer: Literal["adam", "rmsprop"] = setting(
        "adam",
        "meta-optimizer: Adam, or RMSProp as in TensorFlow (decay 0.9, ε 1e-20, from 1)",
        flag="meta-opt",
    )
    lr: float = setting(1e-3, "meta-learning rate", above=0)
    decay: Literal["none", "cosine"] = setting(
        "none",
        "schedule of the meta-learning rate: constant or cosine, to zero at the last meta-step",
    )
    clip: float | None = setting(1.0, "largest norm of a meta-gradient", above=0, flag="clip")
    clip_each: float | None = setting(
        None, "largest size of each entry of a meta-gradient", above=0, flag="clip-each"
    )

    def __post_init__(self):
        check(self, "meta.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """Length, seed, validation and checkpoints of a run."""

    steps: int = setting(1000, "meta-steps, at most with a curriculum", least=1, free=True)
    seed: int = setting(0, "seed of everything random", least=0, most=SEEDS - 1)
    validate_every: int = setting(
        100,
        "meta-steps between two validations; 0: no validation, the last optimizer is kept",
        least=0,
    )
    validation_episodes: int = setting(8, "inner trainings of a validation", least=1)
    validate_by: Literal["valid", "objective"] = setting(
        "valid",
        "score of a validation: the loss on held-out data, or the objective of meta-training",
    )
    keep: Literal["best", "last", "average"] = setting(
        "best",
        "weights that a run ends with: the best by validation, the last, or the mean over the "
        "last quarter of the meta-steps",
    )
    checkpoint_every: int = setting(100, "meta-steps between two checkpoints", least=1, free=True)
    log: Literal["tensorboard"] | None = setting(
        None,
        "event files for TensorBoard in the run folder as well",
        free=True,
    )
    cores: int | None = setting(
        None, "processor cores to spread episodes over", least=1, nothing="all", free=True
    )

    def __post_init__(self):
        check(self, "run.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """Every setting of a meta-training.

    - `task`, `optimizer`: what is trained, and on what
    - `estimator`, `objective`, `penalty`: the meta-gradient, and the number it is of
    - `imitation`, `curriculum`, `adapted`: training techniques
    - `meta`, `run`: the meta-optimizer; length, seed and validation
    """

    task: Task = group(Task(), flags="")
    optimizer: Optimizer = group(REQUIRED, flags="")
    estimator: Estimator = group(Estimator(), flags="")
    objective: Objective = group(Objective())
    penalty: Penalty = group(Penalty(), flags="flat.")
    imitation: Imitation = group(Imitation())
    curriculum: Curriculum = group(Curriculum())
    adapted: Adaptation = group(Adaptation(), flags="adapt-")
    meta: Meta = group(Meta(), flags="meta-")
    run: Run = group(Run(), flags="")

    def __post_init__(self):
        stages, ratio = self.curriculum.horizons, self.imitation.ratio
        layers, whole = self.curriculum.layers is not None, self.estimator.kind == "whole"
        if (stages or layers) and not self.run.validate_every:
            raise ValueError(
                f"`curriculum.{'layers' if layers else 'horizons'}` goes by validation, which "
                "`run.validate_every 0` switches off; leave one of them out."
            )
        if layers and not whole:
            raise ValueError(
                f"`curriculum.layers` needs `estimator.kind whole`, got {self.estimator.kind}: a "
                "network ends with its newest layer."
            )
        if stages and whole:
            raise ValueError(
                "`curriculum.horizons` needs episodes longer than an unroll, which "
                "`estimator.kind whole` has not; leave one of them out."
            )
        if layers and self.meta.decay != "none":
            raise ValueError(
                f"`meta.decay {self.meta.decay}` goes by all meta-steps of a run, but with "
                "`curriculum.layers` each stage has a rate of its own; leave one of them out."
            )
        if self.curriculum.easiest is not None and (
            self.estimator.kind != "bptt" or self.adapted.rate is not None
        ):
            raise ValueError(
                "`curriculum.easiest` needs `estimator.kind bptt`, whose episodes have a "
                "meta-gradient each, and no `adapted.rate`; leave one of them out."
            )
        if self.objective.entropy and self.task.particles is None:
            raise ValueError(
                "`objective.entropy` is of what several particles know; add `task.particles 4`."
            )
        if self.task.others and (layers or self.adapted.rate is not None):
            other = "curriculum.layers" if layers else "adapted.rate"
            raise ValueError(
                f"`task.others` mixes meta-gradients of several tasks, which `{other}` takes of "
                "one; leave one of them out."
            )
        if self.task.others and self.curriculum.easiest is not None:
            raise ValueError(
                "`curriculum.easiest` picks among the episodes of one task, but `task.others` was "
                "given; leave one of them out."
            )
        self.adapted.check_with(self.estimator.kind, self.estimator.rows)
        if stages and self.penalty.active != "always":
            raise ValueError(
                f"`penalty.active {self.penalty.active}` is a share of the horizon, which a "
                "curriculum changes; leave one of them out."
            )
        if len(ratio) > 1 and not stages:
            raise ValueError(
                f"`imitation.ratio {','.join(map(str, ratio))}` is one number a stage; add "
                "`curriculum.horizons`, or give one number."
            )
        if self.penalty.every > self.estimator.unroll:
            raise ValueError(
                f"`penalty.every` is {self.penalty.every}, but an unroll has "
                f"{self.estimator.unroll} steps, so that nothing would be measured; give at most "
                "`estimator.unroll`."
            )


def check_idle(recipe: Recipe, given: Iterable[str]) -> None:
    """Refuse settings that were given but mean nothing where others are off, mostly a slip.

    - `given`: paths of the settings that somebody asked for
    """
    silent = []
    if not recipe.imitation.teachers:
        silent += [("imitation.", "there is no teacher; add `imitation.teachers adam`")]
    if recipe.adapted.rate is None:
        silent += [("adapted.", "nothing is adapted without a rate; add `adapted.rate 0.001`")]
    if recipe.curriculum.layers is None:
        silent += [("curriculum.decay", "layers are trained at once; add `curriculum.layers`")]
    if recipe.curriculum.easiest is None:
        silent += [("curriculum.easiest_until", "all count anyway; add `curriculum.easiest 0.2`")]
    if recipe.penalty.kind == "none":
        silent += [("penalty.", "nothing is measured without a kind; add `penalty.kind NAME`")]
    values, options = values_of(recipe), settings_of(type(recipe))
    for path in given:
        for prefix, why in silent:
            if path.startswith(prefix) and values[path] != options[path].default:
                raise ValueError(f"`{path}` was given ({values[path]}), but {why}.")


def change(recipe: R, /, **changes: Any) -> R:
    """The recipe with some of its settings changed.

    - `changes`: by path, `**{"meta.lr": 0.1}`; as on the command line, `meta_lr=0.1`; or a group
      as a whole, `meta=Meta(lr=0.1)`

    >>> change(Recipe(optimizer=Optimizer(name="dm")), steps=5, task="quadratic").run.steps
    5
    """
    return build(type(recipe), values_of(recipe) | changed(changes, type(recipe)))


def changed(changes: Mapping[str, Any], cls: type[Recipe] = Recipe) -> dict[str, object]:
    """The settings that `change` is given, by path."""
    table = {
        name: values_of(value) if dataclasses.is_dataclass(value) else value
        for name, value in changes.items()
    }
    return from_table(cls, table, "Recipe")
