"""The first screen of a comparison: is it better, and where.

One sentence, and a grid of tasks × rivals in one metric. Each cell is a paired comparison
(`evaluation/compare.py`), at equal steps and, where a rival's steps are quicker, at equal
wall-clock as well.
"""

import dataclasses
from collections.abc import Sequence

from ..evaluation import compare
from ..evaluation.compare import Case, Comparison

SIGNS = {"better": "▲", "worse": "▼", "no difference seen": "○"}
WORDS = {"better": "better", "worse": "worse", "no difference seen": "unclear"}
FIRST = "test_loss"  # what the first screen goes by, where it was measured


@dataclasses.dataclass(frozen=True)
class Mark:
    """One verdict, as sign and word, with the size of the difference."""

    verdict: str  # as `stats.Verdict`
    change: str  # "−12 %", "" where a share means nothing
    about: str  # the whole comparison in words

    @property
    def sign(self) -> str:
        return SIGNS[self.verdict]

    @property
    def word(self) -> str:
        """The verdict in one word."""
        return WORDS[self.verdict]


@dataclasses.dataclass(frozen=True)
class Square:
    """A task against a rival."""

    steps: Mark | None  # at equal steps; None: they had other starts
    clock: Mark | None  # at equal wall-clock; None: the rival's steps are no quicker


@dataclasses.dataclass(frozen=True)
class Grid:
    """A learned optimizer: its tasks × its rivals, in one metric."""

    ours: str
    metric: str
    rivals: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Square, ...]], ...]  # the case, and a square for each rival
    seeds: int  # pairs behind a verdict, at least

    def marks(self, at: str) -> list[Mark]:
        """All that were compared `at` equal "steps" or "clock"."""
        found = [getattr(square, at) for _, squares in self.rows for square in squares]
        return [mark for mark in found if mark is not None]


def grids(cases: Sequence[Case]) -> list[Grid]:
    """A grid for each learned optimizer that has rivals."""
    learned = dict.fromkeys(r.optimizer for case in cases for r in case.records if r.learned)
    found = [_grid(ours, cases) for ours in learned]
    return [grid for grid in found if grid.rivals]


def sentence(grid: Grid) -> str:
    """The answer in words."""
    steps, clock = grid.marks("steps"), grid.marks("clock")
    if not steps:
        return f"{grid.ours} shared no starts with a rival, so that nothing can be compared."
    won, lost = (count(steps, verdict) for verdict in ("better", "worse"))
    start = "Yes" if won == len(steps) else "In part" if won else "No"
    of = f"of {len(steps)} comparison{'s' if len(steps) > 1 else ''}"
    said = (
        f"{start}: in {compare.label(grid.metric)}, {grid.ours} is better in {won} {of} at equal "
        f"steps and worse in {lost}"
    )
    if clock:
        won, lost = (count(clock, verdict) for verdict in ("better", "worse"))
        said += f"; at equal wall-clock it is better in {won} of {len(clock)} and worse in {lost}"
    return said + "."


def count(marks: Sequence[Mark], verdict: str) -> int:
    return sum(mark.verdict == verdict for mark in marks)


def _grid(ours: str, cases: Sequence[Case]) -> Grid:
    own = [case for case in cases if any(r.optimizer == ours for r in case.records)]
    rivals = tuple(dict.fromkeys(r.optimizer for c in own for r in c.records if not r.learned))
    shared = [m for case in own for m in compare.metrics(case)]
    metric = FIRST if FIRST in shared else next(iter(shared), FIRST)
    rows, seeds = [], []
    for case in own:
        steps = {c.theirs: c for c in compare.compare(case) if (c.ours, c.metric) == (ours, metric)}
        clock = {
            c.theirs: (step, c) for step, c in compare.equal_time(case, metric) if c.ours == ours
        }
        seeds += [c.paired.difference.n for c in steps.values()]
        squares = [_square(steps.get(rival), clock.get(rival)) for rival in rivals]
        rows.append((case.name, tuple(squares)))
    return Grid(ours, metric, rivals, tuple(rows), min(seeds, default=0))


def _square(steps: Comparison | None, clock: tuple[int, Comparison] | None) -> Square:
    return Square(
        None if steps is None else mark(steps, "at equal steps"),
        None if clock is None else mark(clock[1], f"at equal wall-clock ({clock[0]:,} steps)"),
    )


def mark(c: Comparison, when: str) -> Mark:
    """A comparison as it stands in the grid."""
    about = (
        f"{c.ours} {compare.figure(c.our_mean)}, {c.theirs} {compare.figure(c.their_mean)} {when}; "
        f"paired difference {compare.spread(c.paired.difference)}: {c.paired.verdict}"
    )
    return Mark(c.paired.verdict, _change(c), about)


def _change(c: Comparison) -> str:
    """The paired difference in percent of the rival's mean, of an accuracy in points."""
    difference = c.paired.difference.mean
    if difference is None:
        return ""
    points = not compare.lower_is_better(c.metric)
    if not points and not (c.their_mean and c.their_mean > 0):
        return ""
    size = 100 * (difference if points else difference / (c.their_mean or 1.0))
    if not abs(size) < 1000:  # so much that a factor says more
        return f"× {(c.our_mean or 0.0) / (c.their_mean or 1.0):.3g}"
    digits = 0 if abs(size) >= 9.95 else 1
    return f"{size:+.{digits}f} {'points' if points else '%'}".replace("-", "−")
