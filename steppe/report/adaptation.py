"""The page of an adaptation: did it help, along the way, how it was chosen, what it cost."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..evaluation.adaptation import Adaptation
from ..evaluation.compare import figure, spread
from ..evaluation.stats import interval
from . import page, plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = "adaptation.html.j2"
NAMES = {"adapted": "adapted", "given": "as it was"}
STREAMS = {
    "adaptation": "adapting",
    "validation": "choosing rate and number of updates",
    "test": "comparing, for this page",
}


def write_adaptation_page(
    path: str | os.PathLike, found: Adaptation, *, file: str = "", command: str = ""
) -> Path:
    """Write the page and return its path.

    - `file`: where the adapted optimizer is
    - `command`: what reproduces it
    """
    shown = NAMES if found.kept else {"given": NAMES["given"]}
    values = {
        "title": f"{found.optimizer}, adapted to {found.task}",
        "found": found,
        "rows": [row(found, stream) for stream in shown],
        "legend": [{"name": name, "i": i} for i, name in enumerate(shown.values())],
        "curves": page.safe(curves(found, shown)),
        "rates": [{"name": name, "i": i} for i, name in enumerate(rate_names(found))],
        "choice": page.safe(choice(found)),
        "costs": [{"name": name, "cost": found.cost[key]} for key, name in STREAMS.items()],
        "file": file,
        "command": command,
        "facts": facts(found),
    }
    return page.write_page(path, page.render("steppe.report", TEMPLATE, **values))


def row(found: Adaptation, stream: str) -> dict[str, Any]:
    """The losses of one of the two optimizers at the end, as words."""
    losses = getattr(found, stream)
    finite = [x for x in losses if x is not None]
    quantile = lambda q: figure(float(np.percentile(finite, q)) if finite else None)
    return {
        "name": NAMES[stream],
        "ours": stream == "adapted",
        "mean": spread(interval(losses)),
        "median": quantile(50),
        "low": quantile(10),
        "high": quantile(90),
        "diverged": len(losses) - len(finite),
    }


def rate_names(found: Adaptation) -> list[str]:
    """A name for each row of scores."""
    return ["its own rates"] if found.rates is None else [f"rate {rate:g}" for rate in found.rates]


def curves(found: Adaptation, shown: Mapping[str, str]) -> str:
    """Median training loss in its 10–90 % band, of the optimizer as it was and adapted."""

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        for i, stream in reversed(list(enumerate(shown))):
            curve = found.curves[stream]
            x = np.array(curve.at, float)
            y = [np.array(y, float) for y in (curve.low, curve.median, curve.high)]
            plots.band(axes, x, y, i)
        seen = [x for stream in shown for x in found.curves[stream].low if x is not None]
        if min(seen, default=0) > 0:
            axes.set_yscale("log")
            plots.plain_log(axes.yaxis)
        axes.set_xlim(left=0)
        axes.set_xlabel("inner steps")
        axes.set_ylabel("training loss")

    return plots.svg(draw, f"adaptation-curves-{found.task}", (9.6, 3.6))


def choice(found: Adaptation) -> str:
    """Validation loss by number of updates, a line for each rate, the kept one marked."""
    scores = np.array(found.scores, float)  # None → nan

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        for k in reversed(range(len(scores))):
            i = k % len(plots.SERIES)
            how = {"lw": plots.WIDTHS[i], "ls": plots.DASHES[i], "marker": ".", "ms": 5}
            axes.plot(np.arange(scores.shape[1]), scores[k], color=plots.SERIES[i], **how)
        at = 0 if found.rate is None or found.rates is None else found.rates.index(found.rate)
        best = scores[at, found.kept]
        if np.isfinite(best):
            axes.plot(found.kept, best, "o", ms=11, mfc="none", mec=plots.INK, mew=1.2)
        if np.nanmin(scores, initial=np.inf) > 0:
            axes.set_yscale("log")
            plots.plain_log(axes.yaxis)
        axes.margins(y=0.14)
        axes.locator_params(axis="x", integer=True)
        axes.set_xlabel("updates")
        axes.set_ylabel("validation loss")

    return plots.svg(draw, f"adaptation-choice-{found.task}", (9.6, 3.2))


def facts(found: Adaptation) -> dict[str, str]:
    """Facts at the end of the page."""
    kept = f"{found.kept} of {found.updates}" + ("" if found.rate is None else f", {found.rate:g}")
    own = {
        "optimizer": found.optimizer,
        "task": found.task,
        "updates and rate kept": kept,
        "an update": f"{found.inner}, {found.episodes} problems, {found.unroll} steps each",
        "horizon": f"{found.horizon} steps",
        "left out": f"{found.nonfinite} episodes of adaptation that were not finite",
        "seed": str(found.seed),
        "time": f"{found.seconds:.0f} s",
    }
    return own | page.facts({}, dict(found.environment))
