"""Families: a table of paired comparisons, each tested, and the whole table kept honest.

    p₍₁₎ ≤ … ≤ p₍ₘ₎,   adjusted p₍ₖ₎ = max over j ≤ k of min(1, (m − j + 1) p₍ⱼ₎)

Among twenty comparisons of equal optimizers one looks significant at 5 %. Holm's adjusted p-values
are below 5 % anywhere in such a table in at most 5 % of tables, however its cells depend on
one another. Holm, "A simple sequentially rejective multiple test procedure", 1979.

Exact Wilcoxon needs seeds: with n differences p is never below 2¹⁻ⁿ, and Holm multiplies the
smallest by m. A table of m = 10 shows nothing at 5 % with fewer than nine seeds.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from .stats import (
    Interval,
    bootstrap,
    cohens_dz,
    differences,
    hedges_gz,
    interval,
    rank_biserial,
    wilcoxon,
)


@dataclasses.dataclass(frozen=True)
class Tested:
    """Ours minus theirs in one cell of a table: below zero, ours is smaller."""

    difference: Interval  # Student's t
    bootstrap: Interval  # BCa
    p: float  # Wilcoxon's
    adjusted: float  # Holm's, over the table
    d_z: float | None  # Cohen's
    g_z: float | None  # Hedges': d_z less its bias
    rank_biserial: float | None

    @property
    def n(self) -> int:
        """Pairs with both values."""
        return self.difference.n

    @property
    def missing(self) -> int:
        """Pairs without; who diverged in them is what `stats.paired` tells."""
        return self.difference.missing

    @property
    def mean(self) -> float | None:
        return self.difference.mean


def tested(
    cells: Mapping[str, tuple[Sequence[float | None], Sequence[float | None]]], *, seed: int = 0
) -> dict[str, Tested]:
    """Test (ours, theirs), one value each per seed, in every cell. `seed`: of the bootstrap.

    A cell without pairs has p = 1 and counts in the family: the comparison was planned.
    """
    found = {name: differences(ours, theirs) for name, (ours, theirs) in cells.items()}
    ps = [wilcoxon(d) for d in found.values()]
    return {
        name: Tested(
            interval(d),
            bootstrap(d, seed=seed),
            p,
            adjusted,
            cohens_dz(d),
            hedges_gz(d),
            rank_biserial(d),
        )
        for (name, d), p, adjusted in zip(found.items(), ps, holm(ps), strict=True)
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given.

    >>> holm([0.01, 0.5, 0.02])
    [0.03, 0.5, 0.04]
    """
    p = np.array(p_values, dtype=float)
    if not np.all((p >= 0) & (p <= 1)):
        raise ValueError(f"holm: p-values lie within [0, 1], got {list(p_values)}.")
    order = np.argsort(p)
    factors = np.arange(len(p), 0, -1)  # m … 1
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(np.minimum(1, factors * p[order]))
    return adjusted.tolist()
