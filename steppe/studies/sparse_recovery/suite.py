"""Sparse recovery as suites S1 to S6 of the benchmark: Figure 5, small and at full size."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from ...evaluation.engines import Row
from ..expectations import judge, read_expectations
from ..study import Cell, Conclusion, Record, Study, Verdict, records, reproduced
from ..suite import Cost, Line, Panel, Suite, own
from . import sparse_recovery as study
from .expectations import EXPECTED, FULL, SMALL
from .methods import CLASSICAL, OMP
from .settings import MORE, PANELS, SCALES, SparseRecoverySizes

LETTER = {
    "noiseless": "S1", "noisy": "S2", "large": "S3", "large-noisy": "S4", "correlated": "S5",
    "conditioned": "S5",
}  # fmt: skip
LETTERS = ("S1", "S2", "S3", "S4", "S5", "S6")
SIZES = {"S1": SMALL, "S2": SMALL, "S3": FULL, "S4": FULL, "S5": SMALL}
PUBLISHED = {"noiseless": FULL, "noisy": FULL, "correlated": FULL, "large": (512, 1024, 16)}  # S6
FIGURE = {
    "noiseless": "Figure 5 (a)", "noisy": "Figure 5 (b)",
    "correlated": "in place of Figure 5 (c)", "conditioned": "in place of Figure 5 (c)",
    "large": "Figure 5 (a)", "large-noisy": "Figure 5 (b)",
}  # fmt: skip
DRAWN = (
    "HyperLISTA", "TISTA", "ALISTA", "LISTA-CPSS", "LAMP", "LISTA", "AMP", "FISTA", "GLISTA",
    "NA-ALISTA", "LISTA-CP", "LFISTA", "ISTA", "StepLISTA",
)  # fmt: skip
# Multiplications of an iteration in units of a product with A: a matrix n × n has n / rows of it.
PRODUCTS = {"LISTA": (0, 1), "LFISTA": (0, 2), "HyperLISTA": (4, 0)}  # products, matrices n × n

Sizes = tuple[SparseRecoverySizes, ...]

_all = (*PANELS, *MORE)
_small = dataclasses.replace(SCALES["small"], panels=_all, certified=0)
SCALES_OF_SUITE: dict[str, Sizes] = {
    "tiny": (dataclasses.replace(SCALES["tiny"], certified=0),),
    "small": (_small,),
    "paper": (_small, dataclasses.replace(SCALES["paper"], every=True)),
}


def letter(cell: Cell) -> str:
    """S6 has the sizes that were published, where those are not the sizes of S3 and S4."""
    name, n = cell["panel"], cell["sizes"][1]
    small = name not in study.LARGE
    return "S6" if n >= 1024 or (small and n >= FULL[1]) else LETTER[name]


def cells(settings: Sizes) -> Iterator[Cell]:
    for sizes in settings:
        for cell in study.cells(sizes):
            yield {"suite": letter(cell), **cell}


def verdicts(rows: Sequence[Row]) -> list[Verdict]:
    """Those of the study, then those of `expectations.toml`."""
    smaller = [r for r in records(rows) if r["suite"] != "S6"]
    said = [
        dataclasses.replace(verdict, suite=LETTER[expected.panel], protocol="corrected")
        for expected, verdict in zip(EXPECTED, study.verdicts(smaller, every=True), strict=True)
    ]
    path = Path(__file__).with_name("expectations.toml")
    return said + judge(read_expectations(path), quantities(rows))


def quantities(rows: Sequence[Row]) -> dict[str, float]:
    """LETTER.panel.METHOD.mean, .aggregate (dB) and .recovered (a share), after the last layer.

    Means over seeds, of the sizes that expectations are about.
    """
    found = records(rows)
    numbers = {}
    for name, method, suite in dict.fromkeys(_place(r) for r in found):
        of = [r for r in found if _place(r) == (name, method, suite)]
        if all(tuple(r["sizes"]) == _expected(suite, name) for r in of):
            for what, key in (("mean", "mean_db"), ("aggregate", "aggregate_db")):
                numbers[f"{suite}.{name}.{method}.{what}"] = study.last(of, name, method, key)
            numbers[f"{suite}.{name}.{method}.recovered"] = study.last(of, name, method, "success")
    return numbers


def _place(record: Record) -> tuple[str, str, str]:
    return record["panel"], record["method"], record["suite"]


def _expected(suite: str, panel: str) -> tuple[int, int, int] | None:
    return PUBLISHED.get(panel) if suite == "S6" else SIZES[suite]


def panels(rows: Sequence[Row]) -> list[Panel]:
    """Mean errors in dB after each layer, a figure for each panel of each suite."""
    found = records(rows)
    return [
        _panel([r for r in found if (r["suite"], r["panel"]) == (suite, name)], suite, name)
        for suite in LETTERS
        for name in _all
        if any((r["suite"], r["panel"]) == (suite, name) for r in found)
    ]


def _panel(found: Sequence[Record], suite: str, name: str) -> Panel:
    lines = [_line(study.of(found, name, method)) for method in DRAWN]
    where = FIGURE[name] if suite != "S6" or name != "large" else "Figure 5 (d)"
    omp = study.of(found, name, OMP)
    note = ""
    if omp:
        share = np.mean([r["errors"][-1]["success"] for r in omp])
        error = study.last(found, name, OMP, "mean_db")
        note = (
            f"OMP, which the figure does not have: {error:.0f} dB, {100 * share:.0f} % recovered."
        )
    return Panel(
        suite,
        f"{where}: {study.title(found, name)}",
        "iterations",
        "error, dB",
        tuple(line for line in lines if line is not None),
        note=note,
    )


def _line(own: Sequence[Record]) -> Line | None:
    if not own:
        return None
    at = tuple(float(k) for k in range(len(own[0]["errors"])))

    def over_seeds(what: str) -> tuple[float | None, ...]:
        values = [[error.get(what) for error in r["errors"]] for r in own]
        return tuple(
            None if None in column else float(np.mean(column))
            for column in zip(*values, strict=True)
        )

    low, high = over_seeds("low_db"), over_seeds("high_db")
    banded = any(x is not None for x in low)
    return Line(
        own[0]["method"], at, over_seeds("mean_db"), low if banded else None,
        high if banded else None,
    )  # fmt: skip


def costs(rows: Sequence[Row]) -> list[Cost]:
    """A row a solver and suite; OMP's time is that of a whole problem."""
    found, rows_of = records(rows), []
    for name, method, suite in dict.fromkeys(_place(r) for r in found):
        own = [r for r in found if _place(r) == (name, method, suite)]
        with_A, squares = PRODUCTS.get(method, (2, 0))
        m, n, _ = own[0]["sizes"]
        kind: Literal["by hand", "learned"] = "by hand" if method in CLASSICAL else "learned"
        rows_of.append(
            Cost(
                suite=suite,
                method=f"{method} ({name})" if suite in ("S5", "S6") else method,
                kind=kind,
                parameters=own[0]["numbers"],
                products=with_A + squares * n / m,
                training_s=float(np.mean([r["training"] for r in own])),
                step_us=None if method == OMP else 1e6 * float(np.mean([r["cost"] for r in own])),
            )
        )
    return rows_of


def conclude(settings: Sizes, rows: Sequence[Row]) -> Conclusion:
    said = verdicts(own(rows, LETTERS))
    return Conclusion(reproduced(said), verdicts=said)


SUITE = Suite(
    LETTERS,
    "sparse recovery",
    Study(cells, study.STUDY.work, conclude, keep_programs=True),
    SCALES_OF_SUITE,
    quantities,
    panels,
    costs,
)
