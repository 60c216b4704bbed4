"""How much of an arm's effect goes through the weights' size, and how much through curvature.

    y(s) = c + b₁ x₁(s) + b₂ x₂(s) + e(s)      differences of an arm less another, by meta-seed s
    total   mean y = c + b₁ mean x₁ + b₂ mean x₂
    direct  c, what is left where the mediators x do not differ
    through a mediator   bₖ mean xₖ

Least squares on the differences of pairs: Judd, Kenny & McClelland, "Estimating and testing
mediation and moderation in within-subject designs", Psychological Methods 2001. Intervals are those
of a bootstrap over meta-seeds, 2.5 and 97.5 %. It is an estimate of how differences go together; it
shows no cause, since nothing but the arm was set by us.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

DRAWS = 2000
FEWEST = 6  # pairs under which nothing is estimated


class Part(NamedTuple):
    """A part of the effect, with its 95 % interval."""

    value: float
    low: float
    high: float


def mediation(
    effect: Sequence[float | None], mediators: Mapping[str, Sequence[float | None]]
) -> dict[str, Part]:
    """ "total", "direct", and the part through each mediator; {} of too few pairs.

    - `effect`, `mediators`: differences by meta-seed; a seed that lacks one is left out
    """
    columns = np.array(
        [[np.nan if x is None else x for x in row] for row in (effect, *mediators.values())], float
    )
    rows = columns[:, np.isfinite(columns).all(axis=0)].T  # (seeds, 1 + mediators)
    if len(rows) < FEWEST:
        return {}
    rng = np.random.default_rng(0)
    drawn = [split(rows[rng.integers(len(rows), size=len(rows))]) for _ in range(DRAWS)]
    low, high = np.quantile(np.array(drawn), [0.025, 0.975], axis=0)
    names = ("total", "direct", *mediators)
    found = zip(names, split(rows), low, high, strict=True)
    return {name: Part(float(x), float(a), float(b)) for name, x, a, b in found}


def split(rows: np.ndarray) -> list[float]:
    """Total, direct and the part through each mediator, of (seeds, 1 + mediators)."""
    y, x = rows[:, 0], rows[:, 1:]
    centre = x.mean(axis=0)
    slopes = np.linalg.lstsq(x - centre, y - y.mean(), rcond=None)[0]
    through = slopes * centre
    return [float(y.mean()), float(y.mean() - through.sum()), *map(float, through)]
