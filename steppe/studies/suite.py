"""Suites of the benchmark: what a study gives so that it is one of them.

    SUITE = Suite(("M1", "M2"), "games", STUDY, SCALES, quantities, panels, costs)

stands as `SUITE` in the `suite.py` of the study's folder, and `open_l2o/suites.py` names it. A cell
of a suite is a flat table with "suite", one of its letters; `own` are the rows of these.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ..evaluation.engines import Row
from .expectations import Expectation, judge, missing, read_expectations, tally
from .study import Conclusion, Study, reproduced

__all__ = [
    "Cost",
    "Expectation",
    "Line",
    "Panel",
    "Suite",
    "concluded",
    "judge",
    "missing",
    "own",
    "read_expectations",
    "tally",
]

Numbers = tuple[float | None, ...]  # None where there is none, or none that is finite


@dataclasses.dataclass(frozen=True)
class Line:
    """One method in a panel.

    - `at`: its places on the x-axis
    - `middle`: the mean or median there, as the panel's `y` says
    - `low`, `high`: the band, from the 10 % to the 90 % quantile; None for no band
    """

    name: str
    at: tuple[float, ...]
    middle: Numbers
    low: Numbers | None = None
    high: Numbers | None = None

    def __post_init__(self):
        for part in (self.middle, self.low, self.high):
            if part is not None and len(part) != len(self.at):
                raise ValueError(f"{self.name}: {len(part)} numbers at {len(self.at)} places.")
        if (self.low is None) != (self.high is None):
            raise ValueError(f"{self.name}: a band has a low and a high end.")


@dataclasses.dataclass(frozen=True)
class Panel:
    """A figure of the survey, redrawn from records.

    - `suite`: letter and number of its suite
    - `x`, `y`: words for the axes
    - `note`: what a reader should know of it
    """

    suite: str
    title: str
    x: str
    y: str
    lines: tuple[Line, ...]
    log_x: bool = False
    log_y: bool = False
    note: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """A row of the table of cost: what a method takes for one iteration of one problem.

    - `parameters`: numbers that were trained or tuned
    - `gradients`: gradients of the loss; None where it takes none of its own
    - `products`: products with A or Aᵀ; None where there is no A
    - `values`: values of the loss beyond those of the gradients
    - `training_s`: processor seconds of training and tuning
    - `step_us`: processor microseconds; None where they were not measured
    """

    suite: str
    method: str
    kind: Literal["by hand", "learned"]
    parameters: int
    gradients: float | None = None
    products: float | None = None
    values: float = 0.0
    training_s: float = 0.0
    step_us: float | None = None


@dataclasses.dataclass(frozen=True)
class Suite:
    """One or several letters of the benchmark, answered by one study.

    - `letters`: such as ("M1", "M2", "M3")
    - `name`: what it is about, in a few words
    - `study`: its cells, work and conclusion, whose verdicts know their letter
    - `scales`: settings of the study by scale
    - `quantities`: numbers of the records, "LETTER.panel.method.mark" → value
    - `panels`: figures, from the records
    - `costs`: rows of the table of cost, from the records
    - `optimizers`: settings with trained optimizers, by their sources, as further rows; None where
      an optimizer cannot be loaded, as its problems ask for one of their own kind
    """

    letters: tuple[str, ...]
    name: str
    study: Study
    scales: Mapping[str, Any]
    quantities: Callable[[Sequence[Row]], dict[str, float]]
    panels: Callable[[Sequence[Row]], list[Panel]]
    costs: Callable[[Sequence[Row]], list[Cost]]
    optimizers: Callable[[Any, tuple[str, ...]], Any] | None = None


def concluded(
    path: Path, numbers: Mapping[str, float], tables: Iterable[str], **content: Any
) -> Conclusion:
    """Tables, and what became of each expectation.

    - `path`: the file of expectations
    - `numbers`: the quantities; those that are not finite are told as None
    - `content`: what the findings hold besides them
    """
    said = judge(read_expectations(path), numbers)
    shown = {name: x if math.isfinite(x) else None for name, x in numbers.items()}
    text = "\n\n".join([*tables, reproduced(said)])
    return Conclusion(text, {**content, "quantities": shown}, said)


def own(rows: Iterable[Row], letters: Iterable[str]) -> list[Row]:
    """The rows whose cells are of one of the letters."""
    wanted = set(letters)
    return [row for row in rows if row.cell.get("suite") in wanted]
