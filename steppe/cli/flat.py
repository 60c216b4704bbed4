"""`--flat.…` of `steppe train`: a measure of flatness in the objective. Standard library only."""

import math
from dataclasses import dataclass, fields
from typing import Literal

from ..flatness.names import TAKES
from .checks import at_least, not_negative, positive

OPTIONS = {option for takes in TAKES.values() for option in takes}


@dataclass(frozen=True, kw_only=True)
class Flat:
    """What flatness adds to the objective: weight · R along the unroll (`steppe.Regularized`).

    - `kind`: the measure R, see `steppe list measures`; none: nothing is computed
    - `weight`: how much it counts, to be given with a kind; 0: it is measured and no more
    - `where`: at the last step of each unroll, or at its steps
    - `every`: at every so many of its steps, with --flat.where steps
    - `normalise`: R itself, R over its value at the start of the episode, ln R, or ln(1 + R/ρ)
    - `reference`: ρ, the R below which flatter is hardly better, with --flat.normalise log1p
    - `units`: R as it is, times the squared length of the weights, or of the loss as a function of
      relative changes of the weights (`steppe.flatness.units`)
    - `active`: over the whole episode, its first or its last steps
    - `fraction`: share of the episode's steps for --flat.active first and last
    - `gamma`: curvature that counts as flat (log-det, entropy); 1/variance of the window
      (smoothed)
    - `temperature`: of the entropy, in units of the loss; 1 over the number of training
      examples where nothing is said
    - `probes`: random vectors for each value (trace, frobenius, gauss-newton, log-det)
    """

    kind: Literal[
        "none",
        "trace",
        "frobenius",
        "gauss-newton",
        "top-eigenvalue",
        "log-det",
        "entropy",
        "smoothed",
        "sharpness",
        "gradient-norm",
        "krylov",
        "squared-norm",
    ] = "none"
    weight: float | None = None
    where: Literal["end", "steps"] = "end"
    every: int = 1
    normalise: Literal["none", "initial", "log", "log1p"] = "none"
    reference: float = 1.0
    units: Literal["absolute", "length", "weights"] = "absolute"
    active: Literal["always", "last", "first"] = "always"
    fraction: float = 0.5
    gamma: float = 1.0
    temperature: float | None = None
    probes: int = 1

    def __post_init__(self):
        at_least(1, self, "every", "flat.")
        at_least(1, self, "probes", "flat.")
        positive(self, "gamma", "flat.")
        positive(self, "reference", "flat.")
        not_negative(self, "temperature", "flat.")
        if self.weight is not None and not math.isfinite(self.weight):
            raise ValueError(f"--flat.weight must be a finite number, got {self.weight:g}.")
        if not 0 < self.fraction <= 1:
            raise ValueError(
                f"--flat.fraction must be above 0 and at most 1, got {self.fraction:g}."
            )
        if self.kind == "none":
            self._refuse(
                OPTIONS | {field.name for field in fields(self)} - {"kind"},
                "nothing is measured without a kind; add --flat.kind NAME",
            )
            return
        if self.weight is None:
            raise ValueError(
                f"--flat.kind {self.kind} needs --flat.weight X, how much it counts; with "
                "--flat.normalise initial, log or log1p, 1e-5 to 1e-1 are worth trying."
            )
        unused = OPTIONS - set(TAKES.get(self.kind, ()))
        self._refuse(unused, f"{self.kind} does not take it")
        if self.units == "weights" and self.kind == "entropy":
            raise ValueError(
                "--flat.units weights is not for entropy, whose gradient knows no units; take "
                "--flat.kind smoothed, or other units."
            )
        if self.where == "end":
            self._refuse({"every"}, "--flat.where end is one point; add --flat.where steps")
        if self.normalise != "log1p":
            self._refuse({"reference"}, "it is of --flat.normalise log1p")
        if self.active == "always":
            self._refuse({"fraction"}, "it is always active; add --flat.active first or last")

    def _refuse(self, names: set[str], why: str) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in names and value != field.default:
                raise ValueError(f"--flat.{field.name} was given ({value}), but {why}.")
