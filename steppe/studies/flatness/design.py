"""Design of the comparison, fixed before anything runs. Plain data, standard library only.

    {DM, RNNProp, L2O-Scale} × {plain, CL, CL-IL} × arms × meta-seeds        "learned" cells
    {SGD, momentum, Adam, RMSProp, SAM, Entropy-SGD} × tasks × budgets       "classic" cells
    some of these × tasks, at the rate of the task of meta-training         "untuned" cells

An *arm* is what is added to meta-training: nothing, a measure of flatness, or a control. All arms
of one optimizer, technique and meta-seed begin with the same weights and draw the same problems.

Meta-training sees training data alone, its choice of the optimizer to be kept included; but for
two controls, which are given held-out data instead of a measure of flatness.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

from ...zoo.recipe import Penalty, Recipe, change
from ...zoo.recipe_json import to_flat

Cell = dict[str, Any]
Tasks = dict[str, dict[str, Any]]  # label → arguments of `tasks.build`, and "curved"

WORK = "steppe.studies.flatness.work:run_cell"
OPTIMIZERS: tuple[str, ...] = ("dm", "rnnprop", "l2o-scale")
CLASSIC = ("sgd", "momentum", "adam", "rmsprop", "sam", "entropy-sgd")
COSTLY = ("sam", "entropy-sgd")  # more than one gradient a step
GRID = tuple(float(f"{10 ** (k / 2):.3g}") for k in range(-8, 2))  # learning rates, 1e-4 … 3.16

NONE, NORM = "none", "norm"
EARLY, VALID = "early", "valid"  # held-out losses choose the optimizer, or are the objective
CHOICE = "flat"  # stands for the flat arm of an optimizer
FLAT: dict[str, dict[str, Any]] = {  # arm: the measure R in the objective
    "trace": {"kind": "gauss-newton", "probes": 2},
    "top-eigenvalue": {"kind": "top-eigenvalue"},
    "log-det": {"kind": "log-det", "gamma": 1.0},
    "jacobian": {"kind": "gradient-norm"},
    "entropy": {"kind": "entropy", "gamma": 1.0},  # at temperature 1/n: 1 for the whole data
    "entropy-cold": {"kind": "entropy", "gamma": 1.0, "temperature": 1e-8},
    "sharpness": {"kind": "sharpness"},
    "relative-trace": {"kind": "gauss-newton", "probes": 2, "units": "length"},
    "adaptive-trace": {"kind": "gauss-newton", "probes": 2, "units": "weights"},
}
# ρ of ln(1 + R/ρ), by arm: an R as networks have it that plain optimizers have trained well. So a
# weight means about the same everywhere, and to be flatter than that pays less and less
REFERENCE = {
    NORM: 200.0,
    "trace": 5.0,
    "top-eigenvalue": 1.0,
    "log-det": 10.0,
    "jacobian": 0.05,
    "entropy": 0.05,
    "entropy-cold": 0.05,
    "sharpness": 0.01,
    "relative-trace": 2500.0,
    "adaptive-trace": 5.0,
}
SEARCHED = (NORM, "trace", "top-eigenvalue", "jacobian", "entropy", "sharpness", "relative-trace")
WEIGHTS = {  # searched
    "dm": (0.3, 1.0, 3.0),
    "rnnprop": (0.3, 1.0, 3.0),
    "l2o-scale": (0.03, 0.1, 0.3, 1.0),
}
# Half a decade apart: where a search goes on whose best weight is the last one tried
LADDER = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


@dataclasses.dataclass(frozen=True)
class Scale:
    """All sizes of the study.

    - `recipes`: of meta-training, by optimizer; `techniques`: what each adds
    - `meta_task`: meta-training's; `validation`: of the search; `tasks`: of the evaluation, none of
      which but the first label is the meta-training task
    - `weights`: arm → optimizer → weight of the penalty, from the recorded search
    - `flat`: the arm that the claims are about, by optimizer, from the same search; `later`: one
      more for some optimizers, chosen after the ablation had been seen. It counts in the same
      families of tests
    - `arms`: looked at with every technique and meta-seed, besides the flat one; `controls`: with
      the plain technique alone; `ablation`: with that and `ablation_seeds` alone
    - `horizon`, `every`, `levels`: see `evaluation.levels`; `runs`: networks trained for a
      meta-seed; a task may have its own
    - `rivals`: of `CLASSIC`, tuned with `tuning_seeds` trainings a setting; `untuned`: those with a
      rate alone that are also looked at, on every task, at the rate that was best on the task of
      meta-training. They were added after the other numbers were known
    - `promised`: time on two cores, and memory
    """

    name: str
    recipes: dict[str, Recipe]
    techniques: dict[str, dict[str, Any]]
    meta_task: dict[str, Any]
    validation: Tasks
    tasks: Tasks
    weights: dict[str, dict[str, float]]
    flat: dict[str, str]
    later: dict[str, str]
    arms: tuple[str, ...]
    controls: tuple[str, ...]
    ablation: tuple[str, ...]
    meta_seeds: tuple[int, ...]
    ablation_seeds: tuple[int, ...]
    horizon: int
    every: int
    levels: tuple[float, ...]
    runs: int
    rivals: tuple[str, ...]
    untuned: tuple[str, ...]
    tuning_seeds: int
    promised: str  # time and memory


SEARCH_SEEDS = (100, 101)  # none of them is used again


def cells(scale: Scale) -> Iterator[Cell]:
    """Everything that has to be done, most telling first.

    Optimizers take turns: side by side, workers compile different programs, and not one twice.
    """
    for seed in scale.meta_seeds:
        for technique in scale.techniques:
            controls = scale.controls if technique == "plain" else ()
            arms = [[*scale.arms, *main_arms(scale, o), *controls] for o in scale.recipes]
            for turn in itertools.zip_longest(*arms):
                for optimizer, arm in zip(scale.recipes, turn, strict=True):
                    if arm is not None:
                        yield learned(scale, optimizer, technique, arm, seed)
    for how in scale.tasks.values():
        for optimizer in scale.rivals:
            for budget in ("steps", "gradients") if optimizer in COSTLY else ("steps",):
                yield classic(scale, optimizer, how, budget)
    for seed in scale.ablation_seeds:
        for optimizer in scale.recipes:
            for arm in ablation_arms(scale, optimizer):
                yield learned(scale, optimizer, "plain", arm, seed)


def main_arms(scale: Scale, optimizer: str) -> list[str]:
    """The measures of flatness that the claims are about, that of the search first."""
    return [flat[optimizer] for flat in (scale.flat, scale.later) if optimizer in flat]


def ablation_arms(scale: Scale, optimizer: str) -> list[str]:
    """The arms of the ablation that are not there already."""
    arms = [arm.replace(CHOICE, scale.flat[optimizer]) for arm in scale.ablation]
    there = (*main_arms(scale, optimizer), *scale.arms, *scale.controls)
    return [arm for arm in arms if arm not in there]


def search(scale: Scale) -> Iterator[Cell]:
    """Arms at every weight, scored on the validation split of the validation tasks."""
    for seed in SEARCH_SEEDS:
        for optimizer in scale.recipes:
            yield searched(scale, optimizer, NONE, seed, 0.0)
            for weight in WEIGHTS[optimizer]:  # so that neighbours compile different programs
                for arm in SEARCHED:
                    yield searched(scale, optimizer, arm, seed, weight)


def searched(scale: Scale, optimizer: str, arm: str, seed: int, weight: float) -> Cell:
    cell = learned(scale, optimizer, "plain", arm, seed, weight=weight)
    return cell | {"part": "search", "tasks": scale.validation, "weight": weight}


def learned(
    scale: Scale, optimizer: str, technique: str, arm: str, seed: int, weight: float | None = None
) -> Cell:
    recipe = change(scale.recipes[optimizer], **scale.techniques[technique])
    return {
        "part": "learned",
        "optimizer": optimizer,
        "technique": technique,
        "arm": arm,
        "meta_seed": seed,
        "recipe": to_flat(with_penalty(scale, recipe, arm, weight)),
        "meta_task": scale.meta_task,
        "tasks": scale.tasks,
        "horizon": scale.horizon,
        "every": scale.every,
        "levels": list(scale.levels),
        "runs": scale.runs,
    }


def with_penalty(scale: Scale, recipe: Recipe, arm: str, weight: float | None = None) -> Recipe:
    """The recipe with what the arm adds; "valid+trace" adds both."""
    for part in arm.split("+"):
        if part == EARLY:
            recipe = change(recipe, validate_by="valid")
        elif part == VALID:
            recipe = change(recipe, **{"objective.batch": "valid"})
        elif part != NONE:
            chosen = scale.weights[part][recipe.optimizer.name] if weight is None else weight
            how = FLAT.get(part, {"kind": "squared-norm"})
            recipe = penalised(recipe, how, REFERENCE[part], chosen)
    return recipe


def penalised(recipe: Recipe, how: dict[str, Any], reference: float, weight: float) -> Recipe:
    """The recipe with weight · ln(1 + R/ρ) in its objective, of the measure R of `how`."""
    form = {"normalise": "log1p", "reference": reference}
    return change(recipe, penalty=Penalty(**how, **form, weight=weight))


def classic(scale: Scale, optimizer: str, task: dict[str, Any], budget: str) -> Cell:
    return {
        "part": "classic",
        "optimizer": optimizer,
        "task": task,
        "budget": budget,
        "meta_seeds": list(scale.meta_seeds),
        "runs": scale.runs,
        "horizon": scale.horizon,
        "every": scale.every,
        "levels": list(scale.levels),
        "grid": list(GRID),
        "tuning_seeds": scale.tuning_seeds,
    }


def untuned(scale: Scale, optimizer: str, how: dict[str, Any], lr: float) -> Cell:
    """An optimizer on a task that it is not tuned for."""
    cell = classic(scale, optimizer, how | {"curved": False}, "steps")
    kept = {name: x for name, x in cell.items() if name not in ("grid", "tuning_seeds")}
    return kept | {"part": "untuned", "lr": lr}
