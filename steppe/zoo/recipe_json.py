"""A recipe as JSON, and the JSON of older recipes.

    to_json(recipe)     every setting, in the recipe's groups: `config.json`, checkpoints
    to_flat(recipe)     what differs from the usual, by one name each: cards of shipped optimizers
                        and the cells of studies, which are known by it

`from_json` reads both, and what 0.1 wrote in either place. Standard library only.
"""

from collections.abc import Mapping
from typing import Any

from ..core.settings import build, from_table, nested, plain, settings_of, values_of
from .recipe import Recipe

FLAT = {  # setting: its name in a flat recipe
    "optimizer.name": "opt",
    **{f"task.{name}": name for name in ("scaling", "convex", "particles")},
    "task.others": "other_tasks",
    "estimator.kind": "estimator",
    **{
        f"estimator.{name}": name
        for name in ("sigma", "episodes", "unroll", "horizon", "rows", "second_order")
    },
    **{f"objective.{name}": name for name in ("of", "weights", "transform", "batch", "entropy")},
    **{f"imitation.{name}": name for name in ("teachers", "ratio", "follow", "every", "shared")},
    "imitation.lr": "teacher_lr",
    "imitation.weights": "imitation_weights",
    "curriculum.horizons": "stages",
    "curriculum.patience": "patience",
    "curriculum.layers": "layer_steps",
    "curriculum.decay": "layer_decay",
    "curriculum.easiest": "easiest",
    "curriculum.easiest_until": "easiest_until",
    **{
        f"adapted.{name}": f"adapt_{name}"
        for name in ("rate", "steps", "outer", "order", "inner", "learn_rate", "updates")
    },
    "meta.optimizer": "meta_opt",
    "meta.lr": "meta_lr",
    "meta.decay": "meta_decay",
    "meta.clip": "clip",
    "meta.clip_each": "clip_each",
    **{
        f"run.{name}": name
        for name in ("steps", "validate_every", "validation_episodes", "validate_by", "keep")
    },
}
LATER = ("mean",)  # settings of a penalty that older cells do not have: told where they are set
USUAL = {"meta.clip": None}  # in a flat recipe that does not say; others as in `Recipe`


def to_json(recipe: Recipe, *, free: bool = True) -> dict[str, Any]:
    """Every setting as JSON has it.

    - `free`: also those that do not change what a run computes
    """
    options = settings_of(type(recipe))
    return nested(
        {path: x for path, x in values_of(recipe).items() if free or not options[path].free}
    )


def from_json(fields: Mapping[str, Any], cls: type = Recipe) -> Recipe:
    """The recipe of which this is the JSON, of whichever form.

    >>> from .presets import recipe
    >>> how = recipe("dm-cl-il", hidden=(8,), penalty={"kind": "trace", "weight": 1.0})
    >>> from_json(to_json(how)) == from_json(to_flat(how)) == how
    True
    """
    if "opt" in fields and "task" not in fields:
        return from_flat(fields)
    given = {name: x for name, x in fields.items() if name != "preset"}  # 0.1 kept its name as well
    return build(cls, from_table(cls, given, "recipe"))


def to_flat(recipe: Recipe) -> dict[str, Any]:
    """The settings that differ from the usual ones, by one name each, without task and seed."""
    values, options = values_of(recipe), settings_of(type(recipe))
    flat = {
        name: values[path]
        for path, name in FLAT.items()
        if path == "optimizer.name" or values[path] != USUAL.get(path, options[path].default)
    }
    if chosen := recipe.optimizer.arguments:
        flat["options"] = chosen
    if recipe.penalty.kind != "none":
        of = values_of(recipe.penalty)
        usual = settings_of(type(recipe.penalty))
        later = {name for name in LATER if of[name] == usual[name].default}
        flat["penalty"] = {name: x for name, x in of.items() if name not in later}
    return {name: plain(x) for name, x in flat.items()}


def from_flat(fields: Mapping[str, Any]) -> Recipe:
    """The recipe that `to_flat` described."""
    paths = {name: path for path, name in FLAT.items()}
    chosen = dict(fields.get("options") or {})
    table = USUAL | {paths.get(name, name): x for name, x in fields.items() if name != "options"}
    table |= {"optimizer.hidden": chosen.pop("hidden", ()), "optimizer.options": chosen}
    alone = ("layers", "formula", "horizon", "weight_decay")
    table |= {f"optimizer.{name}": chosen.pop(name, None) for name in alone}
    table["optimizer.time_scales"] = chosen.pop("time_scales", ())
    table = {name: x for name, x in table.items() if name != "penalty" or x is not None}
    return build(Recipe, from_table(Recipe, table, "recipe"))
