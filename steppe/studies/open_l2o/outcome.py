"""What came out of the benchmark in tables: how many expectations hold, and what methods cost."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from ..study import NOT_CLAIMED, NOT_MEASURED, Verdict, markdown, reproduced
from ..suite import Cost, tally
from .settings import SUITES

PROTOCOLS = {"published": "as published", "corrected": "corrected"}
COST_HEAD = (
    "suite", "method", "kind", "numbers", "products with A", "gradients", "values",
    "training, CPU-s", "step, CPU-µs",
)  # fmt: skip


def text(verdicts: Sequence[Verdict], costs: Sequence[Cost]) -> str:
    """Tables for a reader, then a line for each expectation."""
    parts = [
        summary(verdicts),
        markdown(COUNT_HEAD, count_rows(verdicts)),
        "What an iteration of one problem costs:",
        markdown(COST_HEAD, cost_rows(costs)),
        "\n\n".join(of_suite(verdicts)),
    ]
    return "\n\n".join(part for part in parts if part)


def of_suite(verdicts: Sequence[Verdict]) -> Iterable[str]:
    for letter in dict.fromkeys(v.suite for v in verdicts):
        lines = reproduced(v for v in verdicts if v.suite == letter)
        yield f"{letter}: {SUITES[letter].words}\n{lines}"


def summary(verdicts: Sequence[Verdict]) -> str:
    """A sentence: the claimed expectations that hold, and what there is beside them."""
    held, judged = tally(verdicts)
    share = f" ({100 * held / judged:.0f} %)" if judged else ""
    return f"{held} of {judged} claimed expectations reproduce{share}. {rest(verdicts)}"


def rest(verdicts: Sequence[Verdict]) -> str:
    """A sentence on those that are neither reproduced nor not."""
    missing = sum(v.unjudged == NOT_MEASURED for v in verdicts)
    unclaimed = sum(v.unjudged == NOT_CLAIMED for v in verdicts)
    return (
        f"{missing} more were not measured at this scale, and {unclaimed} that were published are "
        "not claimed here."
    )


def counts(verdicts: Sequence[Verdict]) -> dict[str, dict[str, Any]]:
    """By suite: of both protocols those that hold and that were judged; and the others."""
    found = {}
    for letter in dict.fromkeys(v.suite for v in verdicts):
        mine = [v for v in verdicts if v.suite == letter]
        found[letter] = {
            **{name: tally([v for v in mine if v.protocol == name]) for name in PROTOCOLS},
            "not measured": sum(v.unjudged == NOT_MEASURED for v in mine),
            "not claimed": sum(v.unjudged == NOT_CLAIMED for v in mine),
        }
    return found


COUNT_HEAD = ("suite", "about", *PROTOCOLS.values(), "not measured", "not claimed")


def count_rows(verdicts: Sequence[Verdict]) -> list[list[str]]:
    share = lambda held, judged: f"{held} of {judged}" if judged else "–"
    return [
        [
            letter,
            SUITES[letter].words,
            *(share(*of[name]) for name in PROTOCOLS),
            *(str(of[name] or "–") for name in ("not measured", "not claimed")),
        ]
        for letter, of in counts(verdicts).items()
    ]


def cost_rows(costs: Iterable[Cost]) -> list[list[str]]:
    some = lambda x: "–" if x is None else f"{x:.3g}"
    return [
        [
            c.suite, c.method, c.kind, f"{c.parameters:,}", some(c.products), some(c.gradients),
            some(c.values or None), f"{c.training_s:.0f}", some(c.step_us),
        ]
        for c in costs
    ]  # fmt: skip


def finite(x: float) -> float | str:
    """The number, or a word for what JSON has no number for."""
    return float(f"{x:.6g}") if math.isfinite(x) else str(x)
