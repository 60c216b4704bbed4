"""Steadiness of a meta-training at its end, and likeness of two runs of it.

    sd        standard deviation of the meta-loss over the last quarter of the meta-steps
    spread    difference of two runs in the mean of that quarter

Both are relative to the mean. Where the meta-loss is a mean of logarithms they are not divided by
it: a difference of logarithms is a relative change. Rows of a log are means over the meta-steps
between them, so that `sd` goes by `log_every` too: compare runs that log alike.

A comparison of ways to meta-train that are less steady than its differences shows chance. `gate`
says whether an arm may enter. Standard library only.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .findings import Finding, numbers

PART = 0.25  # of the meta-steps, the last ones
STEADY = 0.10  # largest sd
ALIKE = 0.05  # largest spread
FEW = 4  # rows in the quarter under which nothing is said
TIMES = ("time", "inner_steps_per_s")  # columns that no two runs share


class Tail(NamedTuple):
    """The meta-loss over the last quarter of a run."""

    mean: float
    sd: float  # relative; NaN of less than FEW rows, or where a value is not finite
    rows: int


def tail(rows: Sequence[Mapping], *, logarithmic: bool = False, column: str = "meta_loss") -> Tail:
    """Mean and relative sd of a column over the last quarter.

    - `logarithmic`: the column is a mean of logarithms
    - `column`: "meta_loss", or "valid_loss" with its fewer rows

    >>> tail([{"step": k, "meta_loss": 1.0 + (k % 2)} for k in range(1, 17)]).mean
    1.5
    """
    known = [row for row in rows if column in row]
    last = known[-1]["step"] if known else 0
    late = [row for row in known if row["step"] > (1 - PART) * last]
    values = numbers(late, column)
    if len(values) < max(FEW, len(late)):
        return Tail(math.nan, math.nan, len(late))
    mean, sd = statistics.fmean(values), statistics.stdev(values)
    scale = 1.0 if logarithmic else abs(mean)
    return Tail(mean, sd / scale if scale else math.inf, len(late))


def spread(
    rows: Sequence[Mapping], again: Sequence[Mapping], *, logarithmic: bool = False
) -> float:
    """Relative difference of two runs in the mean meta-loss of their last quarters."""
    one, two = (tail(x, logarithmic=logarithmic).mean for x in (rows, again))
    scale = 1.0 if logarithmic else (abs(one) + abs(two)) / 2
    return abs(one - two) / scale if scale else abs(one - two)


def parting(rows: Sequence[Mapping], again: Sequence[Mapping]) -> int | None:
    """The first meta-step at which two logs differ in a number, times apart; None if they do not.

    A log that ends before the other differs at the first row that it lacks.
    """
    plain = lambda row: {name: repr(x) for name, x in row.items() if name not in TIMES}
    for one, two in zip(rows, again, strict=False):
        if plain(one) != plain(two):
            return int(min(one["step"], two["step"]))
    longer = max(rows, again, key=len)[min(len(rows), len(again)) :]
    return int(longer[0]["step"]) if longer else None


def steady(rows: Sequence[Mapping], *, logarithmic: bool = False) -> Finding:
    """The sd of a run, as a finding that judges nothing: small and short runs are rarely steady."""
    what, found = "steadiness", tail(rows, logarithmic=logarithmic)
    if not math.isfinite(found.sd):
        return Finding(what, True, f"not to be said of {found.rows} rows")
    text = f"sd {found.sd:.1%} over the last quarter, {found.rows} rows about {found.mean:.4g}"
    return Finding(what, True, text, numbers=found._asdict())


def gate(
    rows: Sequence[Mapping], again: Sequence[Mapping] | None = None, *, logarithmic: bool = False
) -> list[Finding]:
    """Judge whether a run may be compared: sd below 10 %, a rerun within 5 %.

    - `rows`, `again`: logs of two runs of one recipe and seed; None: of one run alone
    """
    found = tail(rows, logarithmic=logarithmic)
    text = f"sd {found.sd:.1%} over the last quarter, at most {STEADY:.0%}"
    fix = "" if (ok := found.sd < STEADY) else (
        "not steady: raise `estimator.episodes` or `run.steps`, lower `meta.lr`, or end it with "
        "`meta.decay cosine`"
    )  # fmt: skip
    first = Finding("gate: steadiness", ok, text, fix, found._asdict())
    if again is None:
        return [first]
    apart, step = spread(rows, again, logarithmic=logarithmic), parting(rows, again)
    text = f"{apart:.1%} apart over the last quarter, at most {ALIKE:.0%}; " + (
        "equal to the last digit" if step is None else f"they part at meta-step {step}"
    )
    fix = "" if (ok := apart < ALIKE) else (
        "not the same again: run both with the same `run.cores`, on one kind of processor, with "
        "the same versions; then as for steadiness"
    )  # fmt: skip
    return [first, Finding("gate: rerun", ok, text, fix, {"spread": apart, "parts_at": step})]
