"""Expectations: inequalities about the numbers of a study, in a file that was there before them.

    [[expectation]]
    suite = "R2"
    claim = "n = 10: the swarm ends at 0.7 × PSO or lower at equal evaluations"
    of = "R2.10.swarm.best"
    at_most = 0.7
    times = "R2.10.pso.best"

`judge(read_expectations(path), {"R2.10.swarm.best": 20.3, …})` gives a verdict a line. A number
that the records lack leaves its line "not measured"; what was published and is not claimed here is
a line with `claimed = false`.
"""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal

from ..store.untrusted import Length, Line, Real, Source, checked, parse_toml, read_bytes
from .study import NOT_CLAIMED, NOT_MEASURED, Protocol, Verdict

LARGEST = 2**18  # bytes of a file

Name = Annotated[str, Length(120), Line]
Sentence = Annotated[str, Length(600, least=1), Line]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Expectation:
    """One line: that a number of the records keeps a bound.

    - `suite`: letter and number of the suite, such as "M1"
    - `claim`: what is expected, in words
    - `protocol`: whether the methods are as they were published, or with what was wrong mended
    - `claimed`: False for what was published and is not claimed here: a `reason`, and no bound
    - `of`: name of the number
    - `at_most`, `at_least`: bounds; both may be given
    - `times`, `plus`: name of a number that the bounds are factors of, or differences to
    - `reason`: why it is not claimed; or why it does not hold, written when that was found
    """

    suite: Annotated[str, Length(8, least=1), Line]
    claim: Sentence
    protocol: Protocol = "corrected"
    claimed: bool = True
    of: Name = ""
    at_most: Real | None = None
    at_least: Real | None = None
    times: Name = ""
    plus: Name = ""
    reason: Annotated[str, Length(600), Line] = ""

    def __post_init__(self):
        bound = self.at_most is not None or self.at_least is not None
        if not self.claimed:
            if bound or self.of or not self.reason:
                raise ValueError("what is not claimed has a `reason`, and neither `of` nor a bound")
        elif not self.of or not bound:
            raise ValueError("`of` and one of `at_most` and `at_least` are needed")
        if self.times and self.plus:
            raise ValueError("`times` and `plus` exclude each other")


@dataclasses.dataclass(frozen=True)
class _File:
    expectation: tuple[Expectation, ...]


def read_expectations(path: str | os.PathLike) -> tuple[Expectation, ...]:
    """The expectations of a TOML file, in order. Raises FileError, one sentence."""
    source = Source(str(path), "mend that line, or restore a copy")
    table = parse_toml(read_bytes(path, LARGEST, source), source)
    return checked(table, _File, source).expectation


def judge(
    expectations: Iterable[Expectation], quantities: Mapping[str, float | None]
) -> list[Verdict]:
    """A verdict for each expectation, in order.

    - `quantities`: numbers of the records by name; one that is missing or None was not measured.
      NaN keeps no bound, and no bound that is NaN is kept; infinity stands for what diverged
    """
    return [_judged(expected, quantities) for expected in expectations]


def _judged(expected: Expectation, quantities: Mapping[str, float | None]) -> Verdict:
    def said(holds: bool, because: str, unjudged: Literal["", "not claimed", "not measured"] = ""):
        return Verdict(
            expected.claim,
            holds,
            because,
            suite=expected.suite,
            protocol=expected.protocol,
            unjudged=unjudged,
            reason="" if unjudged or holds else expected.reason,
        )

    if not expected.claimed:
        return said(False, expected.reason, NOT_CLAIMED)
    other = expected.times or expected.plus
    needed = [expected.of, *([other] if other else [])]
    known = {name: x for name in needed if (x := quantities.get(name)) is not None}
    if missing := [name for name in needed if name not in known]:
        return said(False, f"no {' and no '.join(missing)} in the records", NOT_MEASURED)
    value = float(known[expected.of])
    kept, words = [], []
    for bound, text, sign in (
        (expected.at_least, "at least", 1),
        (expected.at_most, "at most", -1),
    ):
        if bound is not None:
            limit, how = _limit(bound, expected, known.get(other))
            kept.append(sign * (value - limit) >= 0)  # NaN keeps none
            words.append(f"{text} {how}")
    return said(all(kept), f"{value:.3g}, {' and '.join(words)}")


def _limit(bound: float, expected: Expectation, other: float | None) -> tuple[float, str]:
    """The bound as a number, and in words."""
    if other is None:
        return bound, f"{bound:g}"
    limit = bound * other if expected.times else other + bound
    sum_of = f"{other:.3g} {'−' if bound < 0 else '+'} {abs(bound):g}"
    return limit, f"{limit:.3g} = {f'{bound:g} × {other:.3g}' if expected.times else sum_of}"


def missing(expectations: Iterable[Expectation], names: Iterable[str]) -> list[str]:
    """Names of numbers that expectations need and `names` lacks: of a smaller scale, or a slip."""
    known = set(names)
    needed = (n for e in expectations for n in (e.of, e.times, e.plus) if n and n not in known)
    return list(dict.fromkeys(needed))


def tally(verdicts: Sequence[Verdict]) -> tuple[int, int]:
    """Count of the claimed expectations that hold, and of those that were measured."""
    judged = [v for v in verdicts if v.expected and not v.unjudged]
    return sum(v.holds for v in judged), len(judged)
