"""The page of the benchmark: what reproduces, the figures redrawn, what it costs. One file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...evaluation.engines import Row
from ...report.page import render, write_page
from ..page import facts
from ..study import NOT_CLAIMED, NOT_MEASURED, Verdict
from ..suite import Cost, Panel, tally
from . import figures, outcome, taxonomy
from .settings import MODULES, SUITES, OpenL2O

TEMPLATE = "benchmark.html.j2"
TITLES = {
    "sparse_recovery": "Sparse recovery",
    "lasso": "LASSO",
    "model_free": "Rastrigin, quadratics, networks",
    "swarms": "Swarms",
    "games": "Games",
    "jacobian": "The Jacobian regularizer",
}


def write(
    settings: OpenL2O,
    rows: Sequence[Row],
    verdicts: Sequence[Verdict],
    panels: Sequence[Panel],
    costs: Sequence[Cost],
    troubles: Sequence[str],
    path: Path,
) -> None:
    """Write the page."""
    held, judged = tally(verdicts)
    text = render(
        __package__ or "",
        TEMPLATE,
        title="Open-L2O, corrected: what reproduces",
        held=held,
        judged=judged,
        rest=outcome.rest(verdicts),
        troubles=troubles,
        count_head=outcome.COUNT_HEAD,
        counts=[(_anchor(line[0]), line) for line in outcome.count_rows(verdicts)],
        parts=[part for module in MODULES if (part := _part(module, verdicts, panels, costs))],
        protocols=outcome.PROTOCOLS,
        cost_head=outcome.COST_HEAD[1:],
        taxonomy=taxonomy,
        command=command(settings),
        facts=facts(rows),
    )
    write_page(path, text)


def _part(
    module: str, verdicts: Sequence[Verdict], panels: Sequence[Panel], costs: Sequence[Cost]
) -> dict[str, Any] | None:
    """What the page says of the suites of one study; None where there is nothing."""
    letters = [letter for letter, about in SUITES.items() if about.module == module]
    mine = [v for v in verdicts if v.suite in letters]
    if not mine:
        return None
    judged = [v for v in mine if not v.unjudged]
    shown = [panel for panel in panels if panel.suite in letters]
    style = figures.style_of(shown)
    return {
        "title": TITLES[module],
        "letters": [(letter, _anchor(letter), SUITES[letter].words) for letter in letters],
        "panels": [(panel, figures.drawn(panel, style)) for panel in shown],
        "missed": [v for v in judged if not v.holds],
        "met": [v for v in judged if v.holds],
        "unmeasured": [v for v in mine if v.unjudged == NOT_MEASURED],
        "unclaimed": [v for v in mine if v.unjudged == NOT_CLAIMED],
        "judged": len(judged),
        "costs": [
            (_anchor(cost.suite), row[0], row[1:])
            for cost, row in zip(costs, outcome.cost_rows(costs), strict=True)
            if cost.suite in letters
        ],
    }


def _anchor(letter: str) -> str:
    return SUITES[letter].module


def command(settings: OpenL2O) -> str:
    """The line that does the run again."""
    words = ["steppe reproduce open-l2o", f"--scale {settings.scale}"]
    if settings.letters != tuple(SUITES):
        words.append(f"--suites {','.join(settings.letters)}")
    if settings.optimizers:
        words.append(f"--optimizers {','.join(settings.optimizers)}")
    return " ".join(words)
