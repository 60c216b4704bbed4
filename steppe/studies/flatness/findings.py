"""All tables of the study, from its rows. What a line is: `lines`."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from ...evaluation.engines import Row
from .design import NONE, NORM, Scale, ablation_arms, main_arms
from .lines import Arm, Differs, Key, Line, Result, compared, flatter, general, learned_of
from .posthoc import PostHoc, post_hoc
from .rivals import against, tuned


@dataclasses.dataclass(frozen=True)
class Findings:
    """The tables of the study.

    - `flatness`: the arms of the claims against none, at matched training loss
    - `generalisation`: the same arms against none, on tasks never seen
    - `control`: the same arms against the weight-norm penalty, on tasks never seen
    - `held_out`: the same against meta-training that is given held-out data, plain technique; one
      family a control
    - `ablation`: every arm against none, plain technique, few seeds, nothing corrected
    - `rivals`: the arms of the claims against tuned optimizers, on tasks never seen; one family a
      rival
    - `by_task`: the same for each task by itself
    - `post_hoc`: comparisons that were made after the numbers were known
    """

    flatness: list[Line]
    generalisation: list[Line]
    control: list[Line]
    held_out: list[Line]
    ablation: list[Line]
    rivals: list[Line]
    by_task: dict[str, list[Line]]
    post_hoc: PostHoc
    diverged: dict[str, int]  # side → runs that did not end finite
    cells: int  # that the tables rest on


def findings(scale: Scale, rows: Iterable[Row]) -> Findings:
    rows = [row for row in rows if row.result is not None]
    learned = learned_of(rows)
    seeds = scale.meta_seeds
    unseen = list(scale.tasks)[1:]
    pairs = [
        (o, t, arm) for o in scale.recipes for arm in main_arms(scale, o) for t in scale.techniques
    ]
    plain = [pair for pair in pairs if pair[1] == "plain"]

    def lines(combinations: Sequence[Arm], other: str, metrics: Differs) -> list[Line]:
        pairs = [((o, t, arm), (o, t, other)) for o, t, arm in combinations]
        return compared(learned, pairs, metrics, seeds)

    there = [arm for arm in (*scale.arms, *scale.controls) if arm != NONE]
    ablation = [
        (o, "plain", arm)
        for o in scale.recipes
        for arm in (*main_arms(scale, o), *there, *ablation_arms(scale, o))
    ]
    return Findings(
        flatness=lines(pairs, NONE, flatter(list(scale.tasks))),
        generalisation=lines(pairs, NONE, general(unseen)),
        control=lines(pairs, NORM, general(unseen)) if NORM in scale.arms else [],
        held_out=[line for arm in scale.controls for line in lines(plain, arm, general(unseen))],
        ablation=compared(
            learned,
            [((o, t, arm), (o, t, NONE)) for o, t, arm in ablation],
            {**flatter(list(scale.tasks)), **general(unseen)},
            scale.ablation_seeds,
        )
        if scale.ablation
        else [],
        rivals=against(scale, learned, tuned(scale, rows, unseen), pairs, unseen),
        by_task={
            task: against(scale, learned, tuned(scale, rows, [task]), pairs, [task])
            for task in scale.tasks
        },
        post_hoc=post_hoc(scale, learned, rows),
        diverged=diverged(learned),
        cells=len(rows),
    )


def diverged(learned: Mapping[Key, Result]) -> dict[str, int]:
    """Runs whose test loss is not finite, by optimizer, technique and arm, where there are any."""
    found: dict[str, int] = {}
    for (optimizer, technique, arm, _), result in learned.items():
        lost = sum(
            x is None for task in result["tasks"].values() for x in task["at"]["end"]["test_loss"]
        )
        name = f"{optimizer} {technique} {arm}"
        found[name] = found.get(name, 0) + lost
    return {name: count for name, count in found.items() if count}
