"""The page of a solver that was searched for: verdict, times and iterations, curves, guarantee."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..certificates.certificate import Certificate
from ..solvers.record import Record, Row, merit
from ..solvers.verdict import duration, short, verdict
from . import certificate_panel, page, plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEMPLATE = "solver.html.j2"
DRAWN = len(plots.SERIES)  # curves of one figure
FLOOR = 1e-9  # of a gap that is drawn
DECIDES = {
    "batch": "seconds a problem in batches",
    "alone": "seconds a problem alone",
    "iterations": "iterations",
}


def write_solver_page(
    path: str | os.PathLike,
    record: Record,
    certificate: Certificate | None = None,
    *,
    command: str = "",
) -> Path:
    """Write the page and return its path.

    - `certificate`: of the winner, None where it was not certified
    - `command`: what reproduces it
    """
    shown = [row for row in ranked(record) if row.median]
    style = plots.styles([row.name for row in shown[:DRAWN]])
    timed = any(row.step_batch for row in shown)
    values = {
        "title": f"A solver for {record.family}",
        "record": record,
        "verdict": verdict(record),
        "decides": DECIDES[record.by],
        "tolerances": [tolerance(record, x) for x in record.tolerances],
        "rows": [cells(record, row, style) for row in ranked(record)],
        "timed": timed,
        "legend": [{"name": name, "i": i} for name, i in style.items()],
        "by_step": page.safe(curves(record, shown, style, by="step")),
        "by_time": page.safe(curves(record, shown, style, by="time")) if timed else None,
        "certificates": [] if certificate is None else [guarantee(certificate)],
        "command": command,
        "facts": facts(record),
    }
    return page.write_page(path, page.render("steppe.report", TEMPLATE, **values))


def ranked(record: Record) -> list[Row]:
    """Rows as the page has them: the winner, then from best to worst; what was left out is last."""
    key = lambda row: (row.name != record.winner, bool(row.fault), merit(row, record.by))
    return sorted(record.rows, key=key)


def tolerance(record: Record, x: float) -> str:
    return short(x) + (" dB" if record.error == "nmse" else "")


def cells(record: Record, row: Row, style: Mapping[str, int]) -> dict[str, Any]:
    """The row as words; "–" where a tolerance was not reached on all problems."""
    word = lambda x, say: "–" if x is None else say(x)
    blank = (None,) * len(record.tolerances)
    return {
        "row": row,
        "wins": row.name == record.winner,
        "i": style.get(row.name),
        "iterations": [word(x, "{:.3g}".format) for x in row.iterations or blank],
        "batch": [word(x, duration) for x in row.batch or blank],
        "alone": [word(x, duration) for x in row.alone or blank],
        "reached": "–" if not row.reached else f"{row.reached[-1]:.0%}".replace("%", " %"),
        "step": word(row.step_alone, duration),
        "final": "–" if row.final is None else page.compare.figure(row.final),
    }


def curves(record: Record, rows: Sequence[Row], style: Mapping[str, int], *, by: str) -> str:
    """Median error in its 10–90 % band, `by` "step" or "time" of a problem in a batch."""

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        for row in reversed([row for row in rows if row.name in style]):
            x = np.array(row.at, float)
            if by == "time":
                if not row.step_batch:
                    continue
                x = x * row.step_batch * 1e6
            line(axes, record, x, row, style[row.name])
        if record.error == "gap":
            axes.set_yscale("log")
            plots.plain_log(axes.yaxis)
        for limit in record.tolerances:
            axes.axhline(limit, color=plots.INK, lw=0.6, alpha=0.4)
        axes.set_xlim(left=0)
        axes.set_xlabel("iterations" if by == "step" else "microseconds a problem, in a batch")
        axes.set_ylabel("relative gap" if record.error == "gap" else "NMSE in dB")

    return plots.svg(draw, f"solver-{by}-{record.family}", (9.6, 4.0))


def line(axes: "Axes", record: Record, x: np.ndarray, row: Row, i: int) -> None:
    y = [np.array(y, float) for y in (row.low, row.median, row.high)]
    plots.band(axes, x, [np.maximum(y, FLOOR) for y in y] if record.error == "gap" else y, i)


def guarantee(cert: Certificate) -> dict[str, Any]:
    return certificate_panel.panel(cert) | {"success": page.safe(certificate_panel.success(cert))}


def facts(record: Record) -> dict[str, str]:
    """Facts at the end of the page."""
    budget = "none" if record.budget is None else f"{record.budget:g} s"
    own = {
        "family": record.family,
        "goal": record.goal,
        "decided by": DECIDES[record.by],
        "budget": f"{budget}, {record.seconds:.0f} s taken",
        "problems": f"{record.problems} to choose by, as many others to compare on",
        "seed": str(record.seed),
    }
    return own | page.facts({}, dict(record.environment))
