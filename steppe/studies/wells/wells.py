"""Does a flatness regularizer reach an optimizer, and with the right sign?

    steppe reproduce wells --scale small

An optimizer of two numbers is meta-trained on pairs of wells, with and without a measure of
flatness in the objective (`experiment.py`). What came out, and what was tried before: `README.md`
beside this file.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...evaluation.engines import Row
from ...evaluation.stats import interval, paired
from ..study import Cell, Conclusion, Record, Study, markdown, records
from . import settings as sizes
from .experiment import STRENGTHS, experiment, plain_share
from .picture import Pair, picture

PLAIN_RUNS = 4000  # of plain descent, without noise


def cells(settings: sizes.Wells) -> Iterator[Cell]:
    """One a dimension and measure: strengths and meta-seeds are lanes of one program."""
    how = {name: getattr(settings, name) for name in ("seeds", "meta_steps", "episodes", "tests")}
    for n in settings.dimensions:
        for short in settings.measures:
            name = sizes.MEASURES[short]
            strengths = [0.0, *(settings.strengths or STRENGTHS[name])]
            yield {"n": n, "measure": name, "strengths": strengths, **how}
    for n in settings.dimensions:
        yield {"n": n, "measure": "none", "runs": PLAIN_RUNS}


def run(cell: Cell) -> dict[str, Any]:
    if cell["measure"] == "none":
        return {"wide": plain_share(cell["n"], cell["runs"])}
    sides = ("seeds", "meta_steps", "episodes", "tests")
    how = {name: cell[name] for name in sides}
    runs = experiment(cell["measure"], cell["n"], cell["strengths"], **how)
    return {"rows": [dataclasses.asdict(run) for run in runs]}


def conclude(settings: sizes.Wells, rows: Sequence[Row]) -> Conclusion:
    found = records(rows)
    trained = [record for record in found if record["measure"] != "none"]
    plain = [
        f"Plain descent ends wide in {record['wide']:.3f} of runs for n = {record['n']}."
        for record in found
        if record["measure"] == "none"
    ]
    return Conclusion(
        text="\n\n".join([table(trained), *plain]),
        content={"records": found},
        files={"wells.png": lambda path: picture(pairs(trained), path)},
    )


def pairs(runs: list[Record]) -> list[Pair]:
    """(n, measure, strength, records, those of strength 0 in the same order of seeds)"""
    found = []
    for n in sorted({r["n"] for r in runs}):
        for name in STRENGTHS:
            own = [r for r in runs if r["n"] == n and r["measure"] == name]
            by = lambda s, own=own: sorted(
                (r for r in own if r["strength"] == s), key=lambda r: r["seed"]
            )
            found += [
                (n, name, s, by(s), by(0.0)) for s in sorted({r["strength"] for r in own}) if s
            ]
    return found


def table(runs: list[Record]) -> str:
    """Shares with 95 % intervals over meta-seeds, and differences seed by seed."""
    head = ["n", "measure", "λ", "wide at λ = 0", "wide", "difference, 95 %", "σ", "loss"]
    shares = lambda own: [r["wide"] for r in own]
    mean = lambda own, name: float(np.mean([r[name] for r in own]))
    lines = []
    for n, name, s, ours, plain in pairs(runs):
        d = paired(shares(ours), shares(plain), lower_is_better=False).difference
        lines.append(
            [
                str(n),
                name,
                f"{s:g}",
                f"{interval(shares(plain)).mean:.3f}",
                f"{interval(shares(ours)).mean:.3f}",
                f"{d.mean:+.3f} [{d.low:+.3f}, {d.high:+.3f}]",
                f"{mean(plain, 'noise'):.3f} → {mean(ours, 'noise'):.3f}",
                f"{mean(ours, 'loss'):.1e}",
            ]
        )
    return markdown(head, lines)


STUDY = Study(cells, f"{__name__}:run", conclude)
