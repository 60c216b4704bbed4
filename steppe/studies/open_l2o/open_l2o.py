"""The benchmark of learning to optimize: all suites of Open-L2O, corrected, in one command.

    steppe reproduce open-l2o --scale small
    steppe reproduce open-l2o --scale small --suites L1 --optimizers mine.safetensors

Chen et al., "Learning to optimize: a primer and a benchmark", JMLR 2022, compare model-based,
model-free, minimax and swarm optimizers. Here each suite is a study of its own with expectations
that were written down before its runs; this one does the cells of all and puts together what came
out: which published claims hold, as they were published and with what was wrong mended, the figures
redrawn, and what every method costs.
"""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from ...core.messages import brief
from ...evaluation.engines import Row, cell_id, function
from ..study import Cell, Conclusion, Study, Verdict
from ..suite import Cost, Panel, Suite, own
from . import outcome, page
from .settings import LONGEST_FIRST, SUITES, OpenL2O


def suite_of(module: str) -> Suite:
    """The suites of a folder of studies."""
    return import_module(f"..{module}.suite", __package__).SUITE


def chosen(settings: OpenL2O) -> list[tuple[Suite, Any]]:
    """The suites of a run with their settings, the longest first."""
    modules = {SUITES[letter].module for letter in settings.letters}
    found = []
    for suite in (suite_of(module) for module in LONGEST_FIRST if module in modules):
        sizes = suite.scales[settings.scale]
        if settings.optimizers and suite.optimizers is not None:
            sizes = suite.optimizers(sizes, settings.optimizers)
        found.append((suite, sizes))
    if settings.optimizers and all(suite.optimizers is None for suite, _ in found):
        raise ValueError(
            f"optimizers: none of the suites {', '.join(settings.letters)} takes one; add one of "
            f"{', '.join(open_to_all())} to `suites`."
        )
    return found


def open_to_all() -> list[str]:
    """Letters of the suites that any trained optimizer can be run in."""
    suites = map(suite_of, LONGEST_FIRST)
    return [letter for s in suites if s.optimizers is not None for letter in s.letters]


def cells(settings: OpenL2O) -> Iterator[Cell]:
    """Those of the suites that were asked for, each with its letter as "suite"."""
    for suite, sizes in chosen(settings):
        for cell in suite.study.cells(sizes):
            if cell["suite"] in settings.letters:
                yield cell


def run(cell: Cell) -> dict[str, Any]:
    """Do a cell by the work of its suite."""
    return function(suite_of(SUITES[cell["suite"]].module).study.work)(cell)


class Found(NamedTuple):
    """The answer of one suite.

    - `trouble`: why its records could not be used; "" if they could
    """

    verdicts: list[Verdict]
    panels: Sequence[Panel] = ()
    costs: Sequence[Cost] = ()
    numbers: Mapping[str, float] = MappingProxyType({})
    trouble: str = ""


def found_by(suite: Suite, sizes: Any, rows: Sequence[Row]) -> Found:
    """The answer of a suite. Records that it cannot use leave all its lines unmeasured."""
    said = lambda rows: list(suite.study.conclude(sizes, rows).verdicts)
    try:
        large = that_decide(suite, rows)
        shown = large or rows
        return Found(said(large), suite.panels(shown), suite.costs(shown), suite.quantities(shown))
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        words = f"{type(error).__name__}: {brief(str(error))}"
        trouble = f"{suite.name}: the records are not complete, or of other work ({words})."
        return Found(said([]), trouble=trouble)


def that_decide(suite: Suite, rows: Sequence[Row]) -> list[Row]:
    """The records but those of the scale tiny, which shows that all runs and decides nothing."""
    tiny = {cell_id(cell) for cell in suite.study.cells(suite.scales["tiny"])}
    found = [row for row in rows if cell_id(row.cell) not in tiny]
    return found if any("digest" not in row.cell for row in found) else []


def conclude(settings: OpenL2O, rows: Sequence[Row]) -> Conclusion:
    if rows and not own(rows, SUITES):
        raise ValueError("no record is of a suite")
    found = [
        found_by(suite, sizes, own(rows, set(suite.letters) & set(settings.letters)))
        for suite, sizes in chosen(settings)
    ]
    said = in_order(v for one in found for v in one.verdicts if v.suite in settings.letters)
    panels = in_order(panel for one in found for panel in one.panels)
    costs = in_order(cost for one in found for cost in one.costs)
    troubles = [one.trouble for one in found if one.trouble]
    numbers = {name: outcome.finite(x) for one in found for name, x in one.numbers.items()}
    write = functools.partial(page.write, settings, rows, said, panels, costs, troubles)
    return Conclusion(
        text="\n\n".join([*troubles, outcome.text(said, costs)]),
        content={
            "suites": outcome.counts(said),
            "quantities": numbers,
            "costs": [dataclasses.asdict(cost) for cost in costs],
            **({"troubles": troubles} if troubles else {}),
        },
        verdicts=said,
        files={"report.html": write},
    )


T = TypeVar("T", Verdict, Panel, Cost)


def in_order(found: Iterable[T]) -> list[T]:
    """By suite, in the order of their table."""
    place = {letter: i for i, letter in enumerate(SUITES)}
    return sorted(found, key=lambda one: place[one.suite])


MINUTES = {"tiny": "under 8 minutes", "small": "under an hour", "paper": "weeks"}  # on two cores


def cost(settings: OpenL2O) -> str:
    part = "" if settings.letters == tuple(SUITES) else " for all suites"
    return f"{MINUTES[settings.scale]}{part} on two cores"


STUDY = Study(cells, f"{__name__}:run", conclude, cost, keep_programs=True)
