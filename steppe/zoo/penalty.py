"""The flatness that a recipe adds to the objective of meta-training: weight · R along the unroll.

Plain data, standard library only; `assemble.py` makes the `Regularized` of it.
"""

import dataclasses
from typing import Literal

from ..core.settings import check, setting
from ..flatness.names import MEASURES


@dataclasses.dataclass(frozen=True, kw_only=True)
class Penalty:
    """A measure R of flatness added to the objective, as weight · R (`steppe.Regularized`)."""

    kind: str = setting(
        "none",
        "measure of flatness added to the objective, see `steppe list measures`; none: nothing is "
        "computed",
        choices=("none", *MEASURES),
    )
    weight: float | None = setting(
        None, "weight of the measure, to be given with its kind; 0: it is measured and no more"
    )
    where: Literal["end", "steps"] = setting(
        "end",
        "points measured: after the last step of each unroll, or after its steps",
    )
    every: int = setting(1, "measure every so many steps, with `penalty.where steps`", least=1)
    normalise: Literal["none", "initial", "log", "log1p"] = setting(
        "none",
        "form of the measure: R itself, R over its value at the start of the episode, ln R, or "
        "ln(1 + R/ρ)",
    )
    reference: float = setting(
        1.0,
        "ρ, the R below which flatter is hardly better, with `penalty.normalise log1p`",
        above=0,
    )
    units: Literal["absolute", "length", "weights", "layers"] = setting(
        "absolute",
        "units of the measure: as it is, times the squared length of the weights, or of the loss "
        "as a function of relative changes of the weights, each by itself or each tensor as a "
        "whole (`steppe.flatness.units`)",
    )
    active: Literal["always", "last", "first"] = setting(
        "always",
        "part of the episode that is measured: all of it, its last or its first steps",
    )
    fraction: float = setting(
        0.5,
        "share of the episode's steps that is measured, with `penalty.active first` or last",
        above=0,
        most=1,
    )
    gamma: float = setting(
        1.0,
        "curvature that counts as flat (log-det, entropy); 1/variance of the window (smoothed)",
        above=0,
    )
    temperature: float | None = setting(
        None,
        "temperature of the entropy, in units of the loss; 1 over the number of training examples "
        "where nothing is said",
        least=0,
    )
    probes: int = setting(
        1, "random vectors for each value (trace, frobenius, gauss-newton, log-det)", least=1
    )
    mean: bool = setting(
        False, "divide by the number of parameters (gradient-norm), as HALO's published code does"
    )

    def __post_init__(self):
        check(self, "penalty.")
        takes = {name for entry in MEASURES.values() for name in entry.tunable}
        if self.kind == "none":
            return
        if self.weight is None:
            raise ValueError(
                f"`penalty.kind {self.kind}` needs `penalty.weight X`, how much it counts; with "
                "`penalty.normalise initial`, log or log1p, 1e-5 to 1e-1 are worth trying."
            )
        unused = takes - set(MEASURES[self.kind].tunable)
        self._refuse(unused, f"{self.kind} does not take it")
        if self.units in ("weights", "layers") and self.kind == "entropy":
            raise ValueError(
                f"`penalty.units {self.units}` is not for entropy, whose gradient knows no units; "
                "take `penalty.kind smoothed`, or other units."
            )
        if self.where == "end":
            self._refuse({"every"}, "`penalty.where end` is one point; add `penalty.where steps`")
        if self.normalise != "log1p":
            self._refuse({"reference"}, "it is of `penalty.normalise log1p`")
        if self.active == "always":
            self._refuse({"fraction"}, "it is always active; add `penalty.active first` or last")

    def _refuse(self, names: set[str], why: str) -> None:
        for name in sorted(names):
            value = getattr(self, name)
            if value != Penalty.__dataclass_fields__[name].default:
                raise ValueError(f"`penalty.{name}` was given ({value}), but {why}.")
