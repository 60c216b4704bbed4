"""Record of curvature where an inner training ends: plain values, a table and sentences.

JSON has no word for infinity or NaN: a number that is not finite is None here.
"""

import dataclasses
import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any

from ..store.untrusted import Length, Source, checked
from .compare import figure
from .records import Count, Name, Number

SOURCE = Source("Not a record of curvature", "give the JSON of `steppe curvature`")
NEEDED = {"top_eigenvalue", "top_modulus", "trace", "frobenius", "entropy"}  # for `sentences`
Line = Annotated[list[Number], Length(10_000, 1)]
LARGE_ERROR = 0.3  # of the temperature: beyond, an importance-sampled entropy is not to be trusted


@dataclasses.dataclass(frozen=True)
class Row:
    """One number."""

    name: Name
    symbol: Name
    value: Number  # None: not finite
    error: Number  # standard error, or for eigenvalues the residual; None: exact or unknown
    relative: Number  # value · ‖θ‖^power; None: scales as no power
    how: Name


@dataclasses.dataclass(frozen=True)
class Density:
    """ρ(λ) on a grid: each eigenvalue a Gaussian of width σ, ∫ρ = 1."""

    grid: Line
    values: Line
    error: Line
    sigma: Number


@dataclasses.dataclass(frozen=True)
class Slice:
    """The loss along a line, and what a parabola of this curvature would be."""

    name: Name
    offsets: Line
    train: Line
    valid: Line
    slope: Number
    curvature: Number


@dataclasses.dataclass(frozen=True)
class Plane:
    """Training loss over θ + a d₁ + b d₂: row i belongs to a = offsets[i]."""

    offsets: Line
    values: list[Line]


@dataclasses.dataclass(frozen=True)
class CurvatureRecord:
    """All that was measured at one point, as plain values."""

    task: Name
    optimizer: Name  # as shown
    steps: Count
    params: Count
    examples: Count  # the measured batch; 0: the loss has no examples
    dtype: str
    gamma: float
    temperature: float
    rho: float
    k: Count
    probes: Count
    start_loss: Number  # before training, on the same batch
    below: Count  # probes that met an eigenvalue ≤ −γ
    rows: Annotated[list[Row], Length(100)]
    density: Density
    slices: Annotated[list[Slice], Length(20, 1)]
    plane: Plane


def from_plain(plain: Mapping[str, Any], source: Source = SOURCE) -> CurvatureRecord:
    """The record of a dictionary that `dataclasses.asdict` made, e.g. from a JSON file.

    `source`: the file, for messages. Raises its error for what is no such dictionary.
    """
    known = {field.name for field in dataclasses.fields(CurvatureRecord)}
    table = checked(plain, dict[str, Any], source)
    found = checked({n: x for n, x in table.items() if n in known}, CurvatureRecord, source)
    if missing := NEEDED - {row.name for row in found.rows}:
        raise source.refuse(f"no row {min(missing)!r}", "one")
    lines = [found.density.grid, found.density.values, found.density.error]
    equal = [lines, *([s.offsets, s.train, s.valid] for s in found.slices)]
    equal += [[found.plane.offsets, found.plane.values, *found.plane.values]]
    if any(len({len(line) for line in lines}) > 1 for lines in equal):
        raise source.refuse("lines of unequal length", "equal ones")
    return found


def text_table(found: CurvatureRecord) -> str:
    """The numbers as plain text."""
    head = ["", "value", "± error", "× ‖θ‖²", "how"]
    lines = [
        head,
        *(
            [
                row.symbol,
                figure(row.value, 4),
                "" if row.error is None else figure(row.error, 2),
                "" if row.relative is None else figure(row.relative),
                row.how,
            ]
            for row in found.rows
        ),
    ]
    wide = [max(width(line[i]) for line in lines) for i in range(len(head))]
    pad = lambda line: "  ".join(
        [
            line[0] + " " * (wide[0] - width(line[0])),
            *(line[i].rjust(wide[i]) for i in (1, 2, 3)),
            line[4],
        ]
    ).rstrip()
    title = (
        f"{found.task}, {found.optimizer}, {found.steps:,} steps, {found.params:,} parameters"
        + (f", {found.examples:,} examples" if found.examples else "")
    )
    return "\n".join([title, "─" * (sum(wide) + 8), *map(pad, lines)])


def width(text: str) -> int:
    """Columns of a terminal: an accent on a letter takes none."""
    return sum(not unicodedata.combining(letter) for letter in text)


def sentences(found: CurvatureRecord) -> list[str]:
    """Findings and reservations, a sentence each."""
    value = {row.name: row.value for row in found.rows}
    error = {row.name: row.error for row in found.rows}
    top, modulus = value["top_eigenvalue"], value["top_modulus"]
    said = []
    if top is None or modulus is None:
        return ["The Hessian is not finite at this point: nothing can be said of its curvature."]
    trace, frobenius = value["trace"], value["frobenius"]
    if modulus < 0:
        said.append(
            f"Negative curvature dominates: the eigenvalue of largest modulus is {modulus:.4g}, "
            f"the largest is {top:.4g}."
        )
    elif trace and trace > 0 and top > 0:
        said.append(
            f"The largest eigenvalue, {top:.4g}, makes up {100 * top / trace:.0f} % of the trace."
        )
    if frobenius and trace and trace > 0:
        said.append(
            f"Curvature is spread over about {trace**2 / frobenius:.3g} directions, (tr H)²/tr H²."
        )
    if found.below:
        said.append(
            f"{found.below} of {found.probes} probes met an eigenvalue ≤ −γ, so that "
            "ln det(I + H/γ) has no value; take a larger γ."
        )
    spread = error["entropy"]
    if spread is not None and spread > LARGE_ERROR * found.temperature > 0:
        said.append(
            f"The sampled −G̃ is not to be trusted: its standard error, {spread:.2g}, is not "
            f"small against the temperature {found.temperature:.2g}; take a larger γ."
        )
    return said
