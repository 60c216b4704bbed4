"""How an optimizer is meta-trained, in names and numbers, and the published recipes by name.

    recipe("dm-cl-il")                  a `Recipe`, exactly as published
    recipe("dm-cl-il", steps=500)       with some of its numbers changed

Plain data, standard library only; `assemble.py` makes the objects.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Literal

from ..core.messages import did_you_mean
from .penalty import Penalty

TEACHERS = ("adam", "rmsprop", "nag", "sgd", "self")
STAGES = (100, 200, 500, 1000, 1500, 2000, 2500, 3000)  # of DM and RNNProp
SCALE_STAGES = (*STAGES, 3500, 4000, 4500, 5000)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """What `assemble` turns into the arguments of `meta_train`.

    Optimizer
    - `opt`, `options`: a name of `zoo.names` and its options, e.g. {"hidden": (20, 20)}

    Task
    - `scaling`: half width, in ln, of a random scaling of each coordinate (`tasks.augment`)
    - `convex`: variables of an added convex bowl (`tasks.augment`); 0: none of either

    Meta-gradient
    - `estimator`: bptt, es or pes; `sigma`: of the latter two
    - `episodes`, `unroll`, `horizon`, `rows`, `second_order`: see `BPTT`
    - `weights`, `transform`, `batch`: of the objective, see `Trajectory`
    - `penalty`: a measure of flatness added to it

    Imitation
    - `teachers`: names of `TEACHERS`, "self" being the optimizer as it was at the start; (): none
    - `teacher_lr`: their learning rate
    - `ratio`: chance of an imitation step, stage by stage, the last one repeated
    - `follow`, `every`: see `Imitation`; `imitation_weights`: its `weights`
    - `shared`: one state of the meta-optimizer for all losses, instead of one each

    Meta-optimizer and run
    - `meta_opt`, `meta_lr`: adam, or rmsprop as in TensorFlow (decay 0.9, ε 1e-20, from 1)
    - `meta_decay`: of `meta_lr`: none, or to zero at `steps` along a cosine
    - `clip`: largest norm of a meta-gradient; `clip_each`: of each of its entries
    - `stages`: horizons of a curriculum; (): none; `patience`: validations of a stage at least
    - `steps`: meta-steps at most
    - `validate_every`: meta-steps; 0: never; `validation_episodes`, `validate_by`: see `Validation`
    """

    opt: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    scaling: float = 0.0
    convex: int = 0
    estimator: Literal["bptt", "es", "pes"] = "bptt"
    sigma: float = 0.01
    episodes: int = 8
    unroll: int = 20
    horizon: int = 100
    rows: int | None = None
    second_order: bool = False
    weights: Literal["uniform", "ramp", "last", "sum"] = "uniform"
    transform: Literal["identity", "ratio", "log"] = "log"
    batch: Literal["same", "fresh", "valid"] = "same"
    penalty: Penalty | None = None
    teachers: tuple[str, ...] = ()
    teacher_lr: float = 0.01
    ratio: tuple[float, ...] = (0.3,)
    follow: Literal["teacher", "student"] = "teacher"
    every: int = 1
    imitation_weights: Literal["sum", "uniform"] = "sum"
    shared: bool = False
    meta_opt: Literal["adam", "rmsprop"] = "adam"
    meta_lr: float = 1e-3
    meta_decay: Literal["none", "cosine"] = "none"
    clip: float | None = None
    clip_each: float | None = None
    stages: tuple[int, ...] = ()
    patience: int = 3
    steps: int = 1000
    validate_every: int = 100
    validation_episodes: int = 8
    validate_by: Literal["valid", "objective"] = "valid"

    def __post_init__(self):
        for teacher in self.teachers:
            if teacher not in TEACHERS:
                raise ValueError(
                    f"Recipe: there is no teacher {teacher!r}; {did_you_mean(teacher, TEACHERS)}"
                )
        if self.stages and not self.validate_every:
            raise ValueError("Recipe: a curriculum goes by validation; set validate_every.")
        if any(not 0 <= chance <= 1 for chance in self.ratio) or not self.ratio:
            raise ValueError(f"Recipe: ratio must be chances from 0 to 1, got {self.ratio}.")
        if self.estimator not in ("bptt", "es", "pes"):
            raise ValueError(f"Recipe: estimator must be bptt, es or pes, got {self.estimator!r}.")
        if self.estimator != "bptt" and (self.rows is not None or self.second_order):
            raise ValueError(
                f"Recipe: {self.estimator} differentiates nothing, so rows and second_order mean "
                "nothing to it; leave them away, or use estimator bptt."
            )
        if len(self.ratio) > 1 and not self.stages:
            raise ValueError(
                f"Recipe: ratio {self.ratio} is one chance a stage, but there are no stages; give "
                "one chance, or stages."
            )


def to_json(recipe: Recipe) -> dict[str, Any]:
    """The fields that differ from their defaults, as JSON has them."""
    plain = json.loads(json.dumps(dataclasses.asdict(recipe)))
    usual = json.loads(json.dumps(dataclasses.asdict(Recipe(opt=recipe.opt))))
    return {name: x for name, x in plain.items() if name == "opt" or x != usual[name]}


def from_json(fields: Mapping[str, Any]) -> Recipe:
    """The recipe that `to_json` described.

    >>> how = recipe("dm-cl-il", options={"hidden": (8,)}, penalty=Penalty(kind="trace", weight=1))
    >>> from_json(to_json(how)) == how
    True
    """
    given = dict(fields)
    for name in ("teachers", "ratio", "stages"):
        if name in given:
            given[name] = tuple(given[name])
    if "options" in given:
        lists = {n: tuple(x) if isinstance(x, list) else x for n, x in given["options"].items()}
        given["options"] = lists
    if given.get("penalty") is not None:
        given["penalty"] = Penalty(**given["penalty"])
    return Recipe(**given)


# One published epoch is one episode of `horizon` steps, that is horizon/unroll meta-steps.
DM = Recipe(
    opt="dm",
    episodes=1,
    weights="sum",
    transform="identity",
    steps=50_000,  # 10 000 epochs
    validate_every=500,  # 100 epochs
    validation_episodes=20,
)
RNNPROP = dataclasses.replace(DM, opt="rnnprop", steps=500, validate_every=50)
L2O_SCALE = Recipe(
    opt="l2o-scale",
    episodes=1,
    second_order=True,
    meta_opt="rmsprop",
    meta_lr=1e-6,
    clip_each=1e4,
    imitation_weights="uniform",
    shared=True,
    steps=500,  # 100 meta-iterations
    validate_every=5,
    validation_episodes=5,
)


def techniques(
    base: Recipe, stages: tuple[int, ...], ratio: float, ratios: tuple[float, ...]
) -> dict[str, Recipe]:
    """A recipe, with curriculum, with imitation, with both."""
    most = {"steps": 100_000}  # a curriculum ends by itself
    cl = {"stages": stages} | most
    il = {"teachers": ("adam",)}
    change = dataclasses.replace
    return {
        "": base,
        "-cl": change(base, **cl),
        "-il": change(base, **il, ratio=(ratio,)),
        "-cl-il": change(base, **cl, **il, ratio=ratios),
    }


PRESETS: dict[str, Recipe] = {
    name + ending: variant
    for name, variants in {
        "dm": techniques(DM, STAGES, 0.3, (0.0, 0.1, 0.3)),
        "rnnprop": techniques(RNNPROP, STAGES, 0.3, (0.3,)),
        "l2o-scale": techniques(L2O_SCALE, SCALE_STAGES, 0.1, (0.1,)),
    }.items()
    for ending, variant in variants.items()
}


def recipe(name: str, **changes: Any) -> Recipe:
    """The published recipe of this name, with some of its fields changed."""
    if name not in PRESETS:
        raise ValueError(f"There is no preset {name!r}; {did_you_mean(name, list(PRESETS))}")
    known = [field.name for field in dataclasses.fields(Recipe)]
    for change in changes:
        if change not in known:
            raise ValueError(f"A recipe has no {change!r}; {did_you_mean(change, known)}")
    return dataclasses.replace(PRESETS[name], **changes)
