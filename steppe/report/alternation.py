"""The page of gradients and proposals in turn: ways, adoptions, candidates, costs, and rivals.

Made from the record alone. Texts of proposals come from models: they are cut, shown without
characters that cannot be seen, and escaped; no picture holds one.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..evaluation.compare import figure
from ..prompt.alternation import PROPOSERS, Alternation
from ..prompt.history import Contender, History, Look, Round
from ..prompt.state import Alternate
from . import page, plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEMPLATE = "alternation.html.j2"
LONGEST = 400  # characters of a text
ROWS = 200  # candidates that are shown
WAYS = {"catalyst": 0, "gradients alone": 1, "random restart": 2}  # number of the series


def write_alternation_page(
    path: str | os.PathLike, found: Alternation, *, command: str = ""
) -> Path:
    """Write the page and return its path.

    - `command`: what reproduces it
    """
    rows = [row for made in found.catalyst.history.rounds for row in candidates(made)]
    values = {
        "title": f"{shown(found.problem)}: gradients and {PROPOSERS[found.proposer]} in turn",
        "verdict": shown(found.verdict, 2000),
        "price": shown(found.price, 2000),
        "found": found,
        "by": PROPOSERS[found.proposer],
        "notes": [shown(note) for note in found.catalyst.history.notes],
        "ways": [row(name, way) for name, way in found.ways.items()],
        "tested": any(way.test is not None for way in found.ways.values()),
        "legend": [{"name": name, "i": WAYS[name]} for name in found.ways],
        "curves": page.safe(curves(found)),
        "rivals": page.safe(rivals(found)) if len(found.ways) > 1 else None,
        "candidates": rows[:ROWS],
        "more": max(0, len(rows) - ROWS),
        "settings": {shown(name): told(x) for name, x in found.found.items()},
        "command": shown(command, 10_000),
        "facts": facts(found),
    }
    return page.write_page(path, page.render("steppe.report", TEMPLATE, **values))


def shown(text: str, most: int = LONGEST) -> str:
    """A text of a stranger for a page: cut, and a dot for each character that cannot be seen."""
    cut = text if len(text) <= most else text[:most] + "…"
    return "".join(x if x.isprintable() else "·" for x in cut)


def told(x: float | str | None) -> str:
    return shown(x) if isinstance(x, str) else figure(x)


def row(name: str, way: Any) -> dict[str, Any]:
    """A row of the table of rivals."""
    history: History = way.history
    counts = history.counts
    return {
        "name": name,
        "ours": name == "catalyst",
        "loss": figure(way.loss),
        "test": figure(way.test),
        "adopted": sum(made.adopted is not None for made in history.rounds),
        "asked": counts.asked,
        "gradients": "not counted" if counts.gradients is None else f"{counts.gradients:,}",
        "evaluations": f"{counts.evaluations:,}",
    }


def candidates(made: Round) -> list[dict[str, Any]]:
    """The proposals of a round, the best first; those that could not be read at the end."""
    last = lambda own: math.inf if own.losses[-1] is None else own.losses[-1]
    own = [x for x in made.contenders if x.who == "proposal" and x.losses]
    lead = min((last(x) for x in made.contenders if x.who != "proposal" and x.losses), default=None)
    found = [
        {
            "round": made.number + 1,
            "text": shown(x.text),
            "start": figure(x.losses[0]),
            "end": figure(x.losses[-1]),
            "lead": figure(lead),
            "fate": fate(x, made, own),
            "ours": x.text == made.adopted,
        }
        for x in sorted(own, key=lambda x: (-len(x.losses), last(x)))
    ]
    found += [
        {
            "round": made.number + 1,
            "text": shown(text),
            "start": "–",
            "end": "–",
            "lead": figure(lead),
            "fate": f"not read: {shown(why)}",
            "ours": False,
        }
        for text, why in made.unreadable
    ]
    return found


def fate(own: Contender, made: Round, all: Sequence[Contender]) -> str:
    """The outcome of a proposal in words."""
    if own.text == made.adopted:
        return "adopted"
    if len(own.losses) < max(len(x.losses) for x in all):
        return "left out on the way"
    return "not below the others"


def curves(found: Alternation) -> str:
    """The losses along gradients alone and along the catalyst's way, proposals as points."""
    history = found.catalyst.history

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        line(axes, history.gradients, WAYS["gradients alone"])
        for part in parts(history):
            line(axes, part, WAYS["catalyst"])
        for made in history.rounds:
            for own in (x for x in made.contenders if x.who == "proposal" and x.losses):
                adopted = own.text == made.adopted
                i = 0 if adopted else 5
                x, y = probation(found, made, own)
                axes.plot(x, y, color=plots.SERIES[i], lw=plots.WIDTHS[i] if adopted else 0.9)
                how: dict[str, Any] = {"ms": 9 if adopted else 5, "mew": 1.4}
                how |= {"mfc": plots.SERIES[i] if adopted else "none", "mec": plots.SERIES[i]}
                axes.plot(x[:1], y[:1], "D" if adopted else "o", **how)
            axes.axvline(made.step, color=plots.INK, lw=0.6, alpha=0.3)
        finish(axes, [history.gradients, history.current])

    return plots.svg(draw, "alternation-curves", (9.6, 4.0))


def probation(found: Alternation, made: Round, own: Contender) -> tuple[np.ndarray, np.ndarray]:
    """Steps and losses of a proposal on probation, as far as it came."""
    tried = sum(x.who == "proposal" for x in made.contenders)
    rungs = Alternate(steps=found.steps, probation=found.probation).rungs(tried)
    steps = made.step + np.cumsum([0, *rungs])[: len(own.losses)]
    return steps, np.array(own.losses[: len(steps)], float)


def parts(history: History) -> list[list[Look]]:
    """The catalyst's own way, cut where it begins elsewhere."""
    found: list[list[Look]] = []
    ended = {
        made.step
        for made in history.rounds
        if made.adopted is not None and all(own.who != "current" for own in made.contenders)
    }
    for look in history.current:
        # The way before an adoption is looked at until the end of that probation, as the new one.
        again = not found or look[0] <= found[-1][-1][0]
        jumped = not again and any(found[-1][-1][0] <= step < look[0] for step in ended)
        found += [[look]] if again or jumped else []
        if not (again or jumped):
            found[-1].append(look)
    return found


def rivals(found: Alternation) -> str:
    """The lowest loss so far along each way."""

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        drawn = []
        for name, way in reversed(found.ways.items()):
            looks = lowest(way.history)
            line(axes, looks, WAYS[name], steps=True)
            drawn.append(looks)
        finish(axes, drawn)

    return plots.svg(draw, "alternation-rivals", (9.6, 3.4))


def lowest(history: History) -> list[Look]:
    """The lowest loss of all looks up to each step, and at the end that of the best point."""
    seen = sorted((*history.gradients, *history.current), key=lambda look: look[0])
    found: list[Look] = []
    best = None
    for step, loss in seen:
        if loss is not None:
            best = loss if best is None else min(best, loss)
        found.append((step, best))
    if found and history.best.loss is not None:
        found.append((found[-1][0], history.best.loss))
    return found


def line(axes: "Axes", looks: Sequence[Look], i: int, *, steps: bool = False) -> None:
    """A line of one way."""
    x, y = (np.array(part, float) for part in zip(*looks, strict=True)) if looks else ([], [])
    style = "steps-post" if steps else "default"
    axes.plot(x, y, color=plots.SERIES[i], lw=plots.WIDTHS[i], ls=plots.DASHES[i], drawstyle=style)


def finish(axes: "Axes", drawn: Sequence[Sequence[Look]]) -> None:
    """Scales and labels, by the losses that are drawn."""
    seen = [loss for looks in drawn for _, loss in looks if loss is not None]
    low, high = min(seen, default=0), max(seen, default=0)
    if low > 0 and high > 10 * low:
        axes.set_yscale("log")
        plots.plain_log(axes.yaxis)
    axes.set_xlim(left=0)
    axes.set_xlabel("gradient steps along a way")
    axes.set_ylabel("loss on held-out data")


def facts(found: Alternation) -> dict[str, str]:
    """Facts at the end of the page."""
    gradients = "not counted" if found.gradients is None else f"{found.gradients:,} for each way"
    own = {
        "problem": found.problem,
        "gradient steps by": found.optimizer,
        "proposals by": PROPOSERS[found.proposer] + (f", {found.model}" if found.model else ""),
        "schedule": f"{found.rounds} rounds of {found.steps} steps, {found.candidates} candidates "
        f"on probation for {found.probation} steps",
        "gradients": gradients,
        "seed": str(found.seed),
        "time": f"{found.seconds:.0f} s",
    }
    return {name: shown(x) for name, x in own.items()} | page.facts({}, dict(found.environment))
