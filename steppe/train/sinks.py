"""Sinks, which take the rows of a run. A sink has `write(row)`, `say(text)` and `close()`.

A row is a flat dict: step, time (seconds of this run), then named numbers.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from ..store.files import write_atomically

Row = Mapping[str, float | int | str]


class Sink(Protocol):
    def write(self, row: Row) -> None: ...
    def say(self, text: str) -> None: ...
    def close(self) -> None: ...


def flatness(row: Row) -> float | None:
    """The measure that `Regularized` took, on average over the points where it was active."""
    active = float(row.get("active", 0))
    return float(row["flatness"]) / active if active > 0 and "flatness" in row else None


class JSONL:
    """Rows as lines of a file. Opening it again for a resumed run drops rows after `step`."""

    def __init__(self, path: str | os.PathLike, *, step: int = 0):
        self.path = Path(path)
        rows = [row for row in read_rows(self.path) if row["step"] <= step]
        write_atomically(self.path, *(json.dumps(row) + "\n" for row in rows))
        self._file = self.path.open("a")

    def write(self, row: Row) -> None:
        self._file.write(json.dumps(dict(row)) + "\n")
        self._file.flush()

    def say(self, text: str) -> None:
        pass

    def close(self) -> None:
        self._file.close()


def read_rows(path: str | os.PathLike) -> list[dict]:
    """The rows of a metrics file; none if it is absent. A last line cut short is left out."""
    path = Path(path)
    if not path.exists():
        return []
    rows = []
    for number, line in enumerate(lines := path.read_text().splitlines(), start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            if number < len(lines):
                raise ValueError(
                    f"{path}, line {number}: not JSON, expected one row of metrics a line. "
                    "Mend or remove that line."
                ) from None
    return rows


class Console:
    """One live line: meta-loss, inner steps a second, time left, episodes left out."""

    def __init__(self, total: int):
        from rich.console import Console as Terminal
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TextColumn("left"),
            TimeRemainingColumn(compact=True),
            console=Terminal(stderr=True),
        )
        self._task = self._progress.add_task("meta-training", total=total, numbers="compiling…")
        self._progress.start()

    def write(self, row: Row) -> None:
        if "meta_loss" not in row:
            return
        numbers = f"meta-loss {row['meta_loss']:+.4f}"
        if (flat := flatness(row)) is not None:
            numbers += f" · flatness {flat:.4g}"
        numbers += f" · {row['inner_steps_per_s']:,.0f} inner steps/s"
        if row["nonfinite"]:
            numbers += f" · [red]{row['nonfinite']} non-finite episodes[/red]"
        self._progress.update(self._task, completed=int(row["step"]), numbers=numbers)

    def say(self, text: str) -> None:
        self._progress.console.print(text)

    def close(self) -> None:
        self._progress.stop()


class TensorBoard:
    """Rows as scalars `meta/…` in an event folder."""

    def __init__(self, folder: str | os.PathLike):
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise ImportError(
                'TensorBoard logs need tensorboardX: pip install "steppe[tensorboard]".'
            ) from None
        self._writer = SummaryWriter(str(folder))

    def write(self, row: Row) -> None:
        for name, value in row.items():
            if name != "step" and not isinstance(value, str):
                self._writer.add_scalar(f"meta/{name}", value, int(row["step"]))

    def say(self, text: str) -> None:
        pass

    def close(self) -> None:
        self._writer.close()
