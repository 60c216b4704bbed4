"""What a recipe adds to the objective of meta-training: weight · P(R) along the unroll.

Plain data, standard library only; `assemble.py` makes the `Regularized` of it.
"""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Penalty:
    """A measure R of flatness (`flatness.names`) and how it counts, see `Regularized`.

    - `weight`: s, at 0 it is measured and no more
    - `where`: at the last point of each unroll, or at its steps, every `every`-th
    - `normalise`: R, R over its value at the start of the episode, ln R, or ln(1 + R/`reference`)
    - `units`: R as it is; times the squared length of the weights (`Relative`); or of the loss as
      a function of relative changes of the weights (`Adaptive`)
    - `active`: over the whole episode, or in the first or last `fraction` of its steps
    - `gamma`, `temperature`, `probes`: of the measures that take them; a temperature of None is 1
      over the number of training examples
    """

    kind: str
    weight: float
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
