"""The sentences of a certificate that follow from its numbers, for its writer and its auditor."""

import re
from collections.abc import Iterable, Sequence

from .claims import percent

CAPPED = 0.01  # share of runs without a first hit above which a certificate says so
ROSE = re.compile(r"In (\d{1,9}) of \d+ runs the error rose above a tolerance again")
OTHER = re.compile(
    r"\d+ of \d+ runs diverged; they count as failures\.$"
    r"|Errors were computed in float32, which may not resolve "
    r"|In \d+ of \d+ runs the error rose above a tolerance again"
    r"|[\d.]+ % of runs did not come to "
)
SET = re.compile(r"Tasks were taken from a set of (\d{1,18}) without repetition")


def summary(statements: Iterable[str], joint_delta: float) -> str:
    """All claims in one sentence."""
    return f"With confidence {percent(1 - joint_delta)}: {'; '.join(statements)}."


def reservations(
    *,
    n: int,
    steps: int,
    diverged: int,
    returned: int,
    coarse: float | None,
    late: Sequence[tuple[float, float]],
) -> list[str]:
    """Reservations that a reader should have, a sentence each.

    - `n`, `steps`: number of runs, and of the iterations of each
    - `diverged`: runs with an error that is no number
    - `returned`: runs whose error rose above a tolerance after a first hit that is claimed
    - `coarse`: the smallest tolerance, if errors in float32 may not resolve it
    - `late`: tolerance, and share of runs that did not come to it, for each claim of iterations
    """
    found = []
    if diverged:
        found.append(f"{diverged} of {n} runs diverged; they count as failures.")
    if coarse is not None:
        found.append(f"Errors were computed in float32, which may not resolve {coarse:g}.")
    if returned:
        found.append(
            f"In {returned} of {n} runs the error rose above a tolerance again after it was "
            "reached: iterations are to the first time (semantics='stay' is for good)."
        )
    for tolerance, share in late:
        if share > CAPPED:
            found.append(
                f"{100 * share:.1f} % of runs did not come to {tolerance:g} within {steps} "
                "iterations."
            )
    return list(dict.fromkeys(found))


def taken_from_a_set(population: int) -> str:
    """The reservation about tasks that are taken from a fixed set."""
    return (
        f"Tasks were taken from a set of {population} without repetition: the statement is about "
        "that set, or about what it was drawn from."
    )


def too_coarse(dtype: str, signed: bool, tolerances: Sequence[float]) -> float | None:
    """The smallest tolerance, if it is below what errors of this precision resolve."""
    small = dtype == "float32" and not signed and any(e < 1e-5 for e in tolerances)
    return min(tolerances) if small else None
