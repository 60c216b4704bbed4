"""Claims about future tasks, and how a sample decides each of them.

Each task gives one number, so that n independent tasks give n independent numbers:

    Success(ε, k)       0 or 1     P[error after k steps ≤ ε] ≥ 1 − p        p: bound of a share
    Holds(name, f)      0 or 1     P[f(errors)] ≥ 1 − p                      the same
    Quantile(a, k)      an error   a fraction a of tasks ends at error ≤ x   x: order statistic
    Iterations(a, ε)    a count    a fraction a of tasks needs ≤ x steps     x: order statistic
    MeanIterations(ε)   a count    on average min(steps to ε, K) ≤ x · K     x: bound of a mean

A claim over all k needs no union over k, since "first at or below ε" is one number a task. An error
that is NaN or infinite never counts as small.

The claims and the share of δ that each gets are settled before anything runs (`plan`):

    grid        each of the C claims at δ/C: all hold together with confidence 1 − δ
    pointwise   each at δ: only one of them, picked beforehand, has confidence 1 − δ
    uniform     claims of success after the same k share one band over all tolerances

Of `candidates` optimizers tried on the same tasks, each gets δ/candidates. Stage j = 1, 2, … of a
sequential plan gets 6δ/(π²j²), whose sum over all j is δ, and n·2^(j−1) tasks: so one may look, and
go on.
"""

import abc
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from . import bounds

Semantics = Literal["first_hit", "stay"]
Simultaneous = Literal["grid", "pointwise", "uniform"]
SIMULTANEOUS = ("grid", "pointwise", "uniform")
Errors = Float[np.ndarray, "n steps+1"]
Values = Float[np.ndarray, " n"]


class AbstractClaim(abc.ABC):
    """One statement about future tasks: a frozen dataclass of its numbers."""

    kind: str  # its type in the file of a certificate
    binary: bool = False  # its values are 0 (as claimed) or 1

    @abc.abstractmethod
    def values(self, errors: Errors) -> Values:
        """One number a task, from its errors after 0, 1, …, K steps."""

    @abc.abstractmethod
    def bound(self, values: Values, delta: float, method: str) -> float:
        """The certified number, valid with probability 1 − δ over the sample; ∞ if there is none.

        - `values`: one number a task, (n,), as `values` gives them
        - `delta`: probability that the bound is wrong, in (0, 1)
        - `method`: one of `bounds.METHODS`
        """

    @abc.abstractmethod
    def statement(self, bound: float, metric: str, steps: int) -> str:
        """The claim in English, without its confidence.

        - `bound`: the certified number, as `bound` gives it
        - `metric`: name of the error
        - `steps`: length of the runs, K
        """


@dataclasses.dataclass(frozen=True)
class Success(AbstractClaim):
    """The error after `k` steps is at most `tolerance`; the bound is on the share of failures."""

    kind, binary = "success", True
    tolerance: float
    k: int

    def values(self, errors: Errors) -> Values:
        return (~within(errors[:, self.k], self.tolerance)).astype(np.float64)

    def bound(self, values: Values, delta: float, method: str) -> float:
        return bounds.failure_bound(int(values.sum()), len(values), delta, method)

    def statement(self, bound: float, metric: str, steps: int) -> str:
        return (
            f"at least {percent(1 - bound)} of future tasks reach {metric} ≤ {self.tolerance:g} "
            f"after {self.k} iterations"
        )


@dataclasses.dataclass(frozen=True)
class Holds(AbstractClaim):
    """A property `holds(errors)` of a run of steps + 1 errors; the bound is on the failures."""

    kind, binary = "holds", True
    name: str
    holds: Callable[[Float[np.ndarray, " steps+1"]], bool] = dataclasses.field(compare=False)

    def values(self, errors: Errors) -> Values:
        return np.array([not bool(self.holds(row)) for row in errors], np.float64)

    def bound(self, values: Values, delta: float, method: str) -> float:
        return bounds.failure_bound(int(values.sum()), len(values), delta, method)

    def statement(self, bound: float, metric: str, steps: int) -> str:
        return f"for at least {percent(1 - bound)} of future tasks, {self.name}"


@dataclasses.dataclass(frozen=True)
class Quantile(AbstractClaim):
    """The error that a fraction `level` of tasks does not exceed after `k` steps."""

    kind = "quantile"
    level: float
    k: int

    def values(self, errors: Errors) -> Values:
        return finite_or_worst(errors[:, self.k])

    def bound(self, values: Values, delta: float, method: str) -> float:
        return order_statistic(values, self.level, delta)

    def statement(self, bound: float, metric: str, steps: int) -> str:
        if bound == math.inf:
            return f"nothing about the {percent(self.level)} quantile: too many runs diverged"
        return (
            f"at least {percent(self.level)} of future tasks reach {metric} ≤ {round_up(bound)} "
            f"after {self.k} iterations"
        )


@dataclasses.dataclass(frozen=True)
class Iterations(AbstractClaim):
    """The iterations within which a fraction `level` of tasks comes to `tolerance`.

    "first_hit" counts to the first error so small; "stay" to the one after which all are, until the
    end of the run. They differ if errors are not monotone.
    """

    kind = "iterations"
    level: float
    tolerance: float
    semantics: Semantics = "first_hit"

    def values(self, errors: Errors) -> Values:
        return hitting_times(errors, self.tolerance, self.semantics)

    def bound(self, values: Values, delta: float, method: str) -> float:
        return order_statistic(values, self.level, delta)

    def statement(self, bound: float, metric: str, steps: int) -> str:
        stays = " and stay there" if self.semantics == "stay" else ""
        if bound == math.inf:
            return (
                f"nothing about when {percent(self.level)} of future tasks reach {metric} ≤ "
                f"{self.tolerance:g}: too many did not within {steps} iterations"
            )
        until = f" until iteration {steps}" if stays else ""
        return (
            f"at least {percent(self.level)} of future tasks reach {metric} ≤ {self.tolerance:g} "
            f"within {bound:.0f} iterations{stays}{until}"
        )


@dataclasses.dataclass(frozen=True)
class MeanIterations(AbstractClaim):
    """The mean number of iterations to `tolerance`, a run that never comes there counted as K."""

    kind = "mean_iterations"
    tolerance: float
    semantics: Semantics = "first_hit"

    def values(self, errors: Errors) -> Values:
        steps = errors.shape[1] - 1
        return np.minimum(hitting_times(errors, self.tolerance, self.semantics), steps) / steps

    def bound(self, values: Values, delta: float, method: str) -> float:
        method = "kl" if method == "clopper_pearson" else method  # the values are not binary
        mean = min(1.0, math.fsum(values) / len(values))
        return bounds.mean_bound(mean, len(values), delta, method)

    def statement(self, bound: float, metric: str, steps: int) -> str:
        return (
            f"future tasks reach {metric} ≤ {self.tolerance:g} in {round_up(bound * steps)} "
            f"iterations on average, those that do not within {steps} counted as {steps}"
        )


KINDS: dict[str, type[AbstractClaim]] = {
    claim.kind: claim for claim in (Success, Holds, Quantile, Iterations, MeanIterations)
}


def least_sample(claim: AbstractClaim, delta: float) -> int:
    """The smallest sample that can certify this claim at δ = `delta`."""
    level = getattr(claim, "level", None)
    return 1 if level is None else bounds.min_samples(level, delta)


def tolerance_of(claim: AbstractClaim) -> float | None:
    """The tolerance of a claim, or None if it has none."""
    return getattr(claim, "tolerance", None)


def within(errors: Float[np.ndarray, "..."], tolerance: float) -> Bool[np.ndarray, "..."]:
    """error ≤ tolerance; NaN and −∞ are not."""
    return np.isfinite(errors) & (errors <= tolerance)


def hitting_times(errors: Errors, tolerance: float, semantics: Semantics) -> Values:
    """The first k with error ≤ tolerance (for good with "stay"), one a run; ∞ if there is none.

    - `errors`: (n, K + 1), after 0, 1, …, K steps
    - `tolerance`: in the unit of the errors
    - `semantics`: "first_hit" or "stay"
    """
    small = within(errors, tolerance)
    if semantics == "first_hit":
        return np.where(small.any(axis=1), small.argmax(axis=1), np.inf)
    last = small.shape[1] - 1 - (~small)[:, ::-1].argmax(axis=1)  # the last that is not small
    stays = np.where(small.all(axis=1), 0, last + 1)
    return np.where(stays < small.shape[1], stays, np.inf)


def finite_or_worst(errors: Float[np.ndarray, " n"]) -> Values:
    """The errors, with ∞ in place of those that are not finite."""
    return np.where(np.isfinite(errors), errors, np.inf).astype(np.float64)


def order_statistic(values: Values, level: float, delta: float) -> float:
    """The sample value that bounds the `level`-quantile; ∞ if the sample is too small for any."""
    rank = bounds.order_rank(level, len(values), delta)
    return math.inf if rank is None else float(np.sort(values)[rank - 1])


def percent(x: float) -> str:
    """A fraction in percent, rounded down: two digits behind the point, four above 99.9 %.

    >>> percent(0.9), percent(1 - 0.0117001), percent(0.999_912_34)
    ('90 %', '98.82 %', '99.9912 %')
    """
    digits = 2 if x < 0.999 else 4
    shown = math.floor(x * 10 ** (digits + 2) + 1e-6) / 10**digits
    return f"{shown:.{digits}f}".rstrip("0").rstrip(".") + " %"


def round_up(x: float) -> str:
    """Four digits, rounded up.

    >>> round_up(0.00123401), round_up(213.0)
    ('0.001235', '213')
    """
    text = f"{x:.4g}"
    if float(text) < x:
        unit = 10.0 ** (math.floor(math.log10(abs(x))) - 3)
        text = f"{x + unit / 2:.4g}"
    return text


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
    groups = delta_groups(claims, simultaneous)
    share = delta if simultaneous == "pointwise" else delta / len(groups)
    joint = delta * len(groups) if simultaneous == "pointwise" else delta
    if joint >= 1:
        raise ValueError(
            f"{len(groups)} pointwise claims at delta {delta:g} say nothing together (joint delta "
            f"{joint:g}, must be below 1); lower delta, or share it with simultaneous='grid'."
        )
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
    check_choice("semantics", semantics, ("first_hit", "stay"))
    at = tuple(at) or (steps,)
    claims: list[AbstractClaim] = [Success(float(e), int(k)) for k in at for e in tolerances]
    if tolerances:
        claims += [Iterations(float(a), float(e), semantics) for e in tolerances for a in levels]
    else:
        claims += [Quantile(float(a), int(k)) for k in at for a in levels]
    return claims


def check_claims(claims: Sequence[AbstractClaim], steps: int, signed: bool) -> None:
    """Refuse claims about tolerances or iterations that no run of `steps` steps can decide."""
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


def delta_groups(claims: Sequence[AbstractClaim], simultaneous: str) -> list[object]:
    """The units that share δ: claims, or all claims of success after the same k as one."""
    if simultaneous != "uniform":
        return list(claims)
    return list(dict.fromkeys(c.k if isinstance(c, Success) else c for c in claims))


def check_choice(what: str, given: str, known: Sequence[str]) -> None:
    if given not in known:
        raise ValueError(f"{what} must be one of {', '.join(known)}, got {given!r}.")
