"""The arguments of a search for a solver, and what is known of the family before it: checked."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, get_args

import equinox as eqx
import jax.random as jr
import numpy as np

from ..certificates.plan import plan, several, standard_claims
from ..core.arguments import expect_kind, real, told, whole
from ..core.loss import Composite
from ..core.messages import LARGEST, at_least
from ..core.task import AbstractTask
from ..core.types import Key, Scalar
from .candidates import Candidate
from .family import Error, Family, WithMinimum
from .record import By, Goal

FAMILY = 'a task, such as steppe.tasks.build("sparse-recovery")'
TOLERANCES = {"objective": (1e-3, 1e-6), "recovery": (-10.0, -20.0, -40.0)}
LAYERS = 16  # of an unrolled network as published: recovery is certified after so many, too


@dataclasses.dataclass(frozen=True)
class Settings:
    """The arguments of `learn_solver`, checked."""

    goal: Goal
    budget: float | None
    tries: int | None
    tolerances: tuple[float, ...]
    by: By
    steps: int | None
    problems: int
    n: int
    delta: float
    levels: tuple[float, ...]
    candidates: tuple[Candidate, ...]
    seed: int

    @property
    def error(self) -> Error:
        return "gap" if self.goal == "objective" else "nmse"

    def claims(self, steps: int) -> dict[str, Any]:
        """Arguments of `certify`: what is claimed of runs of so many iterations."""
        if self.goal == "objective":
            return {"tolerances": self.tolerances, "levels": self.levels, "at": (steps,)}
        return {"tolerances": (), "levels": self.levels, "at": sorted({min(LAYERS, steps), steps})}


def settled(
    *,
    goal: str,
    budget: float | None,
    tries: int | None,
    tolerances: Sequence[float] | None,
    by: str | None,
    steps: int | None,
    problems: int,
    n: int,
    delta: float,
    levels: Sequence[float],
    candidates: Sequence[Candidate],
    seed: int,
) -> Settings:
    """The settings, or ValueError with what is wrong with them."""
    me = "learn_solver"
    if goal not in get_args(Goal):
        raise ValueError(f"{me}: goal must be 'objective' or 'recovery', got {told(goal)}.")
    if (budget is None) == (tries is None):
        raise ValueError(f"{me}: give a budget in seconds or a number of tries, one of the two.")
    if budget is not None and not real(f"{me}: budget", budget) > 0:
        raise ValueError(f"{me}: budget must be positive, in seconds, got {told(budget)}.")
    at_least(1, me, tries=tries, steps=steps, problems=problems)
    by = by or ("batch" if tries is None else "iterations")
    if by not in get_args(By):
        raise ValueError(f"{me}: by must be batch, alone or iterations, got {told(by)}.")
    candidates = several(f"{me}: candidates", candidates)
    for candidate in candidates:
        if not isinstance(candidate, Candidate):
            raise ValueError(f"{me}: candidates must be of `Candidate`, got {told(candidate)}.")
    if all(candidate.train for candidate in candidates):
        raise ValueError(f"{me}: candidates must have one made by hand to fall back on; add ISTA.")
    found = Settings(
        goal=goal,  # pyright: ignore[reportArgumentType]  looked at above
        budget=None if budget is None else float(budget),
        tries=tries,
        tolerances=_tolerances(goal, tolerances),
        by=by,  # pyright: ignore[reportArgumentType]  likewise
        steps=steps,
        problems=problems,
        n=n,
        delta=delta,
        levels=several(f"{me}: levels", levels),
        candidates=candidates,
        seed=whole(f"{me}: seed", seed, least=0, most=LARGEST),
    )
    claims = found.claims(steps or 1)
    wanted = standard_claims(
        steps or 1, claims["tolerances"], claims["levels"], claims["at"], "first_hit"
    )
    plan(wanted, delta=delta, n=n)
    return found


def _tolerances(goal: str, given: Sequence[float] | None) -> tuple[float, ...]:
    if given is None:
        return TOLERANCES[goal]
    what = "learn_solver: tolerances"
    found = tuple(real(what, tolerance) for tolerance in several(what, given))
    if not found or list(found) != sorted(set(found), reverse=True):
        raise ValueError(f"{what} must go from easy to hard, got {told(given)}.")
    if goal == "objective" and found[-1] <= 0:
        raise ValueError(f"{what} must be positive, got {told(given)}.")
    return found


def recognised(task: AbstractTask, error: Error) -> Family:
    """The family of a task; TypeError or ValueError if no solver can be learned for it."""
    expect_kind("learn_solver: family", task, AbstractTask, FAMILY)
    me, family = type(task).__name__, WithMinimum(task)
    (loss, value), (other, _) = (_first(family, jr.key(seed)) for seed in range(2))
    lipschitz = float(loss.lipschitz)
    if not (math.isfinite(lipschitz) and lipschitz > 0):
        raise ValueError(
            f"learn_solver: the constant L of a problem of {me} is {lipschitz}; it must be "
            "positive and finite, an upper bound of the curvature of the smooth part."
        )
    if not math.isfinite(float(value)):
        raise ValueError(
            f"learn_solver: the loss of a problem of {me} is not finite where it starts; check "
            "the data."
        )
    A, its = (getattr(x.smooth, "A", None) for x in (loss, other))
    shared = A is not None and its is not None and np.array_equal(A, its)
    if error == "nmse" and loss.truth is None:
        raise ValueError(
            f"learn_solver: the losses of {me} do not tell the vector that the data were made "
            "from, so that recovery cannot be measured; take the goal 'objective', or give "
            "Composite(…, truth=…)."
        )
    return Family(family, error, loss, shared)


@eqx.filter_jit
def _first(family: WithMinimum, key: Key) -> tuple[Composite, Scalar]:
    """The loss of a problem, and its value at the start."""
    instance = family.task.sample(key)
    loss = family.composite(instance)
    return loss, loss(family.task.init(instance, key))
