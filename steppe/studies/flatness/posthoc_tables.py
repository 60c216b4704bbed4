"""The tables of `README.md` that nobody registered, from the record of the study alone."""

import math
from collections.abc import Sequence

from ...evaluation.engines import Row
from ..study import markdown
from .design import NONE, NORM, Scale
from .findings import Findings
from .lines import Line, differences, general, learned_of, pick
from .posthoc import headline
from .summary import label, leader, shown

WORDS = {NONE: "none", NORM: "‖θ‖²"}
LOSS, ACCURACY = "ln test_loss", "test_accuracy"
SHOWN = ("sgd", "momentum", "adam", "rmsprop", "sam, equal steps")  # of the rivals
PAPER = ("trace", "top-eigenvalue", "entropy")  # near those of the paper


def tables(scale: Scale, rows: Sequence[Row], found: Findings) -> str:
    after, (optimizer, arm) = found.post_hoc, leader(scale, found)
    parts = [
        "Post hoc: nobody registered what follows; it was looked at after the numbers were known, "
        "each table corrected by itself.",
        "A penalty on ‖θ‖² less none, at matched training loss:",
        cells(scale, after.norm),
        "Flatness less that penalty, techniques pooled (one number a meta-seed): at matched "
        "training loss, and at the end on tasks never seen:",
        pooled(scale, found),
        "The same cell by cell, each side at its best look: where its test loss on a task is the "
        "lowest of all looks, which nobody knows while training, so that it is an oracle's:",
        cells(scale, after.best),
        f"{optimizer} less tuned optimizers, both sides at their best look:",
        beside(scale, after.best_rivals, optimizer),
    ]
    if after.untuned:
        parts += [
            f"No trials against no trials: {optimizer} less optimizers with the settings that were "
            "best on the task of meta-training, at the last step:",
            beside(scale, after.untuned, optimizer),
        ]
    parts += [
        f"{optimizer} cl, {arm}, less tuned adam, task by task:",
        by_task(found, optimizer, "cl", arm),
        "Test loss less none of measures near those of the paper, plain technique, one number a "
        f"meta-seed ({', '.join(map(str, scale.ablation_seeds))}):",
        single(scale, rows),
    ]
    for o, later in scale.later.items():
        parts += [
            f"{o} with {later}, chosen after the ablation: less none without the meta-seeds of the "
            f"ablation, and less {scale.flat[o]} with the plain technique:",
            chosen_later(scale, found, o),
        ]
    return "\n\n".join(parts)


def cells(scale: Scale, lines: Sequence[Line]) -> str:
    """A row an optimizer and technique."""
    metrics = list(dict.fromkeys(line.metric for line in lines))
    rows = [
        [
            f"{o} {t}",
            *(shown(pick(lines, optimizer=o, technique=t, metric=m)) for m in metrics),
        ]
        for o in scale.recipes
        for t in scale.techniques
    ]
    return markdown(["", *map(label, metrics)], rows)


def pooled(scale: Scale, found: Findings) -> str:
    after = found.post_hoc
    lines = [*after.beyond, *after.pooled, *after.trained]
    metrics = list(dict.fromkeys(line.metric for line in lines))
    rows = [
        [
            f"{o} {headline(scale, o)}",
            *(shown(pick(lines, optimizer=o, metric=m)) for m in metrics),
        ]
        for o in scale.recipes
    ]
    return markdown(["", *map(label, metrics)], rows)


def beside(scale: Scale, lines: Sequence[Line], optimizer: str) -> str:
    """A row a technique and arm, test loss and accuracy of every rival."""
    rivals = [name for name in dict.fromkeys(x.theirs for x in lines) if name in SHOWN]
    rows = [
        [
            f"{technique} {WORDS.get(arm, arm)}",
            *(
                ", ".join(
                    shown(
                        pick(
                            lines,
                            optimizer=optimizer,
                            technique=technique,
                            ours=arm,
                            theirs=r,
                            metric=m,
                        )
                    )
                    for m in (LOSS, ACCURACY)
                )
                for r in rivals
            ),
        ]
        for technique in scale.techniques
        for arm in (NONE, NORM, headline(scale, optimizer))
    ]
    return markdown(["", *rivals], rows)


def by_task(found: Findings, optimizer: str, technique: str, arm: str) -> str:
    place = {"optimizer": optimizer, "technique": technique, "ours": arm, "theirs": "adam"}
    rows = [
        [task, *(shown(pick(lines, **place, metric=m)) for m in (LOSS, ACCURACY))]
        for task, lines in found.by_task.items()
        if any(line.theirs == "adam" for line in lines)
    ]
    return markdown(["", label(LOSS), label(ACCURACY)], rows)


def single(scale: Scale, rows: Sequence[Row]) -> str:
    """Ratios of test loss on tasks never seen, by meta-seed."""
    learned = learned_of(rows)
    how = general(list(scale.tasks)[1:])[LOSS]
    ratio = lambda x: "–" if x is None else f"{math.exp(x):.2f}"
    return markdown(
        ["", *PAPER],
        [
            [
                o,
                *(
                    ", ".join(
                        map(
                            ratio,
                            differences(
                                learned,
                                (o, "plain", arm),
                                (o, "plain", NONE),
                                how,
                                scale.ablation_seeds,
                            ),
                        )
                    )
                    for arm in PAPER
                ),
            ]
            for o in scale.recipes
        ],
    )


def chosen_later(scale: Scale, found: Findings, optimizer: str) -> str:
    sides = {
        f"less none, n = {len(scale.meta_seeds) - len(scale.ablation_seeds)}": found.post_hoc.fresh,
        f"less plain {scale.flat[optimizer]}": found.post_hoc.recipes,
    }
    heads = [f"{label(m)} {side}" for side in sides for m in (LOSS, ACCURACY)]
    rows = [
        [
            technique,
            *(
                shown(pick(lines, optimizer=optimizer, technique=technique, metric=m))
                for lines in sides.values()
                for m in (LOSS, ACCURACY)
            ),
        ]
        for technique in scale.techniques
    ]
    return markdown(["", *heads], rows)
