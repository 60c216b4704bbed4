"""The page of a formula: does it do, what it says, what else was tried, and how to use it."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.expression import parse, variables
from ..distillation import wording
from ..distillation.result import Distillation
from . import page, plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = "formula.html.j2"
MEANINGS = {
    "g": "the gradient of the coordinate",
    "mom": "running average of g, begun at 0",
    "ms": "running average of g², begun at 0",
    "m": "running average of g, without bias",
    "v": "running average of g², without bias",
    "mn": "running average of g over the root of that of g²",
    "gn": "g over the root of the running average of g²",
    "size": "size of g on a logarithmic scale, the first input of DM",
    "sign": "sign of g, linear near 0, the second input of DM",
}
SHOWN = 160  # characters of a formula in a table


def write_formula_page(
    path: str | os.PathLike,
    found: Distillation,
    *,
    source: str = "",
    file: str = "",
    command: str = "",
) -> Path:
    """Write the page and return its path.

    - `source`: the optimizer that was distilled, as a command names it
    - `file`: where the formula is, as an optimizer
    - `command`: what reproduces it
    """
    style = plots.styles([curve.optimizer for curve in found.curves])
    values = {
        "title": f"{found.optimizer} as a formula",
        "found": found,
        "formula": page.safe(html(found.text)),
        "meanings": meanings(found.text),
        "ratios": [cells(r) for r in found.ratios],
        "front": page.safe(front(found)),
        "rows": [candidate(row) for row in found.front],
        "rules": page.safe(plots.rules(found.curves, style)) if found.curves else None,
        "perception": page.safe(plots.perception(found.perceived)) if found.perceived else None,
        "drawn": [{"name": name, "i": i} for name, i in style.items()],
        "held": held(found),
        "number": wording.number,
        "advice": wording.advice(found),
        "file": file,
        "source": source,
        "command": command,
        "facts": facts(found),
    }
    return page.write_page(path, page.render("steppe.report", TEMPLATE, **values))


def html(text: str) -> str:
    """A formula as HTML: signs of print, decays as indices."""
    from markupsafe import escape

    out = str(escape(text)).replace("*", "·").replace("-", "−")
    out = re.sub(r"e−0?(\d+)", r"·10<sup>−\1</sup>", out)

    def index(match: re.Match) -> str:
        kind, first, second, lag = match.groups()
        below = ", ".join(f".{part}" for part in (first, second) if part)
        below += f"{', ' if below else ''}t−{lag}" if lag else ""
        return f"<i>{kind}</i>" + (f"<sub>{below}</sub>" if below else "")

    pattern = r"\b(mom|ms|mn|gn|m|v|g|size|sign)(\d+)?(?:_(\d+))?(?:\[(\d+)\])?(?![\w(])"
    return re.sub(pattern, index, out)


def meanings(text: str) -> list[dict[str, str]]:
    """The meaning of each input of a formula, in words."""
    said = []
    for name in dict.fromkeys(v.name for v in variables(parse(text))):
        kind = name.rstrip("0123456789_")
        digits = [part for part in name[len(kind) :].split("_") if part]
        decay = (
            ""
            if kind in ("size", "sign") or not digits
            else (
                f"; decay{'s' if len(digits) > 1 else ''} " + " and ".join(f".{d}" for d in digits)
            )
        )
        said.append({"name": page.safe(html(name)), "about": MEANINGS[kind] + decay})
    lags = sorted({v.lag for v in variables(parse(text)) if v.lag})
    for lag in lags[:3]:
        ago = "one step ago" if lag == 1 else f"{lag} steps ago"
        said.append({"name": page.safe(f"<sub>t−{lag}</sub>"), "about": f"as it was {ago}"})
    return said


def cells(r) -> dict[str, Any]:
    """A ratio as words; its colour says which side of 1 its interval is on."""
    kind = "same"
    if r.low is not None and r.high is not None and (r.high < 1 or r.low > 1):
        kind = "better" if r.high < 1 else "worse"
    return {
        "r": r,
        "part": "test" if r.part == "test" else "training",
        "mean": wording.number(r.mean),
        "interval": "–"
        if r.low is None
        else f"{wording.number(r.low)} to {wording.number(r.high)}",
        "kind": kind,
    }


def candidate(row) -> dict[str, Any]:
    return {
        "row": row,
        "text": page.safe(html(wording.brief(row.text, SHOWN))),
        "r2": wording.number(row.validation),
        "worst": wording.worst(row),
        "gain": f"{row.gain:.2f}",
    }


def front(found: Distillation) -> str:
    """R² and loss ratio by the number of nodes, what was kept circled."""
    seen = [row for row in found.front if row.validation is not None]

    def draw(figure: "Figure") -> None:
        panels = figure.subplots(1, 2)
        nodes = [row.nodes for row in seen]
        columns = (
            ("R² on validation rows", [row.validation for row in seen], None),
            (
                "loss over the optimizer’s",
                [row.merit if row.merit < 1e3 else np.nan for row in seen],
                1.0,
            ),
        )
        for axes, (title, y, line) in zip(panels, columns, strict=True):
            if line is not None:
                axes.axhline(line, color=plots.INK, lw=0.6, alpha=0.5)
            axes.plot(nodes, y, "o", ms=5, color=plots.SERIES[1])
            kept = [(n, v) for n, v, row in zip(nodes, y, seen, strict=True) if row.kept]
            if kept:
                axes.plot(*zip(*kept, strict=True), "o", ms=8, color=plots.SERIES[0])
                axes.plot(*zip(*kept, strict=True), "o", ms=13, mfc="none", mec=plots.INK, mew=1.2)
            axes.set_xscale("log")
            plots.plain_log(axes.xaxis)
            axes.set_xlabel("nodes of the formula")
            axes.set_ylabel(title)
            axes.margins(x=0.08, y=0.14)

    return plots.svg(draw, f"formula-front-{found.optimizer}", (9.6, 3.4))


def held(found: Distillation) -> Mapping[str, str]:
    """Held-out R² by tensor and by steps, as words."""
    parts = {"all rows": found.held.pooled}
    parts |= {f"tensor {name}": x for name, x in found.held.tensors.items()}
    parts |= {f"steps {name}": x for name, x in found.held.times.items()}
    return {name: wording.number(x) for name, x in parts.items()}


def facts(found: Distillation) -> dict[str, str]:
    """Facts at the end of the page."""
    own = {
        "optimizer": found.optimizer,
        "task": found.task,
        "form": found.origin,
        "recorded": f"{found.runs} runs of {found.steps} steps, {found.rounds} rounds on the "
        f"formula’s own runs; {found.left_out} runs left out, not finite",
        "rows": f"{found.rows:,} to fit",
        "tuned": f"{found.tuned} meta-steps",
        "seed": str(found.seed),
        "time": f"{found.seconds:.0f} s",
    }
    return own | page.facts({}, dict(found.environment))
