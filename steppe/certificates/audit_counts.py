"""The counts of a certificate against each other: the same runs can be counted in one way only.

    counts       runs above each tolerance after 0, 1, …, K steps
    evidence     of each claim: how many runs failed, or came to each value
    diverged     runs with an error that is no number

A run that is within ε after k steps came to ε at k or before (`first_hit`), and one that stays
within ε from k on (`stay`) is within ε after k: so the two must agree, and so must claims about the
same tolerance or the same k.
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .certificate import Certificate

HITS = ("iterations", "mean_iterations")


def of_certificate(cert: Certificate) -> Iterator[str]:
    """Faults of the counts, a sentence each."""
    tolerances, rows = cert.counts["tolerances"], cert.counts["failures"]
    if tolerances != sorted({c["tolerance"] for c in cert.claims if "tolerance" in c}):
        yield "The tolerances of the counts are not those of the claims."
    if len(rows) != len(tolerances) or any(len(row) != cert.steps + 1 for row in rows):
        yield f"The counts do not have a number for each tolerance and iteration 0 to {cert.steps}."
    elif any(max(row) > cert.n for row in rows):
        yield f"More runs are counted as failed than the {cert.n} there are."
    elif np.any(np.diff(np.array(rows), axis=0) > 0):
        yield "More runs are counted above a larger tolerance than above a smaller one."
    if cert.diverged > cert.n:
        yield f"{cert.diverged} of {cert.n} runs cannot have diverged."


def of_claim(cert: Certificate, claim: Mapping[str, Any], failures: Mapping) -> Iterator[str]:
    """Faults of the evidence of one claim.

    - `failures`: the counts above each tolerance, (K + 1,)
    """
    n, evidence = cert.n, claim["evidence"]
    most = max([evidence.get("failures", 0), *evidence.get("failures_of_members", [])])
    if most > n:
        yield f"{most} failures of {n} are impossible."
    elif "values" in evidence:
        yield from _values(cert, claim)
    elif "rows" in evidence:
        yield from _rows(cert, claim)
    elif claim["type"] == "success":
        counted = int(failures[claim["tolerance"]][claim["k"]])
        member = _largest(cert.posterior)
        seen = evidence["failures"] if member is None else evidence["failures_of_members"][member]
        if seen != counted:
            yield (
                f"it is of {seen} failures, and the counts have {counted} above "
                f"{claim['tolerance']:g} after {claim['k']} iterations."
            )


def _largest(posterior: Mapping[str, Any]) -> int | None:
    """The member of a finite posterior that the counts are of."""
    return int(np.argmax(posterior["posterior"])) if "posterior" in posterior else None


def _values(cert: Certificate, claim: Mapping[str, Any]) -> Iterator[str]:
    values, kind = claim["evidence"]["values"], claim["type"]
    if sum(count for _, count in values) != cert.n:
        yield f"its values are not of {cert.n} tasks."
    order = [math.inf if x is None else x for x, _ in values]
    if any(x >= y for x, y in itertools.pairwise(order)):
        yield "its values are not in order, each once."
    finite = [x for x, _ in values if x is not None]
    if kind in HITS and any(x != int(x) or not 0 <= x <= cert.steps for x in finite):
        yield f"some of its values are no iterations from 0 to {cert.steps}."
    if kind == "mean_iterations" and len(finite) < len(values):
        yield "a run that does not come to the tolerance counts as all its iterations, not as ∞."
    if kind == "quantile" and not cert.metric["signed"] and any(x < 0 for x in finite):
        yield f"{cert.metric['name']} cannot be negative, and some of its values are."


def _rows(cert: Certificate, claim: Mapping[str, Any]) -> Iterator[str]:
    rows, measures = claim["evidence"]["rows"], claim["measures"]
    wide = len(measures)
    if len(rows) != cert.n:
        yield f"its measures are of {len(rows)} tasks, and not of {cert.n}."
    if any(len(row) != wide for row in rows) or len(claim["bound"]) != wide:
        yield f"some of its rows, or its bounds, are not of {wide} measures."
        return
    if len({m["name"] for m in measures}) < wide:
        yield "two of its measures have one name."
    for j, measure in enumerate(measures):
        if not measure["signed"] and any(row[j] is not None and row[j] < 0 for row in rows):
            yield f"{measure['name']} cannot be negative, and some of its values are."
    if sum(all(x is None for x in row) for row in rows) < cert.diverged:
        yield f"{cert.diverged} runs diverged, and fewer have no measures."


def of_all(cert: Certificate, failures: Mapping) -> Iterator[str]:
    """Faults of the evidence of several claims against each other and against the counts.

    The evidence of each must be possible by itself.
    """
    known: dict[tuple, tuple[int, Any]] = {}
    for i, claim in enumerate(cert.claims, start=1):
        if "rows" in claim["evidence"]:
            yield from _same_rows(cert, i)
        if "values" not in claim["evidence"]:
            continue
        about = tuple(claim.get(name) for name in ("type", "tolerance", "semantics", "k"))
        values = claim["evidence"]["values"]
        first, same = known.setdefault(about, (i, values))
        if first == i:
            check = _errors if claim["type"] == "quantile" else _hits
            yield from (f"Claim {i} ({claim['type']}): {s}" for s in check(cert, claim, failures))
        elif same != values:
            yield f"Claims {first} and {i} are of the same runs, and their values differ."
    for kind, tolerance, semantics, k in list(known):
        i, values = known[kind, tolerance, semantics, k]
        other, capped = known.get(("mean_iterations", tolerance, semantics, k), (0, None))
        if kind == "iterations" and other and _capped(values, cert.steps) != _pairs(capped):
            yield f"Claims {i} and {other} are of the same runs, and their values differ."
        later, stays = known.get((kind, tolerance, "stay", k), (0, None))
        if semantics == "first_hit" and later:
            before = _by_step(values, cert.steps) < _by_step(stays, cert.steps)
            if before.any():
                yield f"By claims {i} and {later}, runs stay within {tolerance:g} before they come."


def _same_rows(cert: Certificate, i: int) -> Iterator[str]:
    """The i-th claim, from 1, against the first one about measures at the ends of runs."""
    about = lambda claim: (claim["measures"], claim["at_loss"], claim["evidence"]["rows"])
    first = next(k for k, c in enumerate(cert.claims, start=1) if "rows" in c["evidence"])
    if about(cert.claims[first - 1]) != about(cert.claims[i - 1]):
        yield f"Claims {first} and {i} are of the same runs, and their measures differ."


def _errors(cert: Certificate, claim: Mapping[str, Any], failures: Mapping) -> Iterator[str]:
    """Errors after k steps, against the counts."""
    values, k = claim["evidence"]["values"], claim["k"]
    nothing = sum(count for x, count in values if x is None)
    if nothing > cert.diverged:
        yield f"{nothing} runs had no number, and only {cert.diverged} diverged."
    for tolerance, row in failures.items():
        above = sum(count for x, count in values if x is None or x > tolerance)
        if above != row[k]:
            yield (
                f"{above} of its values are above {tolerance:g}, and the counts have {row[k]} "
                f"after {k} iterations."
            )


def _hits(cert: Certificate, claim: Mapping[str, Any], failures: Mapping) -> Iterator[str]:
    """Iterations to a tolerance, against the counts."""
    tolerance, above = claim["tolerance"], failures[claim["tolerance"]]
    came, within = _by_step(claim["evidence"]["values"], cert.steps), cert.n - above
    new = np.diff(came, prepend=0)
    wrong = (came < within) if claim["semantics"] == "first_hit" else (came > within)
    wrong |= new > within  # one that comes at k is within after k
    wrong[1:] |= new[1:] > above[:-1]  # and was not before
    wrong[0] |= claim["semantics"] == "first_hit" and came[0] != within[0]
    wrong[-1] |= claim["semantics"] == "stay" and came[-1] != within[-1]
    if claim["type"] == "mean_iterations":
        wrong[-1] = False  # those that never come are among them
    if wrong.any():
        k = int(wrong.argmax())
        yield (
            f"by its values {came[k]} of {cert.n} runs came to {tolerance:g} within {k} "
            f"iterations, and the counts have {within[k]} there."
        )


def left_again(cert: Certificate, failures: Mapping) -> tuple[int, int]:
    """Least and largest number of runs that came to a tolerance and left it, by the evidence."""
    came: dict[float, np.ndarray] = {}  # by the evidence; shorter by K where K stands for never
    for claim in cert.claims:
        if claim["type"] in HITS and claim["semantics"] == "first_hit":
            tolerance, capped = claim["tolerance"], claim["type"] == "mean_iterations"
            if len(came.get(tolerance, ())) <= cert.steps:
                found = _by_step(claim["evidence"]["values"], cert.steps)
                came[tolerance] = found[: cert.steps] if capped else found
    if not came:
        return 0, 0
    gone = [run - (cert.n - failures[e][: len(run)]) for e, run in came.items()]
    least = max(int(x.max(initial=0)) for x in gone)
    certain = all(len(came.get(e, ())) > cert.steps for e in failures)
    return least, 0 if certain and not least else cert.n


def _by_step(values: Any, steps: int) -> np.ndarray:
    """Runs with a value of at most 0, 1, …, K."""
    found = np.zeros(steps + 1, np.int64)
    for x, count in values:
        if x is not None:
            found[int(x)] += count
    return np.cumsum(found)


def _capped(values: Any, steps: int) -> list[tuple[float, int]]:
    """The values with K in place of ∞."""
    found: dict[float, int] = {}
    for x, count in values:
        x = float(steps if x is None else x)
        found[x] = found.get(x, 0) + count
    return list(found.items())


def _pairs(values: Any) -> list[tuple[float, int]]:
    return [(float(x), count) for x, count in values]
