"""The record of a search for a solver: plain data, from which the page and the verdict are made."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np

from ..store.untrusted import Between, Length

Words = Annotated[str, Length(4000)]
Name = Annotated[str, Length(200)]
Count = Annotated[int, Between(0, 2**53)]
Number = float | None
Numbers = Annotated[tuple[Number, ...], Length(16)]
Curve = Annotated[tuple[Number, ...], Length(256)]
Kind = Literal["by hand", "learned", "rival"]
By = Literal["batch", "alone", "iterations"]
Goal = Literal["objective", "recovery"]
POINTS = 60  # of a curve


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One solver, as it was found on the problems that all were judged on.

    Of each tolerance, None where it was not reached on every problem (`reached` is the share).

    - `fault`: the reason why it was not judged to the end, "" if it was
    - `meta_steps`, `seconds`: of its training
    - `at`, `median`, `low`, `high`: iterations, and the errors after them with the 10–90 % band
    - `iterations`, `most`: mean over the problems, and enough for nine in ten of them
    - `alone`, `batch`: seconds a problem, alone and in a batch that is done when nine in ten are
    - `step_alone`, `step_batch`: seconds of an iteration of one problem
    - `final`: mean error after the last iteration
    """

    name: Name
    about: Words
    kind: Kind
    fault: Words = ""
    meta_steps: Count = 0
    seconds: float = 0.0
    at: Annotated[tuple[Count, ...], Length(256)] = ()
    median: Curve = ()
    low: Curve = ()
    high: Curve = ()
    reached: Annotated[tuple[float, ...], Length(16)] = ()
    iterations: Numbers = ()
    most: Numbers = ()
    alone: Numbers = ()
    batch: Numbers = ()
    step_alone: Number = None
    step_batch: Number = None
    final: Number = None

    @property
    def learned(self) -> bool:
        return self.kind == "learned"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """The whole search.

    - `family`: the problems in words; `goal`: "objective" or "recovery"; `error`: name of the error
    - `tolerances`: from easy to hard; the last decides
    - `by`: what decides between solvers
    - `steps`: iterations that were looked at; `problems`: number of those judged on; `width`: of a
      batch that was timed
    - `rows`: the solvers; `winner`: the name of one
    - `budget`: seconds allowed, None where meta-steps were counted; `seconds`: taken
    - `notes`: what else a reader should know, a sentence each
    """

    family: Words
    goal: Goal
    error: Name
    tolerances: Annotated[tuple[float, ...], Length(16, 1)]
    by: By
    steps: Count
    problems: Count
    width: Count
    rows: Annotated[tuple[Row, ...], Length(200, 1)]
    winner: Name
    budget: Number
    seconds: float
    seed: Count
    notes: Annotated[tuple[Words, ...], Length(200)]
    environment: dict[str, Any]

    def row(self, name: str) -> Row:
        return next(row for row in self.rows if row.name == name)


def judged(errors: np.ndarray, tolerances: Sequence[float], row: Row) -> Row:
    """The row with what these errors (problems, steps + 1) say."""
    with np.errstate(invalid="ignore"):
        errors = np.where(np.isfinite(errors), errors, np.inf)
        first = [first_within(errors, tolerance) for tolerance in tolerances]
        at = points(errors.shape[1] - 1)
        low, middle, high = np.percentile(errors[:, at], (10, 50, 90), axis=0, method="nearest")
        final = errors[:, -1].mean()
    return dataclasses.replace(
        row,
        at=tuple(int(k) for k in at),
        median=plain(middle),
        low=plain(low),
        high=plain(high),
        reached=tuple(float(np.isfinite(hits).mean()) for hits in first),
        iterations=plain(hits.mean() for hits in first),
        most=plain(enough(hits) for hits in first),
        final=plain([final])[0],
    )


def timed(row: Row, alone: float | None, batch: float | None) -> Row:
    """The row with its seconds, from those of an iteration of one problem."""

    def times(iterations: Numbers, pace: float | None) -> tuple[float | None, ...]:
        return () if pace is None else tuple(None if k is None else k * pace for k in iterations)

    return dataclasses.replace(
        row,
        step_alone=alone,
        step_batch=batch,
        alone=times(row.iterations, alone),
        batch=times(row.most, batch),
    )


def first_within(errors: np.ndarray, tolerance: float) -> np.ndarray:
    """Iterations until the error of each problem is first so small, ∞ if never; (problems,)."""
    within = errors <= tolerance
    return np.where(within.any(axis=1), within.argmax(axis=1), np.inf)


def enough(hits: np.ndarray) -> float:
    """Iterations with which nine in ten problems are there; ∞ unless all are in the end."""
    found = np.inf if np.isinf(hits).any() else np.quantile(hits, 0.9, method="higher")
    return float(found)


def points(steps: int) -> np.ndarray:
    """Iterations of a curve: every one at first, then at equal ratios."""
    return np.unique(np.round(np.geomspace(1, steps + 1, POINTS)).astype(int) - 1)


def plain(values) -> tuple[float | None, ...]:
    """Numbers for JSON, None for what is not finite."""
    return tuple(float(x) if math.isfinite(x) else None for x in values)


def merit(row: Row, by: By) -> tuple[float, float, float]:
    """Numbers that order rows, the better first: misses, then time or iterations, then error."""
    if row.fault or not row.reached:
        return (math.inf, math.inf, math.inf)
    found = {"batch": row.batch, "alone": row.alone, "iterations": row.iterations}[by]
    cost = found[-1] if found else None
    error = math.inf if row.final is None else row.final
    return (1 - row.reached[-1], math.inf if cost is None else cost, error)


MARGIN = 0.95  # of the cost of the best solver made by hand: what a learned one has to be below


def chosen(rows: Sequence[Row], by: By) -> Row:
    """The row to take: the best made by hand, unless a learned one is clearly better."""
    by_hand, learned = (best(rows, by, kind) for kind in ("by hand", "learned"))
    if by_hand is None or learned is None:
        return by_hand or learned or rows[0]
    ours, theirs = merit(learned, by), merit(by_hand, by)
    if ours[0] == theirs[0]:  # equally often there: then by cost, else by error
        which = 1 if math.isfinite(theirs[1]) else 2
        lower = theirs[which] - (1 - MARGIN) * abs(theirs[which])
        return learned if ours[which] < lower else by_hand
    return min(by_hand, learned, key=lambda row: merit(row, by))


def best(rows: Sequence[Row], by: By, kind: Kind | None = None) -> Row | None:
    """The best row, of a kind if one is named; None if there is none."""
    known = [row for row in rows if not row.fault and kind in (None, row.kind)]
    return min(known, key=lambda row: merit(row, by), default=None)
