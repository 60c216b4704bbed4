"""The record of a distillation: plain data, from which the page and the verdict are made."""

import dataclasses
import os
from typing import Annotated, Any, Literal

from ..core.expression import LENGTH
from ..evaluation.update_curve import UpdateCurve
from ..optimizers.learned.symbolic import Symbolic
from ..store.untrusted import Between, Length, Source, checked, read_document
from .front import AS_GOOD, SHORT, Row
from .perception import Perceived

Words = Annotated[str, Length(4000)]
Name = Annotated[str, Length(200)]
Count = Annotated[int, Between(0, 2**53)]
Number = float | None
Part = Literal["test", "train"]
REMEDY = "give a file that `steppe distill` wrote"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Held:
    """R² on rows of runs that played no part in the fit: pooled, by tensor, by steps."""

    pooled: Number
    tensors: dict[Name, Number]
    times: dict[Name, Number]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ratio:
    """Loss of the formula over the teacher's on fresh problems, after so many steps.

    - `part`: "test", examples that were not trained on; "train", those that were
    - `mean`: geometric mean; `low`, `high`: its 95 % interval, paired by problem
    - `diverged`: problems on which the formula's loss is not finite, left out of the mean
    """

    task: Name
    part: Part
    steps: Count
    problems: Count
    mean: Number
    low: Number
    high: Number
    diverged: Count
    diverged_teacher: Count


@dataclasses.dataclass(frozen=True, kw_only=True)
class Distillation:
    """A formula in an optimizer's place, and all that is known of it.

    - `optimizer`, `task`: as shown
    - `formula`, `coefficients`: as `Symbolic` takes them; `text` and `latex` with numbers of 4
      digits; `nodes`: operations, numbers and inputs; `state`: floats it remembers of a coordinate
    - `origin`: the form it was made from
    - `front`: all that was judged, the shortest first
    - `held`: R² on held-out rows; `linear`, `template`: that of a linear filter and of the template
    - `ratios`: losses on fresh problems
    - `cost`: nanoseconds of a step for each of 100 000 coordinates, of "formula" and "teacher"
    - `curves`: the update rules as pictures, the teacher first
    - `rows`: fitted to, of `runs` of `steps` steps, and as many in each of `rounds`; `left_out`:
      runs that were not finite
    - `tuned`: meta-steps
    - `seconds`: in all, compiling included
    - `perceived`: how far back the optimizer looks
    """

    optimizer: Name
    task: Words
    formula: Annotated[str, Length(LENGTH)]
    coefficients: Annotated[tuple[float, ...], Length(1000)]
    text: Annotated[str, Length(LENGTH)]
    latex: Annotated[str, Length(4 * LENGTH)]
    nodes: Count
    origin: Words
    state: Count
    front: Annotated[tuple[Row, ...], Length(200, 1)]
    held: Held
    linear: Number
    template: Number
    ratios: Annotated[tuple[Ratio, ...], Length(200)]
    cost: dict[Name, Number]
    curves: Annotated[tuple[UpdateCurve, ...], Length(8)]
    rows: Count
    runs: Count
    steps: Count
    rounds: Count
    tuned: Count
    left_out: Count
    seed: Count
    seconds: float
    environment: dict[str, Any]
    perceived: Perceived | None = None

    @property
    def rule(self) -> Symbolic:
        """The formula as an optimizer."""
        return Symbolic(self.formula, self.coefficients)

    @property
    def short(self) -> bool:
        """True for a formula of at most 15 nodes."""
        return self.nodes <= SHORT

    @property
    def stands(self) -> bool:
        """True if its loss is at most 1.05 times the teacher's on fresh problems of its task.

        At all horizons, on examples that were not trained on, by the mean.
        """
        own = [r for r in self.ratios if r.task == self.task and r.part == "test"]
        return bool(own) and all(
            r.mean is not None and r.mean <= AS_GOOD and r.diverged <= r.diverged_teacher
            for r in own
        )

    @property
    def verdict(self) -> str:
        """Does the formula do in the optimizer's place, in one or two sentences."""
        from .wording import verdict

        return verdict(self)


def read(path: str | os.PathLike) -> Distillation:
    """A record from a JSON file, anyone's. Raises FileError where it is none."""
    source = Source(os.fspath(path), REMEDY)
    plain = checked(read_document(path, source), dict[str, Any], source)
    plain.pop("verdict", None)
    return checked(plain, Distillation, source)
