"""A panel as a picture: a line and a band for each method, for light and dark pages."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...report import page, plots
from ..suite import Line, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = len(plots.SERIES)
MOST = 2 * COLOURS  # lines of a picture: each colour without marks, then with them
SIZE = (4.8, 3.5)  # inches
BANDS = 4  # lines that have theirs drawn; more cannot be told apart
HEADROOM = 0.3  # of the height, above where lines begin; what goes higher leaves the picture


class Mark(NamedTuple):
    """A line as the legend shows it."""

    name: str
    colour: int
    dotted: bool  # with circles on it


class Drawn(NamedTuple):
    """A picture with its legend.

    - `left_out`: methods for which there was no room
    """

    svg: str
    legend: Sequence[Mark]
    left_out: Sequence[str]


def style_of(panels: Sequence[Panel]) -> dict[str, int]:
    """Number of each method, by order of appearance: one look in all pictures side by side."""
    return {name: i for i, name in enumerate(dict.fromkeys(_names(panels)))}


def _names(panels: Sequence[Panel]) -> list[str]:
    return [line.name for panel in panels for line in panel.lines]


def drawn(panel: Panel, style: Mapping[str, int] | None = None) -> Drawn:
    """The picture of a panel.

    - `style`: numbers of methods; the panel's own where they are more than can be told apart
    """
    lines = [line for line in panel.lines if any(x is not None for x in line.middle)]
    if style is None or len(style) > MOST:
        style = style_of([panel])
    placed = [(style[line.name], line) for line in lines]
    shown = [(i, line) for i, line in placed if i < MOST]
    rest = [line for i, line in placed if i >= MOST]
    legend = [Mark(line.name, i % COLOURS, i >= COLOURS) for i, line in shown]

    def draw(figure) -> None:
        axes: Axes = figure.subplots()
        low, high = limits(panel, [line for _, line in shown])
        for i, line in reversed(shown):
            _line(axes, panel, line, i, high)
        if panel.log_x:
            axes.set_xscale("log")
        else:
            axes.locator_params(axis="x", integer=True)
        if panel.log_y:
            axes.set_yscale("log")
        axes.set_ylim(low, high)
        for axis, log in ((axes.xaxis, panel.log_x), (axes.yaxis, panel.log_y)):
            if log:
                plots.plain_log(axis)
        axes.set_xlabel(panel.x)
        axes.set_ylabel(panel.y)

    svg = plots.svg(draw, f"{panel.suite} {panel.title}", SIZE)
    return Drawn(page.safe(svg), legend, [line.name for line in rest])


def _line(axes: "Axes", panel: Panel, line: Line, i: int, ceiling: float) -> None:
    """A line and its band, which ends at the ceiling where there is no finite number."""
    colour = i % COLOURS
    x = np.array(line.at, float)
    keep = x > 0 if panel.log_x else np.isfinite(x)
    y = lambda numbers: np.array([np.nan if v is None else v for v in numbers], float)[keep]
    if line.low is not None and line.high is not None and i < BANDS:
        top = np.nan_to_num(y(line.high), nan=ceiling)
        axes.fill_between(x[keep], y(line.low), top, color=plots.SERIES[colour], alpha=0.1, lw=0)
    axes.plot(
        x[keep],
        y(line.middle),
        color=plots.SERIES[colour],
        lw=plots.WIDTHS[colour],
        ls=plots.DASHES[colour],
        marker="o" if i >= COLOURS else None,
        ms=3.5,
        markevery=max(1, int(np.sum(keep)) // 8),
    )


def limits(panel: Panel, lines: Sequence[Line]) -> tuple[float, float]:
    """Ends of the y-axis: below all lines, and not far above the highest place where one begins."""
    told = [[v for v in line.middle if v is not None and math.isfinite(v)] for line in lines]
    if panel.log_y:
        told = [[v for v in numbers if v > 0] for numbers in told]
    known = [numbers for numbers in told if numbers]
    if not known:
        return (0.1, 1.0) if panel.log_y else (0.0, 1.0)
    scale, back = (math.log10, lambda v: 10.0**v) if panel.log_y else (float, float)
    least = min(scale(v) for numbers in known for v in numbers)
    most = max(scale(v) for numbers in known for v in numbers)
    begin = max(scale(numbers[0]) for numbers in known)
    span = max(begin - least, 1e-9, 0.0 if begin > least else most - least)
    above = max(HEADROOM * span, 1.0) if panel.log_y else HEADROOM * span  # a power of ten
    return back(least - 0.05 * span), back(min(most + 0.05 * span, begin + above))
