"""The study in pictures: SVG for light and dark pages, drawn from findings and rows alone."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...report.plots import INK, SERIES, log_axes, nanmedian, plain_log, series, svg
from .lines import Line, lower_is_better, mean_log

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Path = Mapping[str, Any]  # a `descend`, its path one row a meta-seed
AXES = {"step": "inner steps", "gradient": "gradient evaluations", "time": "seconds of one run"}


def forest(lines: Sequence[Line], metric: str, name: str) -> str:
    """Differences with both intervals, one line a cell: t thick, bootstrap thin.

    A logarithm is shown as a ratio. An interval that would dwarf the others leaves the picture.
    """
    shown = [line for line in lines if line.metric == metric and line.found.n > 1]
    ratio = metric.startswith("ln ")
    unit = np.exp if ratio else lambda x: 100 * x
    low, high = reach(shown)

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        axes.axvline(unit(0.0), color=INK, lw=0.9)
        for place, line in enumerate(shown):
            found, i = line.found, 0 if line.better else 1 if line.seen else 5
            for interval, width in ((found.difference, 3.2), (found.bootstrap, 1.2)):
                ends = np.clip(np.array([interval.low, interval.high], float), low, high)
                axes.plot(
                    unit(ends), [place, place], color=SERIES[i], lw=width, solid_capstyle="butt"
                )
            filled = SERIES[i] if line.seen or line.worse else "none"
            axes.plot(
                unit(np.array(found.mean, float)),
                place,
                "o",
                ms=7,
                mec=SERIES[i],
                mfc=filled,
                mew=1.8,
            )
        labels = [" · ".join(name) for name in apart(shown)]
        axes.set_yticks(range(len(shown)), labels)
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        what = metric.removeprefix("ln ").replace("_", " ")
        better = "left" if lower_is_better(metric) else "right"
        if ratio:
            axes.set_xscale("log")
            plain_log(axes.xaxis)
        measured = "ratio" if ratio else "difference in percentage points"
        axes.set_xlabel(f"{what}, {measured} (better: {better})")
        axes.spines["left"].set_visible(False)

    return svg(draw, f"forest-{name}-{metric}", (9.0, 1.0 + 0.33 * len(shown)))


def apart(lines: Sequence[Line]) -> list[list[str]]:
    """Words that tell lines apart: optimizer, technique, rival where they differ, and the arm."""
    names = [(line.optimizer, line.technique, line.theirs, line.ours) for line in lines]
    kept = [len(set(column)) > 1 for column in zip(*names, strict=True)]
    return [[x for x, keep in zip(name, (*kept[:3], True), strict=True) if keep] for name in names]


def reach(lines: Sequence[Line]) -> tuple[float, float]:
    """Reach of drawn intervals: three times as far as the means go."""
    means = [line.found.mean or 0.0 for line in lines]
    far = 3 * max(map(abs, means), default=1.0)
    return -far, far


def curves(paths: Mapping[str, Path], style: Mapping[str, int], metric: str, by: str) -> str:
    """A metric along the way: median and 10–90 % band over meta-seeds, `by` one of `AXES`.

    `paths`: optimizer → its path, with "gradients" a step and "ms" a step.
    """

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        for name, path in reversed(list(paths.items())):
            scale = {"step": 1.0, "gradient": path["gradients"], "time": path["ms"] / 1e3}[by]
            x, y = np.array(path["steps"]) * scale, np.array(path["path"][metric], float)
            series(axes, x, y, style[name])
        if metric != "test_accuracy":
            axes.set_yscale("log")
            plain_log(axes.yaxis)
        axes.set_xlabel(AXES[by])
        axes.set_ylabel(metric.replace("_", " "))

    return svg(draw, f"curves-{metric}-{by}-{'-'.join(paths)}", (4.6, 3.3))


def train_test(paths: Mapping[str, Path], style: Mapping[str, int]) -> str:
    """Test loss against training loss along the way, medians over meta-seeds, dot at the end."""

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        for name, path in reversed(list(paths.items())):
            x, y = (
                nanmedian(np.array(path["path"][metric], float))
                for metric in ("train_loss", "test_loss")
            )
            axes.plot(x, y, color=SERIES[style[name]], lw=1.6)
            axes.plot(x[-1:], y[-1:], "o", color=SERIES[style[name]], ms=7, zorder=5)
        log_axes(axes, "training loss", "test loss")

    return svg(draw, f"train-test-{'-'.join(paths)}", (4.6, 3.3))


def flatness(points: Mapping[str, Sequence[Mapping[str, Any]]], style: Mapping[str, int]) -> str:
    """Trace and top eigenvalue by training loss: geometric means over meta-seeds, 95 % of them.

    `points`: arm → for each meta-seed, what `descend` says at its levels.
    """

    def draw(figure: "Figure") -> None:
        for axes, metric in zip(figure.subplots(1, 2), ("trace", "top_eigenvalue"), strict=True):
            for k, (arm, seeds) in enumerate(points.items()):
                levels = [level for level in seeds[0] if level not in ("stop", "end")]
                for level in levels:
                    found = [mean_log(at[level][metric]) for at in seeds]
                    known = [x for x in found if x is not None]
                    if len(known) < 2:
                        continue
                    middle, half = np.mean(known), 1.96 * np.std(known, ddof=1) / len(known) ** 0.5
                    x = float(level) * 1.05 ** (k - len(points) / 2)
                    low, high = np.exp(middle - half), np.exp(middle + half)
                    colour = SERIES[style[arm]]
                    axes.plot([x, x], [low, high], color=colour, lw=2)
                    axes.plot(x, np.exp(middle), "o", color=colour, ms=6)
            log_axes(axes, "training loss that was reached", metric.replace("_", " "))
            axes.invert_xaxis()

    return svg(draw, f"flatness-{'-'.join(points)}", (9.0, 3.3))
