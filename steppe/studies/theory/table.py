"""The whole table: E1 to E5 of docs/theory.md, in float64 whatever the caller uses.

| | checks |
|---|---|
| `closed_form` | E1, the local free energy of a quadratic |
| `chain` | E2, its gradient, and the bias of short and plain chains |
| `temperature` | E3, wide and narrow wells at temperatures 1 and 1e-8 |
| `bounds` | E4, the inequalities B1 to B5 |
| `estimators` | E5, Hutchinson, Lanczos quadrature, eigenvalue, log-determinant |
"""

from collections.abc import Iterator

import jax
import jax.random as jr

from ...core.types import Key
from . import bounds, chain, closed_form, estimators, temperature
from .row import Row

PARTS = (closed_form, chain, temperature, bounds, estimators)


def parts(key: Key) -> Iterator[tuple[str, list[Row]]]:
    """The title and the rows of each part, as soon as they are there."""
    for part, key_part in zip(PARTS, jr.split(key, len(PARTS)), strict=True):
        with jax.enable_x64(True):
            rows = part.rows(key_part)
        yield part.TITLE, rows
