"""Figures of the curvature at one point, for light and dark pages alike."""

from typing import TYPE_CHECKING

import numpy as np

from ..evaluation.curvature_record import CurvatureRecord
from .plots import DASHES, INK, SERIES, plain_log, svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FLOOR = 1e-6  # of its maximum: the lowest density drawn
LEVELS = 11


def density(found: CurvatureRecord) -> str:
    """Spectral density on a logarithmic scale in a band of one standard error; λ_max marked."""

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        grid, rho, error = (
            np.array(x, float)
            for x in (found.density.grid, found.density.values, found.density.error)
        )
        seen = rho[np.isfinite(rho) & (rho > 0)]
        axes.set_xlabel("eigenvalue λ of the Hessian")
        axes.set_ylabel("density, integral 1")
        if not len(seen):
            return
        floor = FLOOR * seen.max()
        up = np.maximum(rho, floor)
        error = np.nan_to_num(error)
        axes.fill_between(
            grid, np.maximum(rho - error, floor), np.maximum(rho + error, floor),
            color=SERIES[1], alpha=0.22, lw=0,
        )  # fmt: skip
        axes.fill_between(grid, floor, up, color=SERIES[1], alpha=0.10, lw=0)
        axes.plot(grid, up, color=SERIES[1], lw=1.6)
        axes.set_yscale("log")
        axes.set_ylim(floor, 3 * seen.max())
        plain_log(axes.yaxis)
        axes.margins(x=0.04)
        axes.axvline(0, color=INK, lw=0.6, alpha=0.4)
        top = next((r.value for r in found.rows if r.name == "top_eigenvalue"), None)
        if top is not None:
            axes.plot([top], [floor], marker="^", ms=9, color=SERIES[0], clip_on=False, zorder=5)
            height = np.interp(top, grid, up)
            axes.annotate(
                "largest", (top, height), xytext=(0, 5), textcoords="offset points", ha="center",
                color=INK,
            )  # fmt: skip

    return svg(draw, f"density-{found.task}-{found.optimizer}", (9.6, 3.2))


def slices(found: CurvatureRecord) -> str:
    """Loss along each line: training, validation, and the parabola of slope and curvature."""

    def draw(figure: "Figure") -> None:
        panels = figure.subplots(1, len(found.slices), squeeze=False)[0]
        for axes, line in zip(panels, found.slices, strict=True):
            a, train, valid = (np.array(x, float) for x in (line.offsets, line.train, line.valid))
            centre = train[len(train) // 2]
            slope, bend = (np.nan if x is None else x for x in (line.slope, line.curvature))
            axes.plot(
                a, centre + slope * a + bend * a**2 / 2, color=INK, lw=1.0, alpha=0.6,
                ls=DASHES[3], label="parabola of slope and curvature",
            )  # fmt: skip
            axes.plot(a, valid, color=SERIES[1], lw=1.6, ls=DASHES[1], label="validation loss")
            axes.plot(a, train, color=SERIES[0], lw=2.2, label="training loss")
            axes.plot([0], [centre], "o", ms=6, color=SERIES[0])
            shown = np.concatenate([train, valid])
            shown = shown[np.isfinite(shown)]
            if len(shown) and np.ptp(shown) > 0:
                room = 0.08 * np.ptp(shown)
                axes.set_ylim(shown.min() - room, shown.max() + room)
            axes.set_title(line.name, fontsize=10)
            axes.set_xlabel("distance along it")
        panels[0].set_ylabel("loss")

    return svg(draw, f"slices-{found.task}-{found.optimizer}", (9.6, 3.4))


def landscape(found: CurvatureRecord) -> str:
    """Level lines of the training loss over the plane of two random directions."""

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        x = np.array(found.plane.offsets, float)
        z = np.array(found.plane.values, float).T  # the first direction to the right
        finite = z[np.isfinite(z)]
        axes.set_aspect("equal")
        axes.set_xlabel("first direction")
        axes.set_ylabel("second direction")
        if len(finite) and np.ptp(finite) > 0:
            levels = heights(finite)
            z = np.ma.masked_invalid(z)
            fills = [(SERIES[1], alpha) for alpha in np.linspace(0.02, 0.6, len(levels) - 1)]
            axes.contourf(x, x, z, levels, colors=fills)
            lines = axes.contour(x, x, z, levels[1:-1], colors=INK, linewidths=0.7, alpha=0.7)
            axes.clabel(lines, fmt=lambda v: f"{v:.3g}", fontsize=8, inline_spacing=3)
        axes.plot([0], [0], "o", ms=7, color=SERIES[0], zorder=5)

    return svg(draw, f"landscape-{found.task}-{found.optimizer}", (5.6, 5.0))


def heights(z: np.ndarray) -> np.ndarray:
    """Levels that are dense near the bottom: distances from it grow as squares."""
    low, high = float(z.min()), float(z.max())
    return low + (high - low) * np.linspace(0, 1, LEVELS) ** 2
