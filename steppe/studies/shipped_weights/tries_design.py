"""The tries, and the tasks that judge them. Plain data, standard library only; `tries` runs it."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from ...core.settings import check, setting
from ...zoo.presets import recipe
from ...zoo.recipe import Recipe, change
from ..flatness.design import NORM, VALID
from ..flatness_2.design import MAIN, with_arm

META_SEED = 200  # no study has it; of every look, and of meta-training unless a try has its own
HE = {"start": "he"}
BARE = {"curved": False, "split": 0}
TASKS: dict[str, dict[str, Any]] = {  # none of them is judged by in a study
    "deeper tanh": {"name": "digits-deeper", "hidden": [24, 24], "activation": "tanh", **HE},
    "wrong labels": {"name": "digits-relu", "hidden": [40], "noise": 0.2, **HE},
    "MNIST tanh": {"name": "mnist5k-mlp", "activation": "tanh", "runs": 2, "every": 20, **HE},
    "sigmoid": {"name": "digits-mlp", "hidden": [32], **HE},
    "mixture": {"name": "mixture-mlp", "hidden": [20], "activation": "tanh", "every": 10},
}
SHORT: dict[str, dict[str, Any]] = {
    "sigmoid, short": {**TASKS["sigmoid"], "horizon": 60},
    "MNIST tanh, short": {**TASKS["MNIST tanh"], "horizon": 60, "every": 10},
}
SETTINGS = {  # rival → rate and setting, of the cells "untuned" of flatness_2
    "adam": (0.01, 0.0),
    "adam-cosine": (0.0316, 0.0),
    "adamw-cosine": (0.0316, 0.01),
    "momentum-cosine": (0.316, 0.0005),
}
NOISY = {"noisy": {"name": "digits-relu", "hidden": [24], "noise": 0.3, **HE, "split": 0}}
NARROW = {
    "narrow": {"name": "digits-relu", "hidden": [5], **HE, "split": 0},
    "narrow sigmoid": {"name": "digits-mlp", "hidden": [12], **HE, "split": 0},
}
RANDOM = {  # random classes, drawn anew for each episode
    "random wide": {"name": "random-mlp-32-64"},
    "random deep": {"name": "random-mlp-8-5-3"},
}

SHIPPED = ("rnnprop-v1", "rnnprop-flat-v1")  # beside the tries, as they are

BARE_RULE, TIMELESS = {"optimizer.weight_decay": None}, {"optimizer.time_scales": ()}
SMALL_RULE = {  # a change of the rule alone, `optimizers.learned.small_mlp`
    "optimizer.name": "small-mlp",
    "optimizer.hidden": (8, 8),
    "optimizer.options": {},
    "estimator.rows": None,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Try:
    """Changes of a recipe.

    - `arms`: arm of `flatness_2` → weight
    - `changes`: settings of the recipe, after those of the arms
    - `others`: further tasks of meta-training, beside the three
    - `steps`: meta-steps, where they are not those of the run
    - `meta_seed`: of meta-training
    - `start`: how an untrained small MLP stepped when it was made, where that is not how it does:
      "even", as far in large tensors as in small ones, or "by size", as far however small gradients
      had become; made again it would be another
    """

    arms: Mapping[str, float] = dataclasses.field(default_factory=dict)
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    others: Mapping[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    steps: int | None = None
    meta_seed: int = META_SEED
    start: Literal["even", "by size"] | None = None

    def recipe(self, steps: int) -> Recipe:
        made = change(recipe("rnnprop-steady"), steps=self.steps or steps)
        for arm, weight in self.arms.items():
            made = with_arm(made, arm, {arm: weight})
        return change(made, **self.changes)


LONG, LONGER = {"unroll": 100}, {"unroll": 250}
FAST = {"meta.lr": 1e-2}  # ten times the meta-rate
FASTER = {"meta.lr": 3e-3}
WORKING = LONG | SMALL_RULE | FASTER
LATE = {"penalty.active": "last", "penalty.fraction": 0.5}  # no penalty in the first half
LAST = LATE | {"penalty.fraction": 0.2}
LATER = LATE | {"penalty.fraction": 0.8}  # no penalty in the first fifth
TRIES = {
    "plain": Try(),
    "size 0.1": Try(arms={NORM: 0.1}),
    "held-out": Try(arms={VALID: 1.0}),
    "held-out + trace 0.3": Try(arms={VALID: 1.0, MAIN: 0.3}),
    "held-out + size 0.03": Try(arms={VALID: 1.0, NORM: 0.03}),
    "held-out + ln of the loss": Try(arms={VALID: 1.0}, changes={"objective.transform": "log"}),
    "held-out + coordinates not scaled": Try(arms={VALID: 1.0}, changes={"scaling": 0.0}),
    "random classes": Try(others=RANDOM),
    "random classes + trace 0.3": Try(arms={MAIN: 0.3}, others=RANDOM),
    "random classes + trace 0.1": Try(arms={MAIN: 0.1}, others=RANDOM),
    "random classes + size 0.03": Try(arms={NORM: 0.03}, others=RANDOM),
    "trace 0.3 + no weight decay": Try(arms={MAIN: 0.3}, changes=BARE_RULE),
    "trace 0.1 + no weight decay": Try(arms={MAIN: 0.1}, changes=BARE_RULE),
    "trace 0.3 + no features of time": Try(arms={MAIN: 0.3}, changes=TIMELESS),
    "trace 0.3 + narrow networks": Try(arms={MAIN: 0.3}, others=NARROW),
    "windows of 100": Try(changes=LONG, steps=200),
    "size 0.1 + windows of 100": Try(arms={NORM: 0.1}, changes=LONG, steps=200),
    "trace 0.3 + windows of 100": Try(arms={MAIN: 0.3}, changes=LONG, steps=200),
    "trace 1.0 + windows of 100": Try(arms={MAIN: 1.0}, changes=LONG, steps=200),
    "trace 0.3 + windows of 100 + 400 meta-steps": Try(arms={MAIN: 0.3}, changes=LONG, steps=400),
    "trace 0.3 + windows of 250": Try(arms={MAIN: 0.3}, changes=LONGER, steps=80),
    "trace 0.3 + windows of 100 + wrong labels": Try(
        arms={MAIN: 0.3}, changes=LONG, others=NOISY, steps=200
    ),
    "held-out + windows of 100": Try(arms={VALID: 1.0}, changes=LONG, steps=150),
    "held-out + windows of 100 + wrong labels": Try(
        arms={VALID: 1.0}, changes=LONG, others=NOISY, steps=200
    ),
    "held-out + trace 0.1 + windows of 100 + wrong labels": Try(
        arms={VALID: 1.0, MAIN: 0.1}, changes=LONG, others=NOISY, steps=200
    ),
    "trace 0.3 + windows of 100 + another meta-seed": Try(
        arms={MAIN: 0.3}, changes=LONG, steps=200, meta_seed=META_SEED + 1
    ),
    "small MLP + trace 0.3 + windows of 100": Try(
        start="even", arms={MAIN: 0.3}, changes=LONG | SMALL_RULE, steps=200
    ),
    "small MLP + trace 0.3 + windows of 100 + ten times the meta-rate": Try(
        start="even", arms={MAIN: 0.3}, changes=LONG | SMALL_RULE | FAST, steps=120
    ),
    "trace 1.0": Try(arms={MAIN: 1.0}),
    "late trace 1.0": Try(arms={MAIN: 1.0}, changes=LATE),
    "late trace 3.0": Try(arms={MAIN: 3.0}, changes=LATE),
    "last trace 1.0": Try(arms={MAIN: 1.0}, changes=LAST),
    "small MLP + windows of 100 + ten times the meta-rate": Try(
        start="even", changes=LONG | SMALL_RULE | FAST, steps=200
    ),
    "small MLP + late trace 0.3 + windows of 100 + ten times the meta-rate": Try(
        start="even", arms={MAIN: 0.3}, changes=LONG | SMALL_RULE | FAST | LATE, steps=200
    ),
    "small MLP + trace 1.0 + windows of 100": Try(
        start="even", arms={MAIN: 1.0}, changes=LONG | SMALL_RULE, steps=200
    ),
    "small MLP + trace 0.3 + windows of 100 + another meta-seed": Try(
        start="even",
        arms={MAIN: 0.3},
        changes=LONG | SMALL_RULE,
        steps=200,
        meta_seed=META_SEED + 1,
    ),
    "small MLP + windows of 100": Try(start="even", changes=LONG | SMALL_RULE, steps=200),
    "small MLP + held-out + trace 0.3 + wrong labels + three times the meta-rate": Try(
        start="even", arms={VALID: 1.0, MAIN: 0.3}, changes=WORKING, others=NOISY, steps=150
    ),
    "small MLP + held-out + trace 0.3 + wrong labels + ten times the meta-rate": Try(
        start="even",
        arms={VALID: 1.0, MAIN: 0.3},
        changes=LONG | SMALL_RULE | FAST,
        others=NOISY,
        steps=150,
    ),
    "small MLP + held-out + trace 0.3 + wrong labels": Try(
        start="by size", arms={VALID: 1.0, MAIN: 0.3}, changes=WORKING, others=NOISY, steps=150
    ),
    "small MLP + held-out + wrong labels": Try(
        start="by size", arms={VALID: 1.0}, changes=WORKING, others=NOISY, steps=150
    ),
    "small MLP + held-out + trace 0.3 + wrong labels + another meta-seed": Try(
        start="by size",
        arms={VALID: 1.0, MAIN: 0.3},
        changes=WORKING,
        others=NOISY,
        steps=150,
        meta_seed=META_SEED + 1,
    ),
    "small MLP + held-out + late trace 1.0 + wrong labels": Try(
        start="by size",
        arms={VALID: 1.0, MAIN: 1.0},
        changes=WORKING | LATER,
        others=NOISY,
        steps=150,
    ),
    "small MLP + held-out + late trace 1.0 + wrong labels + another meta-seed": Try(
        start="by size",
        arms={VALID: 1.0, MAIN: 1.0},
        changes=WORKING | LATER,
        others=NOISY,
        steps=150,
        meta_seed=META_SEED + 1,
    ),
    "small MLP + held-out + trace 1.0 in the second half + wrong labels": Try(
        start="by size",
        arms={VALID: 1.0, MAIN: 1.0},
        changes=WORKING | LATE,
        others=NOISY,
        steps=150,
    ),
    "small MLP + vanishing + held-out + wrong labels": Try(
        arms={VALID: 1.0}, changes=WORKING, others=NOISY, steps=150
    ),
    "small MLP + vanishing + held-out + late trace 1.0 + wrong labels": Try(
        arms={VALID: 1.0, MAIN: 1.0}, changes=WORKING | LATER, others=NOISY, steps=150
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tries:
    """Sizes of the tries."""

    names: tuple[str, ...] = setting(
        tuple(name for name, made in TRIES.items() if made.start is None),
        "tries to make",
        choices=TRIES,
    )
    shipped: tuple[str, ...] = setting(
        SHIPPED, "optimizers that are shipped, to look at beside them", choices=SHIPPED
    )
    steps: int = setting(500, "meta-steps of a try, at most", least=1)
    horizon: int = setting(500, "steps of a training that judges", least=60)

    def __post_init__(self):
        check(self)


SCALES = {
    "tiny": Tries(names=("plain",), shipped=(), steps=20, horizon=60),
    "small": Tries(),
}
