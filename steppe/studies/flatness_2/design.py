"""Design of the study, registered in README.md before anything runs. Plain data.

    search     arms at every weight, on validation splits of tasks that the study does not have
    learned    rules × arms × meta-seeds, with the weights that the search found
    untuned    rivals at the rate of the task of meta-training, on every task
    trials     the learned optimizer with a factor and a cosine tuned on each task
    tuned      rivals tuned on each task, with as many trainings

A *rule* is a learned optimizer with its recipe, an *arm* what is added to meta-training. Meta-seed
s uses division s mod `divisions` of every data set, in meta-training and in judging: all sides of a
pair see the same division, weights at the start, problems, networks and batches.

In which order they come: `stages.py`. Standard library only.
"""

import dataclasses
from typing import Any

from ...zoo.recipe import Recipe, change
from ...zoo.recipe_json import to_flat
from ..flatness.design import FLAT as KNOWN
from ..flatness.design import NONE, NORM, VALID, Cell, Tasks, penalised
from ..flatness.design import REFERENCE as KNOWN_REFERENCE

WORK = "steppe.studies.flatness_2.work:run_cell"
MAIN = "relative-trace"  # the measure of the hypotheses
FIRST = (NONE, NORM, MAIN)  # arms that decide H1, H2, H5, H6 and H7
LAYERS = "layer-trace"
FLAT: dict[str, dict[str, Any]] = KNOWN | {
    LAYERS: {"kind": "gauss-newton", "probes": 2, "units": "layers"},
}
REFERENCE = KNOWN_REFERENCE | {LAYERS: 1000.0}
PAPERS = ("top-eigenvalue", "trace", "entropy")  # the published measures, and their relative
BOTH = f"{VALID}+{MAIN}"
LATER = (*PAPERS, LAYERS, VALID, BOTH)  # arms of H3 and H4
GRIDS: dict[str, tuple[float, ...]] = {  # weights that a search begins with
    NORM: (0.03, 0.1, 0.3, 1.0),
    MAIN: (0.3, 1.0, 3.0, 10.0),
    VALID: (0.1, 0.3, 1.0),  # of the meta-learning rate
}
GRID = (0.1, 0.3, 1.0, 3.0)  # of the other arms
SEARCH_SEEDS = (100, 101, 102, 103)
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the updates of a learned optimizer
COSTLY = "sam-cosine"  # takes two gradients a step: has a line for each budget
UNTUNED = ("adam", "adam-cosine", "adamw-cosine", "momentum-cosine")
TUNED = (("adam", "steps"), ("adamw-cosine", "steps"), ("momentum-cosine", "steps"),
         (COSTLY, "steps"), (COSTLY, "gradients"))  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Scale:
    """All sizes of the study.

    - `recipes`: rule → recipe; the first rule decides, the others repeat
    - `meta_task`, `others`: the tasks of meta-training, all in one meta-step
    - `validation`: tasks of the search
    - `digits`, `elsewhere`: tasks never seen, on the data of meta-training and on other data
    - `short`: tasks whose budget ends before anything overfits
    - `later`: whether the arms of H3 and H4 and the other rules are looked at
    - `trials`: whether rivals and the learned optimizer are tuned on each task
    - `horizon`, `every`, `levels`, `runs`: see `flatness.work.look`; a task may have its own
    - `tuning_seeds`: trainings of a setting that is tried
    """

    name: str
    recipes: dict[str, Recipe]
    meta_task: dict[str, Any]
    others: Tasks
    validation: Tasks
    digits: Tasks
    elsewhere: Tasks
    short: Tasks
    meta_seeds: tuple[int, ...]
    search_seeds: tuple[int, ...]
    grids: dict[str, tuple[float, ...]]
    divisions: int
    later: bool
    trials: bool
    horizon: int
    every: int
    levels: tuple[float, ...]
    runs: int
    tuning_seeds: int
    promised: str  # time and memory

    @property
    def unseen(self) -> Tasks:
        """The tasks of the primary outcomes."""
        return self.digits | self.elsewhere

    @property
    def rule(self) -> str:
        """The rule that decides."""
        return next(iter(self.recipes))

    @property
    def arms(self) -> tuple[str, ...]:
        """Arms of the rule that decides."""
        return (*FIRST, *LATER) if self.later else FIRST


def divisions(scale: Scale) -> list[int]:
    """Divisions of the data that meta-seeds use."""
    return sorted({s % scale.divisions for s in scale.meta_seeds})


def searching(scale: Scale, rule: str, arm: str, weight: float, seed: int) -> Cell:
    own = {"part": "search", "tasks": divided(scale.validation, seed % scale.divisions)}
    return learned(scale, rule, arm, {arm: weight}, seed) | own


def parts(arm: str) -> list[str]:
    """Parts that an arm adds, each with a weight: two of "valid+relative-trace"."""
    return [part for part in arm.split("+") if part != NONE]


def learned(scale: Scale, rule: str, arm: str, weights: dict[str, float], seed: int) -> Cell:
    k = seed % scale.divisions
    return {
        "part": "learned",
        "optimizer": rule,
        "technique": "plain",
        "arm": arm,
        "weight": weights.get(arm, 0.0),
        "meta_seed": seed,
        "recipe": to_flat(with_arm(scale.recipes[rule], arm, weights)),
        "meta_task": scale.meta_task | {"split": k},
        "others": divided(scale.others, k),
        "tasks": divided(scale.unseen | scale.short, k),
        **looks(scale),
    }


def with_arm(recipe: Recipe, arm: str, weights: dict[str, float]) -> Recipe:
    """The recipe with what the arm adds; the weight of held-out losses is of the meta-rate."""
    for part in parts(arm):
        if part == VALID:
            rate = recipe.meta.lr * weights[part]
            recipe = change(recipe, meta_lr=rate, **{"objective.batch": "valid"})
        else:
            how = FLAT.get(part, {"kind": "squared-norm"})
            recipe = penalised(recipe, how, REFERENCE[part], weights[part])
    return recipe


def trials(scale: Scale, cell: Cell) -> Cell:
    """A learned optimizer that is trained again, and tuned on each task."""
    tasks = divided(scale.unseen, cell["meta_seed"] % scale.divisions)
    grid = {"grid": list(FACTORS), "tuning_seeds": scale.tuning_seeds}
    return cell | {"part": "trials", "tasks": tasks, **grid}


def untuned(scale: Scale, name: str, k: int) -> Cell:
    return _rival(scale, "untuned", name, "steps", k) | {
        "meta_task": scale.meta_task | {"split": k}
    }


def tuned(scale: Scale, name: str, budget: str, k: int) -> Cell:
    return _rival(scale, "tuned", name, budget, k)


def _rival(scale: Scale, part: str, name: str, budget: str, k: int) -> Cell:
    return {
        "part": part,
        "optimizer": name,
        "budget": budget,
        "meta_seeds": [s for s in scale.meta_seeds if s % scale.divisions == k],
        "tasks": divided(scale.unseen, k),
        "tuning_seeds": scale.tuning_seeds,
        **looks(scale),
    }


def divided(tasks: Tasks, k: int) -> Tasks:
    """The tasks on division k of their data."""
    return {label: how | {"split": k} for label, how in tasks.items()}


def looks(scale: Scale) -> dict[str, Any]:
    return {
        "horizon": scale.horizon,
        "every": scale.every,
        "levels": list(scale.levels),
        "runs": scale.runs,
    }
