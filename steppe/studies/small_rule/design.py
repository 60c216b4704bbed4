"""Design of the study, registered in README.md before anything runs. Plain data.

    look     an optimizer without trials on every task
    start    the learned optimizer as meta-training found it, on every task
    tuned    a rival tuned on each task, then looked at
    trials   the learned optimizer with a factor and a cosine tuned on each task, then looked at

The learned optimizers are twins, two files in this folder: tries of `shipped_weights.tries_design`,
meta-trained in the same way but for the penalty. The unit is a *seed* of trainings: weights at the
start, networks, batches and, where the data are not those of meta-training, the division s mod
`divisions` of the data. Digits keep division 0, on which the twins were meta-trained, so that
nothing they are tested on was seen there.

Standard library only.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..flatness.design import Cell, Tasks
from ..flatness_2.design import FACTORS, Scale, divided, divisions, looks
from ..flatness_2.scales import SMALL as AGAIN
from ..flatness_2.scales import TINY
from ..shipped_weights.tries_design import SETTINGS

WORK = "steppe.studies.small_rule.work:run_cell"
FLAT, PLAIN = "small-mlp-flat", "small-mlp"
CANDIDATES = {  # the try that it is; its file: its name.safetensors
    FLAT: "small MLP + vanishing + held-out + late trace 1.0 + wrong labels",
    PLAIN: "small MLP + vanishing + held-out + wrong labels",
}
RAISED = 1.4  # factor of their steps, chosen on the tasks of the tries; in the bias of the rate
SEEDS = tuple(range(24, 48))  # not those of the second study
ADAM, ADAMW, MOMENTUM = "adam", "adamw-cosine", "momentum-cosine"
ADAM_COSINE = "adam-cosine"
TUNED = (ADAMW, MOMENTUM)  # rivals with as many trials
SEEN = "digits"  # how names of tasks begin whose data were in meta-training


@dataclasses.dataclass(frozen=True)
class Judged:
    """All sizes of the study.

    - `scale`: of the second study of flatness, for tasks, seeds and looks
    - `rivals`: without trials → rate and setting, the best on the task of meta-training
    """

    scale: Scale
    rivals: Mapping[str, tuple[float, float]]
    promised: str


def cells(judged: Judged) -> Iterator[Cell]:
    """Stage by stage, in the order of what they decide."""
    scale = judged.scale
    yield from looked_at(judged, [FLAT, PLAIN], [ADAM, ADAMW, MOMENTUM])
    for seeds, tasks in groups(scale, scale.unseen):
        how = {"meta_seeds": seeds, "tasks": tasks, **looks(scale)}
        how |= {"tuning_seeds": scale.tuning_seeds}
        yield {"part": "trials", "optimizer": FLAT, "grid": list(FACTORS), **how}
        for name in TUNED:
            yield {"part": "tuned", "optimizer": name, "budget": "steps", **how}
    yield from looked_at(judged, [], [ADAM_COSINE])
    for cell in looked_at(judged, [FLAT], []):
        yield cell | {"part": "start"}


def looked_at(judged: Judged, learned: Sequence[str], rivals: Sequence[str]) -> Iterator[Cell]:
    """Cells of optimizers without trials, group by group."""
    scale = judged.scale
    for seeds, tasks in groups(scale, scale.unseen | scale.short):
        how = {"meta_seeds": seeds, "tasks": tasks, **looks(scale)}
        for name in learned:
            yield {"part": "look", "optimizer": name, **how}
        for name in rivals:
            if name in judged.rivals:
                lr, setting = judged.rivals[name]
                yield {"part": "look", "optimizer": name, "lr": lr, "setting": setting, **how}


def groups(scale: Scale, tasks: Tasks) -> Iterator[tuple[list[int], Tasks]]:
    """Seeds that share a division of the data, and the tasks on it."""
    bare = {label: how | {"curved": False} for label, how in tasks.items()}
    seen = {label: how for label, how in bare.items() if str(how["name"]).startswith(SEEN)}
    other = {label: how for label, how in bare.items() if label not in seen}
    yield list(scale.meta_seeds), divided(seen, 0)
    for k in divisions(scale):
        yield [s for s in scale.meta_seeds if s % scale.divisions == k], divided(other, k)


SMALL = Judged(
    dataclasses.replace(AGAIN, meta_seeds=SEEDS),
    SETTINGS,
    "about 2 core-hours and 3 GB on two cores",
)
SCALES: dict[str, Any] = {
    "tiny": Judged(TINY, {name: SETTINGS[name] for name in (ADAM, ADAMW)}, "about 4 minutes"),
    "small": SMALL,
}
