"""The whole table: E1 to E8 of docs/theory.md, in float64 whatever the caller uses.

| | checks |
|---|---|
| `closed_form` | E1, the local free energy of a quadratic |
| `chain` | E2, its gradient, and the bias of short and plain chains |
| `temperature` | E3, wide and narrow wells at temperatures 1 and 1e-8 |
| `bounds` | E4, the inequalities B1 to B5 |
| `estimators` | E5, Hutchinson, Lanczos quadrature, eigenvalue, log-determinant |
| `carry_over` | E6, M1 to M3: flatness on training tasks and on new ones |
| `to_test_loss` | E7, M4 and M5: from there to the test loss |
| `promise` | E8, M6 and M7: a penalty in meta-training |
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.random as jr

from ...core.types import Key
from ...evaluation.engines import Row as CellRow
from ..study import Cell, Conclusion, Study, Verdict, markdown, records
from . import (
    bounds,
    carry_over,
    chain,
    closed_form,
    estimators,
    promise,
    temperature,
    to_test_loss,
)
from .row import Row
from .settings import Theory

PARTS = (
    closed_form,
    chain,
    temperature,
    bounds,
    estimators,
    carry_over,
    to_test_loss,
    promise,
)


def parts(key: Key) -> Iterator[tuple[str, list[Row]]]:
    """The title and the rows of each part, as soon as they are there."""
    for part, key_part in zip(PARTS, jr.split(key, len(PARTS)), strict=True):
        with jax.enable_x64(True):
            rows = part.rows(key_part)
        yield part.TITLE, rows


def cells(settings: Theory) -> Iterator[Cell]:
    for part in PARTS:
        yield {"part": part.__name__.rpartition(".")[2], "seed": settings.seed}


def run(cell: Cell) -> dict[str, Any]:
    """The checks of one part, with the keys that the whole table gives it."""
    keys = jr.split(jr.key(cell["seed"]), len(PARTS))
    for part, key in zip(PARTS, keys, strict=True):
        if part.__name__.endswith(f".{cell['part']}"):
            with jax.enable_x64(True):
                found = part.rows(key)
            return {"title": part.TITLE, "rows": [_plain(row) for row in found]}
    raise ValueError(f"There is no part {cell['part']!r} of the theory.")


def _plain(row: Row) -> dict[str, Any]:
    """The same with None for what is no number."""
    return {
        name: None if isinstance(x, float) and not math.isfinite(x) else x
        for name, x in row._asdict().items()
    }


def conclude(settings: Theory, rows: Sequence[CellRow]) -> Conclusion:
    found = records(rows)
    number = lambda x: "–" if x is None else f"{x:.5g}"
    head = ["", "statement", "computed", "", "expected", "error", "allowed", ""]
    lines = [
        [
            check["name"],
            check["statement"],
            number(check["computed"]),
            check["relation"],
            number(check["expected"]),
            number(check["error"]),
            number(check["tolerance"]),
            "" if check["holds"] else "FAIL",
        ]
        for check in found
    ]
    verdicts = [
        Verdict(
            f"{check['name']} {check['statement']}",
            check["holds"],
            f"error {number(check['error'])}, allowed {number(check['tolerance'])}",
        )
        for check in found
    ]
    return Conclusion(markdown(head, lines), {"checks": found}, verdicts)


STUDY = Study(cells, f"{__name__}:run", conclude)
