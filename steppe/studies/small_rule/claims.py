"""The registered tests: families of lines, and what each hypothesis comes to by its rule.

A line is ours less theirs over seeds (`flatness.lines`). Outcomes are ln test loss and accuracy at
the validated stop, means over all tasks, and beside rivals over those that are not digits, too.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...evaluation.engines import Row
from ..flatness.lines import END, STOP, Differs, Key, Learned, Line, Result, compared, general
from ..flatness.rivals import by_seed
from ..flatness_2.claims import (
    FEWEST,
    MARGINS,
    NOT_WORSE,
    OTHER_DATA,
    Claim,
    Word,
    below,
    primary,
    rival,
    tried,
)
from .design import ADAM, ADAMW, FLAT, MOMENTUM, PLAIN, Judged

RULE, TECHNIQUE = "small-mlp", "plain"
BEHIND = {ADAMW: math.log(1.05), MOMENTUM: math.log(1.10)}  # at most, with as many trials


def results(rows: Iterable[Row]) -> dict[Key, Result]:
    """Every side of a pair by its name and seed, all of its tasks together."""
    found: dict[Key, dict[str, Result]] = {}
    for row in rows:
        cell, result = row.cell, row.result
        if result is None:
            continue
        for label, look in result["tasks"].items():
            for s, one in by_seed(look, cell["meta_seeds"]).items():
                found.setdefault((RULE, TECHNIQUE, side(cell), s), {})[label] = one
    return {key: {"tasks": tasks} for key, tasks in found.items()}


def side(cell: Mapping[str, Any]) -> str:
    """Name of one side of a pair."""
    name = cell["optimizer"]
    if cell["part"] == "trials":
        return tried(name)
    if cell["part"] == "start":
        return untrained(name)
    if name in (FLAT, PLAIN):
        return name
    return rival(name, "untuned" if cell["part"] == "look" else "tuned", "steps")


def untrained(name: str) -> str:
    """A learned optimizer as its meta-training found it."""
    return f"{name}, untrained"


def judged(plan: Judged, learned: Learned) -> list[tuple[Claim, Word]]:
    """All hypotheses in the order of README, and what each comes to."""
    scale = plan.scale
    complete = {
        key: found for key, found in learned.items() if {*scale.unseen} <= {*found["tasks"]}
    }
    stop, both = general(list(scale.unseen), STOP), primary(scale)
    loss = {"ln test_loss": stop["ln test_loss"]}
    last = {"ln test_loss": general(list(scale.short), END)["ln test_loss"]}
    untuned = lambda name: rival(name, "untuned", "steps")
    tuned = lambda name: rival(name, "tuned", "steps")

    def claim(name: str, question: str, pairs: Sequence[tuple[str, str]], of: Differs) -> Claim:
        sides = [((RULE, TECHNIQUE, a), (RULE, TECHNIQUE, b)) for a, b in pairs]
        return Claim(name, RULE, question, compared(complete, sides, of, scale.meta_seeds))

    first = claim(
        "S1",
        "without trials it beats Adam and AdamW with a cosine, at no lower accuracy",
        [(FLAT, untuned(name)) for name in (ADAM, ADAMW)],
        both,
    )
    others = [name for name in plan.rivals if name not in (ADAM, ADAMW)]
    second = claim(
        "S2",
        "without trials it beats the other rivals, at no lower accuracy",
        [(FLAT, untuned(name)) for name in others],
        both,
    )
    bounds = list(BEHIND.values())
    third = claim(
        "S3",
        "with 20 trials on both sides it is at most 5 % behind AdamW with a cosine and 10 % "
        "behind momentum with one",
        [(tried(FLAT), tuned(name)) for name in BEHIND],
        loss,
    )
    fourth = claim(
        "S4",
        "where the budget ends before overfitting it does not lose to its plain twin",
        [(FLAT, PLAIN)],
        last,
    )
    fifth = claim(
        "S5", "networks never seen are better by it than by its plain twin", [(FLAT, PLAIN)], stop
    )
    sixth = claim(
        "S6", "meta-training makes networks never seen better", [(FLAT, untrained(FLAT))], stop
    )
    return [
        (first, beats(first)),
        (second, beats(second)),
        (third, below(third, bounds)),
        (fourth, below(fourth, [NOT_WORSE])),
        (fifth, fifth.word(())),
        (sixth, sixth.word(())),
    ]


def beats(claim: Claim) -> Word:
    """Better in every test loss, and lower in no accuracy by more than the margin."""
    losses = [line for line in claim.lines if "accuracy" not in line.metric]
    others = [line for line in claim.lines if line not in losses]
    if claim.n < FEWEST:
        return "not decided"
    if all(line.better for line in losses) and not any(map(lower, others)):
        return "yes"
    return "worse" if all(line.lost for line in losses) else "open"


def lower(line: Line) -> bool:
    """True where the accuracy may be lower by more than the margin."""
    low = line.found.difference.low
    return low is None or low <= -MARGINS[line.metric.removesuffix(OTHER_DATA)]
