"""Problems by name, and when gradients go and questions are asked on each."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ...data.fetch import fetched
from ...prompt.state import Alternate
from ...store.untrusted import FileError
from . import problems, texts
from .problems import Problem
from .settings import SUPERGLUE, Catalysed

# Of a factor of 1. Rungs of a probation are whole numbers of gaps between two looks, so that each
# look at gradients alone beside proposals has its like in the run without them.
SCHEDULES = {
    "numbers": Alternate(steps=20, probation=8, snapshots=5),
    "words": Alternate(steps=24, probation=16, snapshots=3),
    "settings": Alternate(steps=12, probation=8, snapshots=3),
    "newsgroups": Alternate(steps=12, probation=8, snapshots=3),
}
SCHEDULES |= dict.fromkeys(SUPERGLUE, Alternate(steps=48, probation=16, snapshots=6))


def problem(cell: Mapping[str, Any]) -> Problem:
    """The problem of a cell."""
    name, seed = cell["problem"], cell["seed"]
    if name in SUPERGLUE:
        given = (cell[name] for name in ("superglue", "encoder", "length"))
        return texts.of_superglue(SUPERGLUE[name], seed, *given)
    made = {
        "numbers": problems.numbers,
        "words": problems.words,
        "settings": problems.settings,
        "newsgroups": texts.posts,
    }
    return made[name](seed)


def schedule(cell: Mapping[str, Any]) -> Alternate:
    """The schedule of a cell, with as many gradients as the longest run can take."""
    usual, factor = SCHEDULES[cell["problem"]], cell["factor"]
    longer = dataclasses.replace(
        usual, rounds=cell["rounds"], steps=factor * usual.steps, probation=factor * usual.trial
    )
    return dataclasses.replace(longer, gradients=longer.whole(cell["candidates"]))


def absent(name: str, settings: Catalysed) -> str:
    """The sentence why a problem cannot be had here, "" if it can."""
    if name in SUPERGLUE:
        return texts.absent(settings.superglue, settings.encoder)
    try:
        if name == "newsgroups":
            for part in ("minilm", "newsgroups"):
                fetched(part)
    except FileError as error:
        return str(error)
    return ""
