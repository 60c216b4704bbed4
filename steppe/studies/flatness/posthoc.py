"""Comparisons that nobody registered: they were made after the numbers were known.

They say where to look next. Each family is corrected by itself, which does not make up for that.
"""

import dataclasses
from collections.abc import Callable, Sequence

from ...evaluation.engines import Row
from .design import NONE, NORM, Scale, main_arms
from .lines import (
    BEST,
    END,
    TRAINED,
    Arm,
    Differs,
    Learned,
    Line,
    Number,
    Place,
    Result,
    compared,
    differences,
    every,
    family,
    flatter,
    general,
    mean,
)
from .rivals import against, tuned, untuned

ALL = "all"  # techniques, pooled: one number a meta-seed
DEEP = 0.1  # of accuracy: what is a collapse
MATCHED = ("trace", "top_eigenvalue", "size")  # at matched training loss


TITLES = {
    "norm": "curvature and ‖θ‖² at matched training loss, a penalty on ‖θ‖² less none",
    "beyond": "the same, flatness less a penalty on ‖θ‖², techniques pooled",
    "pooled": "tasks never seen, flatness less a penalty on ‖θ‖², techniques pooled",
    "trained": "training loss there at the end, flatness less a penalty on ‖θ‖²",
    "best": "tasks never seen, flatness less a penalty on ‖θ‖², at the best look",
    "best_rivals": "tasks never seen, learned less tuned, both at the best look",
    "untuned": "tasks never seen, learned less hand-made, neither tuned for them",
    "fresh": "with the penalty less without, the meta-seeds of the ablation left out",
    "recipes": "tasks never seen, an arm that was chosen later less the one of the search, plain",
    "but_collapsed": "tasks never seen, flatness less held-out data, without what collapsed",
}


@dataclasses.dataclass(frozen=True)
class PostHoc:
    """Families of lines, each corrected by itself.

    - `norm`: the penalty on ‖θ‖² less none, at matched training loss
    - `beyond`: the flat arm less that penalty at matched training loss, techniques pooled
    - `pooled`: the same in test loss and accuracy at the end; `trained`: in training loss
    - `best`: the flat arm less that penalty, where the test loss is lowest of all looks
    - `best_rivals`: no penalty, ‖θ‖² and the flat arm less tuned optimizers, both sides there
    - `untuned`: the same at the end, less optimizers with the rate of the task of meta-training
    - `fresh`: arms chosen after the ablation less none, without the meta-seeds of the ablation
    - `recipes`: such an arm with each technique less the arm of the search, plain
    - `but_collapsed`: flat arms less a control, without the tasks on which that collapses
    """

    norm: list[Line]
    beyond: list[Line]
    pooled: list[Line]
    trained: list[Line]
    best: list[Line]
    best_rivals: list[Line]
    untuned: list[Line]
    fresh: list[Line]
    recipes: list[Line]
    but_collapsed: list[Line]


@dataclasses.dataclass(frozen=True)
class Collapse:
    """A control that fails on a task in half the meta-seeds or more.

    - `accuracy`: of test, by meta-seed; `count`: of those `DEEP` below no penalty
    """

    optimizer: str
    arm: str
    task: str
    accuracy: list[Number]
    count: int


def headline(scale: Scale, optimizer: str) -> str:
    """The flat arm that these comparisons are about: the one that was chosen last."""
    return main_arms(scale, optimizer)[-1]


def post_hoc(scale: Scale, learned: Learned, rows: Sequence[Row]) -> PostHoc:
    tasks, unseen, seeds = list(scale.tasks), list(scale.tasks)[1:], scale.meta_seeds
    flat = {o: headline(scale, o) for o in scale.recipes}
    cells = [(o, t) for o in scale.recipes for t in scale.techniques]
    to_norm = [((o, t, flat[o]), (o, t, NORM)) for o, t in cells]
    later = [(o, t, arm) for o, arm in scale.later.items() for t in scale.techniques]
    fresh = [s for s in seeds if s not in scale.ablation_seeds]
    arms: list[Arm] = [(o, t, arm) for o, t in cells for arm in (NONE, NORM, flat[o])]
    matched = flatter(tasks, MATCHED)

    def pooled(how: Differs, average: Callable[[Sequence[Number]], Number]) -> list[Line]:
        found: dict[Place, list[Number]] = {}
        for o in scale.recipes:
            for metric, differ in how.items():
                own = [pair for pair in to_norm if pair[0][0] == o]
                each = [differences(learned, *pair, differ, seeds) for pair in own]
                values = [average(seed) for seed in zip(*each, strict=True)]
                found[o, ALL, flat[o], NORM, metric] = values
        return family(found)

    return PostHoc(
        norm=compared(learned, [((o, t, NORM), (o, t, NONE)) for o, t in cells], matched, seeds),
        beyond=pooled(matched, known),
        pooled=pooled(general(unseen), every),
        trained=pooled(general(unseen, TRAINED), every),
        best=compared(learned, to_norm, general(unseen, BEST), seeds),
        best_rivals=against(scale, learned, tuned(scale, rows, unseen), arms, unseen, BEST),
        untuned=against(scale, learned, untuned(scale, rows), arms, unseen),
        fresh=compared(
            learned, [((o, t, arm), (o, t, NONE)) for o, t, arm in later], general(unseen), fresh
        ),
        recipes=compared(
            learned,
            [((o, t, arm), (o, "plain", scale.flat[o])) for o, t, arm in later],
            general(unseen),
            seeds,
        ),
        but_collapsed=[
            line
            for lost in collapses(scale, learned)
            for line in compared(
                learned,
                [
                    ((lost.optimizer, "plain", arm), (lost.optimizer, "plain", lost.arm))
                    for arm in main_arms(scale, lost.optimizer)
                ],
                general([task for task in unseen if task != lost.task]),
                seeds,
            )
        ],
    )


def collapses(scale: Scale, learned: Learned) -> list[Collapse]:
    """The controls and tasks for which a comparison says that the control is broken, no more."""
    found = []
    for o in scale.recipes:
        for arm in scale.controls:
            for task in list(scale.tasks)[1:]:
                ours, none = (
                    [accuracy(learned.get((o, "plain", side, s)), task) for s in scale.meta_seeds]
                    for side in (arm, NONE)
                )
                both = [(a, b) for a, b in zip(ours, none, strict=True) if b is not None]
                deep = sum(a is None or a < b - DEEP for a, b in both)
                if 2 * deep >= len(scale.meta_seeds):
                    found.append(Collapse(o, arm, task, ours, deep))
    return found


def accuracy(result: Result | None, task: str) -> Number:
    return None if result is None else END["test_accuracy"](result["tasks"][task])


def known(values: Sequence[Number]) -> Number:
    """The mean of those that are there: at matched loss not every technique has a number."""
    return mean([x for x in values if x is not None])
