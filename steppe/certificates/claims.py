"""Claims about future tasks, and how a sample decides each of them.

Each task gives one number, so that n independent tasks give n independent numbers:

    Success(ε, k)       0 or 1     P[error after k steps ≤ ε] ≥ 1 − p        p: bound of a share
    Holds(name, f)      0 or 1     P[f(errors)] ≥ 1 − p                      the same
    Quantile(a, k)      an error   a fraction a of tasks ends at error ≤ x   x: order statistic
    Iterations(a, ε)    a count    a fraction a of tasks needs ≤ x steps     x: order statistic
    MeanIterations(ε)   a count    on average min(steps to ε, K) ≤ x · K     x: bound of a mean

Ends, of several numbers a task, is in `ends.py`.

A claim over all k needs no union over k, since "first at or below ε" is one number a task. An error
that is NaN or infinite never counts as small.
"""

import abc
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, get_args

import numpy as np
from jaxtyping import Bool, Float

from ..core.arguments import real, told, whole
from . import bounds
from .entries import NAME, STEPS, Semantics

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
    def bound(self, values: Values, delta: float, method: str) -> Any:
        """The certified number, valid with probability 1 − δ over the sample; ∞ if there is none.

        Of `Ends` one a measure, valid together.

        - `values`: one number a task, (n,), as `values` gives them
        - `delta`: probability that the bound is wrong, in (0, 1)
        - `method`: one of `bounds.METHODS`
        """

    @abc.abstractmethod
    def statement(self, bound: Any, metric: str, steps: int) -> str:
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

    def __post_init__(self):
        settle(self, tolerance=check_tolerance(self.tolerance), k=check_step(self.k))

    def values(self, errors: Errors) -> Values:
        return (~within(errors[:, self.k], self.tolerance)).astype(np.float64)

    def bound(self, values: Values, delta: float, method: str) -> float:
        return bounds.failure_bound(int(values.sum()), len(values), delta, method)

    def statement(self, bound: float, metric: str, steps: int) -> str:
        return (
            f"at least {percent(1 - bound)} of future tasks reach {near(metric, self.tolerance)} "
            f"after {self.k} iterations"
        )


@dataclasses.dataclass(frozen=True)
class Holds(AbstractClaim):
    """A property `holds(errors)` of a run of steps + 1 errors; the bound is on the failures."""

    kind, binary = "holds", True
    name: str
    holds: Callable[[Float[np.ndarray, " steps+1"]], bool] = dataclasses.field(compare=False)

    def __post_init__(self):
        if not callable(self.holds):
            raise ValueError(f"A property is a function of the errors, got {told(self.holds)}.")
        named = isinstance(self.name, str) and self.name.isprintable()
        if not (named and 0 < len(self.name) <= NAME):
            raise ValueError(f"A property needs a name of one line, got {told(self.name)}.")

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

    def __post_init__(self):
        settle(self, level=bounds.check_level(self.level), k=check_step(self.k))

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

    def __post_init__(self):
        check_choice("semantics", self.semantics, get_args(Semantics))
        level = bounds.check_level(self.level)
        settle(self, level=level, tolerance=check_tolerance(self.tolerance))

    def values(self, errors: Errors) -> Values:
        return hitting_times(errors, self.tolerance, self.semantics)

    def bound(self, values: Values, delta: float, method: str) -> float:
        return order_statistic(values, self.level, delta)

    def statement(self, bound: float, metric: str, steps: int) -> str:
        stays = " and stay there" if self.semantics == "stay" else ""
        if bound == math.inf:
            return (
                f"nothing about when {percent(self.level)} of future tasks reach "
                f"{near(metric, self.tolerance)}: too many did not within {steps} iterations"
            )
        until = f" until iteration {steps}" if stays else ""
        return (
            f"at least {percent(self.level)} of future tasks reach {near(metric, self.tolerance)} "
            f"within {bound:.0f} iterations{stays}{until}"
        )


@dataclasses.dataclass(frozen=True)
class MeanIterations(AbstractClaim):
    """The mean number of iterations to `tolerance`, a run that never comes there counted as K."""

    kind = "mean_iterations"
    tolerance: float
    semantics: Semantics = "first_hit"

    def __post_init__(self):
        check_choice("semantics", self.semantics, get_args(Semantics))
        settle(self, tolerance=check_tolerance(self.tolerance))

    def values(self, errors: Errors) -> Values:
        steps = errors.shape[1] - 1
        return np.minimum(hitting_times(errors, self.tolerance, self.semantics), steps) / steps

    def bound(self, values: Values, delta: float, method: str) -> float:
        method = "kl" if method == "clopper_pearson" else method  # the values are not binary
        mean = min(1.0, math.fsum(values) / len(values))
        return bounds.mean_bound(mean, len(values), delta, method)

    def statement(self, bound: float, metric: str, steps: int) -> str:
        return (
            f"future tasks reach {near(metric, self.tolerance)} in {round_up(bound * steps)} "
            f"iterations on average, those that do not within {steps} counted as {steps}"
        )


def least_sample(claim: AbstractClaim, delta: float) -> int:
    """The smallest sample that can certify this claim at δ = `delta`."""
    level, measures = getattr(claim, "level", None), getattr(claim, "measures", (None,))
    return 1 if level is None else bounds.min_samples(level, delta, len(measures))


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

    100 % is never said: what is so near to 1 is rounded down as well.

    >>> percent(0.9), percent(1 - 0.0117001), percent(0.999_912_34), percent(1 - 1e-300)
    ('90 %', '98.82 %', '99.9912 %', '99.9999 %')
    """
    digits = 2 if x < 0.999 else 4
    full = 10 ** (digits + 2)
    shown = min(math.floor(x * full + 1e-6), full - 1) / 10**digits
    return f"{shown:.{digits}f}".rstrip("0").rstrip(".") + " %"


def round_up(x: float, digits: int = 4) -> str:
    """The number in so many digits, rounded up.

    >>> round_up(0.00123401), round_up(213.0), round_up(0.12345649, 6)
    ('0.001235', '213', '0.123457')
    """
    text = f"{x:.{digits}g}"
    if float(text) < x:
        unit = 10.0 ** (math.floor(math.log10(abs(x))) - (digits - 1))
        text = f"{x + unit / 2:.{digits}g}"
    return text


def near(metric: str, tolerance: float) -> str:
    """The words for an error within its tolerance."""
    return f"{metric} ≤ {round_up(tolerance, 6)}"


def settle(claim: AbstractClaim, **values: float) -> None:
    """Give fields of a frozen claim their values as plain numbers."""
    for name, value in values.items():
        object.__setattr__(claim, name, value)


def check_tolerance(tolerance: float) -> float:
    expected = "a finite number, and where errors cannot be negative a positive number"
    return real("A tolerance", tolerance, expected=expected)


def check_step(k: int) -> int:
    return whole("The iteration of a claim", k, least=0, most=STEPS)


def check_choice(what: str, given: str, known: Sequence[str]) -> None:
    if not (isinstance(given, str) and given in known):
        raise ValueError(f"{what} must be one of {', '.join(known)}, got {told(given)}.")
