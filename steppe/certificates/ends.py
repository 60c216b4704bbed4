"""The claim about several measures at the end of a run, all at once.

    Ends(a, measures)    a fraction a of tasks ends with measure 1 ≤ x₁, …, and measure m ≤ x_m

One statement about m numbers a run needs no Bonferroni correction. Of n runs, one after the other
is set aside: the one with the largest first measure, of the rest that with the largest second one,
and so on in turn, c in all. x_j is the measure j of the last that was set aside by it. The chance
that a future run has all its measures within the box is then as certain as one order statistic:

    P[share within the box ≥ a] ≥ P[Beta(n + 1 − c, c) ≥ a] = 1 − P[Bin(n, a) ≥ n + 1 − c]

with equality for continuous laws. c is the largest for which that is ≥ 1 − δ, so that n + 1 − c
is the `order_rank` of a single measure.

Proof. Order runs by (measure j, number of the run): as runs are exchangeable, so are their numbers,
and there are no ties. Given the first i that were set aside, the n − i others are independent draws
of the law within the box so far. The largest of these leaves a share V_i of that law, where
P[V_i ≤ v] = v^(n−i). So the share within the last box is V_0 V_1 ⋯ V_(c−1), independent
Beta(n − i, 1), whose product is Beta(n + 1 − c, c). A value equal to x_j is within, which adds to
the share.

Wald, "An extension of Wilks' method for setting tolerance limits", 1943; Tukey, "Nonparametric
estimation II", 1947, and III, 1948, for laws that are not continuous.
"""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from ..core.arguments import check_list, real, told
from . import bounds
from .claims import AbstractClaim, finite_or_worst, percent, round_up, settle
from .entries import MEASURES
from .runs import Metric

Measured = Float[np.ndarray, "n measures"]
Box = tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Ends(AbstractClaim):
    """The measures that a fraction `level` of tasks does not exceed, all of them, at the end.

    - `level`: in (0, 1)
    - `measures`: their names and definitions
    - `at_loss`: measured where the training loss first comes to this; None: at the end
    """

    kind = "ends"
    level: float
    measures: tuple[Metric, ...]
    at_loss: float | None = None

    def __post_init__(self):
        check_list("Measures at the end of a run", self.measures)
        found = tuple(Metric(**m) if isinstance(m, Mapping) else m for m in self.measures)
        if not all(isinstance(m, Metric) for m in found) or not 1 <= len(found) <= MEASURES:
            raise ValueError(f"Ends takes 1 to {MEASURES} metrics, got {told(self.measures)}.")
        if len({m.name for m in found}) < len(found):
            raise ValueError("Two measures of a claim have one name; give each once.")
        at_loss = None if self.at_loss is None else real("A training loss", self.at_loss)
        settle(self, level=bounds.check_level(self.level))
        object.__setattr__(self, "measures", found)
        object.__setattr__(self, "at_loss", at_loss)

    def __str__(self) -> str:
        return f"Ends({self.level:g}, {', '.join(m.name for m in self.measures)})"

    def values(self, errors: Measured) -> Measured:
        """The measures of each run, (n, m), ∞ where they are not finite."""
        return finite_or_worst(errors)

    def bound(self, values: Measured, delta: float, method: str) -> Box:
        return box(values, cuts(self.level, len(values), delta))

    def statement(self, bound: Box, metric: str, steps: int) -> str:
        pairs = list(zip(self.measures, bound, strict=True))
        known = [f"{m.name} ≤ {round_up(x)}" for m, x in pairs if x < math.inf]
        absent = [m.name for m, x in pairs if x == math.inf]
        if self.at_loss is None:
            missed = "too many runs diverged"
            how = f"end, after {steps} iterations, with "
        else:
            reached = f"a training loss ≤ {round_up(self.at_loss, 6)}"
            missed = f"too many runs did not come to {reached} within {steps} iterations"
            how = f"come to {reached} within {steps} iterations, there with "
        if not known:
            return f"nothing about where {percent(self.level)} of future tasks end: {missed}"
        rest = f" (nothing about {enumerated(absent)}: {missed})" if absent else ""
        return f"at least {percent(self.level)} of future tasks {how}{enumerated(known)}{rest}"


def cuts(level: float, n: int, delta: float) -> int:
    """Number of runs of n that may be set aside; 0 if n are too few."""
    rank = bounds.order_rank(level, n, delta)
    return 0 if rank is None else n + 1 - rank


def box(values: Measured, count: int) -> Box:
    """The x_j after `count` runs are set aside in turn; ∞ where none was by that measure."""
    orders = [np.argsort(-column, kind="stable") for column in values.T]
    there, places = np.ones(len(values), bool), [0] * len(orders)
    found = [math.inf] * len(orders)
    for i in range(count):
        j = i % len(orders)
        while not there[orders[j][places[j]]]:
            places[j] += 1
        run = orders[j][places[j]]
        there[run] = False
        found[j] = float(values[run, j])
    return tuple(found)


def enumerated(words: list[str]) -> str:
    """A list in words.

    >>> enumerated(["a"]), enumerated(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
