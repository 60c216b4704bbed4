"""The page of a study: the answer, what was reproduced, curves and tables. One file, offline."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..evaluation.engines import Row
from ..report import page, plots
from .study import Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TEMPLATE = "study.html.j2"
SHOWN = len(plots.SERIES)  # curves that can be told apart in one picture


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page.

    - `title`, `text`: its heading, and what a reader should know of it
    - `head`, `rows`: a table; () for none
    - `pictures`: SVG elements by caption, as `picture` makes them
    - `legend`: names of the curves of the pictures by number of their colour
    """

    title: str
    text: str = ""
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    pictures: Mapping[str, str] = dataclasses.field(default_factory=dict)
    legend: Mapping[str, int] = dataclasses.field(default_factory=dict)


def write_study_page(
    path: str | os.PathLike,
    *,
    title: str,
    answer: str,
    verdicts: Sequence[Verdict] = (),
    sections: Sequence[Section] = (),
    command: str = "",
    facts: Mapping[str, str] | None = None,
) -> Path:
    """Write the page and return its path.

    - `answer`: one or two sentences, first on the page
    - `command`: what reproduces it
    - `facts`: details and versions, name → value
    """
    safe = lambda section: dataclasses.replace(
        section, pictures={name: page.safe(svg) for name, svg in section.pictures.items()}
    )
    values = {"answer": answer, "verdicts": verdicts, "sections": [safe(s) for s in sections]}
    text = page.render(
        "steppe.report", TEMPLATE, title=title, command=command, facts=facts or {}, **values
    )
    return page.write_page(path, text)


def facts(rows: Sequence[Row]) -> dict[str, str]:
    """The place and time at which the records were made."""
    places = [row.environment for row in rows if row.environment]
    if not places:
        return {}
    last = max(places, key=lambda place: str(place.get("date", "")))
    versions, minutes = last.get("versions", {}), sum(row.seconds or 0 for row in rows) / 60
    return {
        "records": f"{len(rows)} cells, {minutes:.0f} minutes of work",
        "last of them": str(last.get("date", "")),
        "machine": f"{last.get('processor', '')}, {last.get('cores', '')} cores",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }


@dataclasses.dataclass(frozen=True)
class Curve:
    """A line of a picture: equally many x and y; y may be None where nothing was measured."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]


def picture(
    curves: Sequence[Curve],
    style: Mapping[str, int],
    *,
    name: str,
    x: str,
    y: str,
    how: Callable[["Axes"], object] = lambda axes: None,
    size: tuple[float, float] = (6.4, 4.0),
) -> str:
    """An SVG element with a line for each curve.

    - `style`: number of the colour of each curve, see `plots.styles`; others are left out
    - `name`: text for readers that do not see it
    - `x`, `y`: words for the axes
    - `how`: sets the axes up, for instance to logarithmic ones
    """

    def draw(figure) -> None:
        axes = figure.subplots()
        for curve in curves:
            if (i := style.get(curve.name)) is not None:
                values = np.array([np.nan if v is None else v for v in curve.y], float)
                axes.plot(
                    np.array(curve.x, float),
                    values,
                    color=plots.SERIES[i],
                    lw=plots.WIDTHS[i],
                    ls=plots.DASHES[i],
                )
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        how(axes)

    return plots.svg(draw, name, size)
