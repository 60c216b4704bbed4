"""The plan of a certificate: its claims, the share of δ that each gets, and the number of tasks.

All of it is settled before anything runs:

    grid        each of the C claims at δ/C: all hold together with confidence 1 − δ
    pointwise   each at δ: only one of them, picked beforehand, has confidence 1 − δ
    uniform     claims of success after the same k share one band over all tolerances

Of `candidates` optimizers tried on the same tasks, each gets δ/candidates. Stage j = 1, 2, … of a
sequential plan gets 6δ/(π²j²), whose sum over all j is δ, and n·2^(j−1) tasks: so one may look, and
go on.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar, get_args

from ..core.arguments import check_list, told, whole
from . import bounds
from .claims import (
    AbstractClaim,
    Iterations,
    MeanIterations,
    Quantile,
    Success,
    check_choice,
    least_sample,
    tolerance_of,
)
from .ends import Ends
from .entries import (
    CANDIDATES,
    CLAIMS,
    SEEDS,
    STAGES,
    STEPS,
    TASKS,
    VALUES,
    Semantics,
    Simultaneous,
)

T = TypeVar("T")
BANDS = ("hoeffding", "dkw")  # bounds for δ ≤ 1/2
LEAST_DELTA = 1e-307  # smaller numbers lose digits


@dataclasses.dataclass(frozen=True)
class Item:
    """A claim, its share of δ, and the bound that decides it."""

    claim: AbstractClaim
    delta: float
    method: str


@dataclasses.dataclass(frozen=True)
class Plan:
    items: tuple[Item, ...]
    joint_delta: float
    n: int


def plan(
    claims: Sequence[AbstractClaim],
    *,
    delta: float,
    n: int,
    method: str = "clopper_pearson",
    simultaneous: Simultaneous = "grid",
    candidates: int = 1,
    stage: int | None = None,
) -> Plan:
    """Share δ over the claims.

    - `delta`: probability that any claim is wrong, in (0, 1)
    - `n`: number of tasks, ≥ 1
    - `method`: bound for claims that a task meets or not, one of `bounds.METHODS`
    - `simultaneous`: "grid", "pointwise" or "uniform", see above
    - `candidates`: number of optimizers tried on the same tasks, ≥ 1
    - `stage`: number of this look in a sequential plan, 1, 2, …; None for a single look

    Raises ValueError if a claim cannot be certified with n tasks whatever comes out.
    """
    delta = bounds.check_delta(delta)
    check_choice("method", method, bounds.METHODS)
    check_choice("simultaneous", simultaneous, get_args(Simultaneous))
    n = whole("n", n, least=1, most=TASKS)
    candidates = whole("candidates", candidates, least=1, most=CANDIDATES)
    check_number_of_claims(claims)
    delta /= candidates
    if stage is not None:
        stage = whole("stage", stage, least=1, most=STAGES)
        delta *= 6 / (math.pi * stage) ** 2
        n *= 2 ** (stage - 1)
        if n > TASKS:
            raise ValueError(f"Stage {stage} takes {n} tasks, more than {TASKS}; lower n.")
    groups = delta_groups(claims, simultaneous)
    share = delta if simultaneous == "pointwise" else delta / len(groups)
    joint = delta * len(groups) if simultaneous == "pointwise" else delta
    if joint >= 1:
        raise ValueError(
            f"{len(groups)} pointwise claims at delta {delta:g} say nothing together (joint delta "
            f"{joint:g}, must be below 1); lower delta, or share it with simultaneous='grid'."
        )
    check_share(share, [method] + ["dkw"] * (simultaneous == "uniform"))
    items = []
    for claim in claims:
        if (least := least_sample(claim, share)) > n:
            raise ValueError(
                f"{claim} at delta {share:g} cannot be certified with {n} tasks whatever comes "
                f"out; take n of at least {least}, or a larger delta."
            )
        band = simultaneous == "uniform" and isinstance(claim, Success)
        items.append(Item(claim, share, "dkw" if band else method))
    return Plan(tuple(items), joint, n)


def standard_claims(
    steps: int,
    tolerances: Sequence[float],
    levels: Sequence[float],
    at: Sequence[int],
    semantics: Semantics,
) -> list[AbstractClaim]:
    """The usual claims for these tolerances and levels.

    Success at each k for each tolerance; for each level the iterations to each tolerance, or
    without tolerances the error after each k.

    - `steps`: length of a run, K
    - `tolerances`: in the unit of the errors
    - `levels`: fractions of tasks, in (0, 1)
    - `at`: the k, in 0 … K; () for K alone
    - `semantics`: "first_hit" or "stay", see `Iterations`
    """
    check_choice("semantics", semantics, get_args(Semantics))
    tolerances, levels = several("tolerances", tolerances), several("levels", levels)
    at = several("at", at) or (steps,)
    count = len(at) * (len(tolerances) or len(levels)) + len(tolerances) * len(levels)
    if count > CLAIMS:
        raise ValueError(f"A certificate has at most {CLAIMS} claims, these would be {count}.")
    claims: list[AbstractClaim] = [Success(e, k) for k in at for e in tolerances]
    if tolerances:
        claims += [Iterations(a, e, semantics) for e in tolerances for a in levels]
    else:
        claims += [Quantile(a, k) for k in at for a in levels]
    return claims


def several(what: str, given: Iterable[T]) -> tuple[T, ...]:
    """The numbers of a list, an array, or anything else with several."""
    check_list(what, given)
    found = tuple(itertools.islice(given, CLAIMS + 1))
    if len(found) > CLAIMS:
        raise ValueError(f"{what} are at most {CLAIMS}, as a certificate has no more claims.")
    return found


def check_settings(
    *, steps: int, seed: int, batch: int, repeats: bool, say: Callable[[str], None]
) -> None:
    """Refuse arguments of `certify` that are none, before anything runs."""
    whole("steps", steps, least=1, most=STEPS)
    whole("seed", seed, least=0, most=SEEDS - 1)
    whole("batch", batch, least=1, most=TASKS)
    if not isinstance(repeats, bool):
        raise ValueError(f"repeats must be True or False, got {told(repeats)}.")
    if not callable(say):
        raise ValueError(f"say must be a function of a text, got {told(say)}.")


def check_number_of_claims(claims: Sequence[AbstractClaim]) -> None:
    """Refuse what is no claim, no claims, two that are the same, and more than a file may have."""
    for claim in claims:
        if not isinstance(claim, AbstractClaim):
            raise ValueError(f"A claim is Success(…), Iterations(…) and so on, got {told(claim)}.")
    if not claims:
        raise ValueError(
            "There is nothing to certify; give tolerances, levels, or a list of claims."
        )
    if len(claims) > CLAIMS:
        raise ValueError(f"A certificate has at most {CLAIMS} claims, got {len(claims)}.")
    if len(set(claims)) < len(claims):
        raise ValueError("Two claims are the same; give each once.")


def check_share(share: float, methods: Sequence[str]) -> None:
    """Refuse a share of δ that no double-precision bound, or none of these, can be had for."""
    if share < LEAST_DELTA:
        raise ValueError(
            f"Each claim would get delta {share:g}, too little to compute with; take a larger "
            "delta, or fewer claims."
        )
    if share > 0.5 and (bands := [method for method in methods if method in BANDS]):
        raise ValueError(
            f"The bound {bands[0]!r} needs delta ≤ 0.5 for each claim, which would get {share:g}; "
            "lower delta, or use clopper_pearson."
        )


def check_claims(claims: Sequence[AbstractClaim], steps: int, signed: bool) -> None:
    """Refuse claims about tolerances or iterations that no run of `steps` steps can decide."""
    check_number_of_claims(claims)
    for claim in claims:
        tolerance, k = tolerance_of(claim), getattr(claim, "k", None)
        if tolerance is not None and not signed and tolerance <= 0:
            raise ValueError(f"A tolerance must be a positive number, got {tolerance:g}.")
        if k is not None and not 0 <= k <= steps:
            raise ValueError(
                f"A claim about iteration {k} needs a run that goes there: of 0 to {steps} "
                "iterations, got that; raise steps."
            )


def check_size(claims: Sequence[AbstractClaim], n: int, steps: int) -> None:
    """Refuse a certificate whose file would be larger than one may be."""
    tolerances = {e for claim in claims if (e := tolerance_of(claim)) is not None}
    most = len(tolerances) * (steps + 2) + 20 * len(claims) + 500
    for claim in claims:
        if isinstance(claim, Quantile):
            most += 3 * n
        elif isinstance(claim, Ends):
            most += (2 + len(claim.measures)) * n
        elif isinstance(claim, Iterations | MeanIterations):
            most += 3 * min(n, steps + 2)
    if most > VALUES:
        raise ValueError(
            f"The file of this certificate could come to {most:,} numbers, more than {VALUES:,}; "
            "take fewer tasks, iterations, tolerances or levels."
        )


def delta_groups(claims: Sequence[AbstractClaim], simultaneous: str) -> list[object]:
    """The units that share δ: claims, or all claims of success after the same k as one."""
    if simultaneous != "uniform":
        return list(claims)
    return list(dict.fromkeys(c.k if isinstance(c, Success) else c for c in claims))
