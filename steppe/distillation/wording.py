"""Sentences and tables about a distillation, from its record."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .front import Row
    from .result import Distillation, Ratio

WIDE = 64  # characters of a formula in a table of the terminal


def verdict(found: "Distillation") -> str:
    """Does the formula do in the optimizer's place, in one or two sentences."""
    own = [r for r in found.ratios if r.task == found.task and r.part == "test"]
    told = ", ".join(f"{times(r)} after {r.steps:,} steps" for r in own)
    stands = "can stand in for" if found.stands else "does not stand in everywhere for"
    r2 = "" if found.held.pooled is None else f" R² of its updates is {found.held.pooled:.2f}."
    return (
        f"A formula of {found.nodes} nodes {stands} {found.optimizer}: its test loss is {told} "
        f"that of the optimizer, on fresh problems of {found.task}.{r2}"
    )


def times(r: "Ratio") -> str:
    """The ratio with its interval, e.g. "1.02 times (0.98 to 1.06)"."""
    if r.mean is None:
        return "not comparable with"
    low, high = number(r.low), number(r.high)
    return f"{number(r.mean)} times" + ("" if r.low is None else f" ({low} to {high})")


def number(x: float | None) -> str:
    """Two decimals, or two digits of what is small.

    >>> number(1.234), number(0.00123), number(None)
    ('1.23', '0.0012', '–')
    """
    if x is None:
        return "–"
    return f"{x:.2f}" if abs(x) >= 0.1 or not x else f"{x:.2g}"


def brief(text: str, wide: int = WIDE) -> str:
    """A formula cut to a width."""
    return text if len(text) <= wide else text[: wide - 2] + " …"


def worst(row: "Row") -> str:
    """The worst loss ratio of a candidate, or why there is none."""
    return row.fault or (f"{row.merit:.2f}" if row.merit < 1e3 else "diverged")


def front_lines(found: "Distillation") -> list[str]:
    """The candidates, one a line; * is the one that was kept."""
    lines = ["nodes     R²   loss ratio   formula       (on problems of validation; kept: *)"]
    for row in found.front:
        mark = "*" if row.kept else " "
        said = f"{row.nodes:>5}{mark} {number(row.validation):>6}   {worst(row):>10}   "
        lines.append(said + brief(row.text))
    return lines


def ratio_lines(found: "Distillation") -> list[str]:
    """Losses of the formula over the optimizer's, one a line."""
    lines = ["loss over that of the optimizer, on fresh problems"]
    for r in found.ratios:
        part = "test" if r.part == "test" else "training"
        bad = f", diverged on {r.diverged}" if r.diverged else ""
        lines.append(
            f"  {r.task}, {part} loss after {r.steps:,} steps: {times(r)}, n = {r.problems}{bad}"
        )
    return lines


def advice(found: "Distillation") -> str:
    """A suggestion: the next thing to do."""
    if found.stands:
        return (
            "Use it in the optimizer's place. Where the problems differ from "
            f"{found.task}, compare first: `steppe eval`."
        )
    if not found.tuned:
        return "Tune its numbers by the losses that they lead to: add `--tune 200`."
    return "Let more formulas compete: add `--search`, or record more: `--runs 48 --rounds 2`."
