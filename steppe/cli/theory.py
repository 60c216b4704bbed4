"""`steppe theory`: the checks E1 to E8 of docs/theory.md, run here and now, as a table."""

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..core.settings import check, setting
from ..zoo.recipe import SEEDS
from .parse import document, make

if TYPE_CHECKING:
    from rich.table import Table

    from ..studies.theory.row import Row

WIDTH = 100  # columns, where there is no terminal to say
NUMBERS = {"computed": 10, "": 1, "expected": 10, "error": 6, "allowed": 7}  # and their widths


@dataclasses.dataclass(frozen=True, kw_only=True)
class Theory:
    """Check the theory of flatness and of new tasks by numbers, here and now (docs/theory.md).

    Every line compares two ways to one number, or the two sides of an inequality, in double
    precision; random ones may be off by 4 standard errors. Exit code 1 if a line does not hold.
    """

    seed: int = setting(0, "seed of everything random", least=0, most=SEEDS - 1)
    json: bool = setting(False, "print the lines as one JSON document")
    quiet: bool = setting(False, "print only what does not hold")

    def __post_init__(self):
        check(self)


def run(values: dict) -> int:
    options = make(Theory, values)
    import jax.random as jr

    from ..studies.theory.table import parts

    found = parts(jr.key(options.seed))
    if options.json:
        rows = [row for _, part in found for row in part]
        count = sum(row.holds for row in rows)
        document(
            {"holds": count == len(rows), "seed": options.seed, "rows": [r._asdict() for r in rows]}
        )
        return 0 if count == len(rows) else 1
    return show(found, quiet=options.quiet)


def show(found: Iterable[tuple[str, list["Row"]]], *, quiet: bool) -> int:
    """Print each part as soon as it is there; the exit code."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    held = total = 0
    for title, rows in found:
        wrong = [row for row in rows if not row.holds]
        held, total = held + len(rows) - len(wrong), total + len(rows)
        if not quiet or wrong:
            console.print(table(title, wrong if quiet else rows), "")
    if not quiet:
        console.print(f"[bold]{held} of {total} hold[/bold]")
    return 0 if held == total else 1


def table(title: str, rows: list["Row"]) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    shown.add_column(rows[0].name.partition(".")[0], width=5)
    shown.add_column(title, width=48)
    for name, width in NUMBERS.items():
        shown.add_column(name, width=width, justify="right")
    shown.add_column("", width=4)
    for row in rows:
        numbers = (number(row.computed), row.relation, number(row.expected))
        errors = (f"{row.error:.0e}", f"{row.tolerance:.0e}")
        words = (row.name, row.statement, *numbers, *errors, "" if row.holds else "FAIL")
        shown.add_row(*map(Text, words), style="" if row.holds else "bold red")
    return shown


def number(x: float) -> str:
    """Five digits.

    >>> number(0.0), number(3.14159265), number(1.0819e-08)
    ('0', '3.1416', '1.0819e-08')
    """
    return f"{x:.5g}"
