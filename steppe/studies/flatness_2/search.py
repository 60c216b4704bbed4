"""Weights of the arms: the least mean score, from grids that grow until the best is inside.

    score = mean over tasks and meta-seeds of ½ (ln loss + ln error), with the arm less without

on validation splits at the validated stop (`flatness.search`), of tasks that the study does not
have. A run that diverged makes the score of its weight the worst.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ...evaluation.engines import Row
from ...evaluation.tuning import edge
from ..flatness import search as first
from ..flatness.design import NONE
from ..flatness.lines import every

if TYPE_CHECKING:
    from .design import Scale

POINT = "stop"


@dataclasses.dataclass(frozen=True)
class Found:
    """The state of the search of one arm.

    - `scores`: weight → score, None where a run diverged or is missing
    - `best`: the weight of least score, None where none has one
    - `edge`: the end of the grid that it is at, "" inside
    """

    scores: Mapping[float, float | None]
    best: float | None
    edge: str


def found(scale: "Scale", rule: str, arm: str, rows: Sequence[Row]) -> Found:
    """The scores of an arm over all meta-seeds of the search."""
    own = [
        row
        for row in rows
        if row.cell["part"] == "search"
        and row.cell["optimizer"] == rule
        and row.cell["arm"] in (arm, NONE)
    ]
    scores: dict[float, float | None] = {}
    for (_, _, weight), seeds in first.differences(own, POINT).items():
        whole = len(seeds) == len(scale.search_seeds)
        scores[weight] = every([seed["score"] for seed in seeds]) if whole else None
    known = {w: x for w, x in sorted(scores.items()) if x is not None and math.isfinite(x)}
    best = min(known, key=lambda weight: known[weight]) if known else None
    at = "" if best is None else edge(sorted(scores), best)
    return Found(dict(sorted(scores.items())), best, at)


def beyond(found: Found) -> list[float]:
    """The weight to try next; [] where the best is inside, or at an end of the ladder."""
    return first.beyond(list(found.scores), found.edge) if found.scores else []


def weights(
    scale: "Scale", rule: str, arms: Sequence[str], rows: Sequence[Row]
) -> dict[str, float]:
    """Arm → its best weight, for those that have one."""
    all_of = {arm: found(scale, rule, arm, rows).best for arm in arms if arm != NONE}
    return {arm: best for arm, best in all_of.items() if best is not None}
