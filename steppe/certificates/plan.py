"""What will be claimed, and with which share of δ: settled before anything runs.

    grid        each of the C claims at δ/C: all hold together with confidence 1 − δ
    pointwise   each at δ: only one of them, picked beforehand, has confidence 1 − δ
    uniform     claims of success after the same k share one band over all tolerances

Of `candidates` optimizers tried on the same tasks, each gets δ/candidates. Stage j = 1, 2, … of a
sequential plan gets 6δ/(π²j²), whose sum over all j is δ, and n·2^(j−1) tasks: so one may look, and
go on.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from . import bounds
from .claims import AbstractClaim, Iterations, Quantile, Semantics, Success, needs

Simultaneous = Literal["grid", "pointwise", "uniform"]
SIMULTANEOUS = ("grid", "pointwise", "uniform")


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
    """Share δ over the claims. Raises ValueError where a claim cannot be certified with n tasks."""
    bounds.check_delta(delta)
    check_choice("method", method, bounds.METHODS)
    check_choice("simultaneous", simultaneous, SIMULTANEOUS)
    for what, number in (("n", n), ("candidates", candidates), ("stage", stage)):
        if number is not None and (not isinstance(number, int) or number < 1):
            raise ValueError(f"{what} must be a whole number of at least 1, got {number!r}.")
    if not claims:
        raise ValueError(
            "There is nothing to certify; give tolerances, levels, or a list of claims."
        )
    if len(set(claims)) < len(claims):
        raise ValueError("Two claims are the same; give each once.")
    delta /= candidates
    if stage is not None:
        delta *= 6 / (math.pi * stage) ** 2
        n *= 2 ** (stage - 1)
    groups = grouped(claims, simultaneous)
    share = delta if simultaneous == "pointwise" else delta / len(groups)
    joint = delta * len(groups) if simultaneous == "pointwise" else delta
    if joint >= 1:
        raise ValueError(
            f"{len(groups)} pointwise claims at delta {delta:g} say nothing together (joint delta "
            f"{joint:g}, must be below 1); lower delta, or share it with simultaneous='grid'."
        )
    items = []
    for claim in claims:
        if (least := needs(claim, share)) > n:
            raise ValueError(
                f"{claim} at delta {share:g} cannot be certified with {n} tasks whatever comes "
                f"out; take n of at least {least}, or a larger delta."
            )
        band = simultaneous == "uniform" and isinstance(claim, Success)
        items.append(Item(claim, share, "dkw" if band else method))
    return Plan(tuple(items), joint, n)


def standard(
    steps: int,
    tolerances: Sequence[float],
    levels: Sequence[float],
    at: Sequence[int],
    semantics: Semantics,
) -> list[AbstractClaim]:
    """What is usually wanted: success at each k in `at` for each tolerance, and for each level the
    iterations to each tolerance, or without tolerances the error after k."""
    check_choice("semantics", semantics, ("first_hit", "stay"))
    at = tuple(at) or (steps,)
    claims: list[AbstractClaim] = [Success(float(e), int(k)) for k in at for e in tolerances]
    if tolerances:
        claims += [Iterations(float(a), float(e), semantics) for e in tolerances for a in levels]
    else:
        claims += [Quantile(float(a), int(k)) for k in at for a in levels]
    return claims


def check_claims(claims: Sequence[AbstractClaim], steps: int, signed: bool) -> None:
    """Numbers that no run can speak to."""
    for claim in claims:
        tolerance, k = getattr(claim, "tolerance", None), getattr(claim, "k", None)
        if tolerance is not None and not (np.isfinite(tolerance) and (signed or tolerance > 0)):
            word = "finite" if signed else "positive"
            raise ValueError(f"A tolerance must be a {word} number, got {tolerance:g}.")
        if k is not None and not 0 <= k <= steps:
            raise ValueError(
                f"A claim about iteration {k} needs a run that goes there: of 0 to {steps} "
                "iterations, got that; raise steps."
            )


def grouped(claims: Sequence[AbstractClaim], simultaneous: str) -> list[object]:
    """What shares of δ go to: claims, or all claims of success after the same k as one."""
    if simultaneous != "uniform":
        return list(claims)
    return list(dict.fromkeys(c.k if isinstance(c, Success) else c for c in claims))


def check_choice(what: str, given: str, known: Sequence[str]) -> None:
    if given not in known:
        raise ValueError(f"{what} must be one of {', '.join(known)}, got {given!r}.")
