"""What the runs of a certificate gave: all tasks are run, a batch at a time, and counted."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .claims import Iterations, reached, tolerance_of, within
from .plan import Plan
from .runs import AbstractRun, Runs

CAPPED = 0.01  # share of runs without a first hit above which a certificate says so


@dataclasses.dataclass(frozen=True)
class Seen:
    """What the runs gave: a number for each claim and task, and counts."""

    values: list[np.ndarray]
    counts: dict[str, Any]
    diverged: int
    returned: int  # runs whose error rose above a tolerance again
    dtype: str


def gather(
    run: AbstractRun,
    planned: Plan,
    seed: int,
    steps: int,
    batch: int,
    repeats: bool,
    say: Callable[[str], None],
) -> Seen:
    """Run all tasks, a batch at a time, and keep what claims need of them."""
    claims = [item.claim for item in planned.items]
    tolerances = sorted({e for c in claims if (e := tolerance_of(c)) is not None})
    above = np.zeros((len(tolerances), steps + 1), np.int64)
    parts: list[list[np.ndarray]] = [[] for _ in claims]
    prints: Counter[str] = Counter()
    diverged, returned, dtype = 0, 0, ""
    for runs in batches(run, planned.n, seed, steps, batch):
        errors = runs.errors
        check_errors(errors, run)
        prints.update(runs.prints)
        if not repeats and run.population is None and (twice := repeated(prints)):
            raise ValueError(
                f"{twice} of {prints.total()} tasks are equal to another; tasks must be drawn "
                "independently, each from its own key. Where only few are possible, say "
                "repeats=True."
            )
        for part, claim in zip(parts, claims, strict=True):
            part.append(claim.values(errors))
        for i, tolerance in enumerate(tolerances):
            above[i] += (~within(errors, tolerance)).sum(axis=0)
        diverged += int((~np.isfinite(errors)).any(axis=1).sum())
        returned += int(rises(errors, tolerances).sum())
        dtype = runs.dtype
        say(f"{sum(map(len, parts[0]))} of {planned.n} tasks")
    counts = {"tolerances": tolerances, "failures": above.tolist()}
    return Seen([np.concatenate(part) for part in parts], counts, diverged, returned, dtype)


def batches(run: AbstractRun, n: int, seed: int, steps: int, batch: int) -> Iterator[Runs]:
    for first in range(0, n, batch):
        yield run.run(seed, range(first, min(first + batch, n)), steps)


def check_errors(errors: np.ndarray, run: AbstractRun) -> None:
    wrong = errors[np.isfinite(errors) & (errors < 0)]
    if len(wrong) and not run.metric.signed:
        raise ValueError(
            f"The metric {run.metric.name!r} was negative ({wrong.min():g}), which it is declared "
            "not to be; take its absolute value, or declare it `signed`."
        )


def repeated(prints: Counter[str]) -> int:
    """How many tasks are equal to an earlier one."""
    return prints.total() - len(prints)


def rises(errors: np.ndarray, tolerances: Sequence[float]) -> np.ndarray:
    """Which runs came to some tolerance and left it again."""
    left = np.zeros(len(errors), bool)
    for tolerance in tolerances:
        first = reached(errors, tolerance, "first_hit")
        left |= np.isfinite(first) & (reached(errors, tolerance, "stay") != first)
    return left


def warnings(run: AbstractRun, planned: Plan, seen: Seen, steps: int) -> list[str]:
    """What a reader should hold against it."""
    n, found = planned.n, []
    claims = [item.claim for item in planned.items]
    tolerances = seen.counts["tolerances"]
    if seen.diverged:
        found.append(f"{seen.diverged} of {n} runs diverged; they count as failures.")
    if seen.dtype == "float32" and not run.metric.signed and any(e < 1e-5 for e in tolerances):
        found.append(f"Errors were computed in float32, which may not resolve {min(tolerances):g}.")
    first = any(getattr(c, "semantics", "") == "first_hit" for c in claims)
    if first and seen.returned:
        found.append(
            f"In {seen.returned} of {n} runs the error rose above a tolerance again after it was "
            "reached: iterations are to the first time (semantics='stay' is for good)."
        )
    for claim, values in zip(claims, seen.values, strict=True):
        if isinstance(claim, Iterations) and (late := float(np.mean(np.isinf(values)))) > CAPPED:
            found.append(
                f"{100 * late:.1f} % of runs did not come to {claim.tolerance:g} within {steps} "
                "iterations."
            )
    if run.population is not None:
        found.append(
            f"Tasks were taken from a set of {run.population} without repetition: the statement is "
            "about that set, or about what it was drawn from."
        )
    return list(dict.fromkeys([*found, *run.notes]))
