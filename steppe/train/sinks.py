"""Sinks, which take the rows of a run. A sink has `write(row)`, `say(text)` and `close()`.

A row is a flat dict: step, time (seconds of this run), then named numbers.
"""

import contextlib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NamedTuple, Protocol

from ..store.files import to_json
from ..store.lock import exclusive
from ..store.untrusted import (
    Between,
    FileError,
    NonFinite,
    Source,
    checked,
    parse_json,
    read_lines,
)

Row = Mapping[str, float | int | str]

# Far more than a run writes
LINE = 1 << 20  # bytes
COLUMNS = 1000
MOST_ROWS = 1_000_000
MOST_BYTES = 1 << 30

NUMBER = Annotated[float, NonFinite]
NUMBER_OR_WORD = Annotated[float, NonFinite] | str
NUMBERS = {  # columns that readers compute with
    "time", "meta_loss", "active", "flatness", "grad_error", "grad_norm", "nonfinite", "episodes",
    "inner_steps_per_s", "valid_loss", "stage", "valid_horizon", "flatness_share",
    "adapted_gain",
}  # fmt: skip


class Sink(Protocol):
    def write(self, row: Row) -> None: ...
    def say(self, text: str) -> None: ...
    def close(self) -> None: ...


def flatness(row: Row) -> float | None:
    """The measure that `Regularized` took, on average over the points where it was active."""
    active = float(row.get("active", 0))
    return float(row["flatness"]) / active if active > 0 and "flatness" in row else None


class JSONL:
    """Rows as lines of a file, each by itself a JSON document; null stands for NaN and infinities.

    Opened for a file that is there, it goes on with it, behind the last complete line. It never
    puts another file in its place, so that several that write at a time lose nothing.

    - `step`: drop the rows after this meta-step, which a resumed run writes again. None: keep all
    """

    def __init__(self, path: str | os.PathLike, *, step: int | None = None):
        self.path = Path(path)
        self._file = self.path.open("ab")
        try:
            with exclusive(self._file):
                self._cut(step)
        except BaseException:
            self._file.close()
            raise

    def _cut(self, step: int | None) -> None:
        log = read_log(self.path)
        stop = log.stop
        if step is not None:
            after = (at for at, row in zip(log.starts, log.rows, strict=True) if row["step"] > step)
            stop = next(after, stop)
        if stop < self._file.tell():
            self._file.truncate(stop)
            self.sync()
        elif log.unended:
            self._file.write(b"\n")
            self.sync()

    def write(self, row: Row) -> None:
        line = to_json(dict(row)) + "\n"
        with exclusive(self._file):
            self._file.write(line.encode())
            self._file.flush()

    def say(self, text: str) -> None:
        pass

    def sync(self) -> None:
        """Put the rows on disk, where they outlast a power cut."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class Log(NamedTuple):
    """A file of metrics as it is found."""

    rows: list[dict]
    starts: list[int]  # byte at which the line of each row begins
    stop: int  # byte after the last row
    cut: bool  # whether a line follows that was not finished
    unended: bool  # whether the last row lacks its newline


def read_rows(path: str | os.PathLike) -> list[dict]:
    """The rows of a metrics file; none if it is absent. A last line cut short is left out.

    What was not finite is NaN. Raises FileError at any other line that is no row.
    """
    return read_log(path).rows


def read_log(path: str | os.PathLike) -> Log:
    """The rows of a metrics file and where they are; see `read_rows`."""
    rows, starts, stop, line = [], [], 0, b"\n"
    if not Path(path).exists():
        return Log(rows, starts, stop, False, False)
    source = Source(os.fspath(path), "mend or remove that line")
    lines = read_lines(path, MOST_BYTES, source, longest=LINE)
    with contextlib.closing(lines):  # pyright: ignore[reportArgumentType]
        for number, line in lines:
            try:
                rows.append(_row(line, source.part(f"line {number}")))
            except FileError:
                if next(lines, None) is not None:
                    raise
                return Log(rows, starts, stop, True, False)
            starts.append(stop)
            stop += len(line)
            if len(rows) > MOST_ROWS:
                raise source.refuse(f"more than {MOST_ROWS} rows", "fewer")
    return Log(rows, starts, stop, False, not line.endswith(b"\n"))


def _row(line: bytes, source: Source) -> dict:
    """The row in a line; NaN for null."""
    row = checked(parse_json(line, source, values=COLUMNS, nonfinite=True), dict, source)
    checked(row.get("step"), Annotated[int, Between(0, 2**53)], source, "step")
    for name, value in row.items():
        if value is not None:
            checked(value, NUMBER if name in NUMBERS else NUMBER_OR_WORD, source, name)
    return {name: math.nan if value is None else value for name, value in row.items()}


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
        if "adapted_gain" in row:
            numbers += f" · gain of adaptation {row['adapted_gain']:.3g}"
        numbers += f" · {row['inner_steps_per_s']:,.0f} inner steps/s"
        if row["nonfinite"]:
            numbers += f" · [red]{row['nonfinite']} non-finite episodes[/red]"
        self._progress.update(self._task, completed=int(row["step"]), numbers=numbers)

    def say(self, text: str) -> None:
        self._progress.console.print(text)

    def close(self) -> None:
        self._progress.stop()


class TensorBoard:
    """Rows as scalars `meta/…` in an event folder; numbers that are not finite are left out.

    - `step`: the meta-step from which a resumed run goes on, so that later points are dropped
    """

    def __init__(self, folder: str | os.PathLike, *, step: int = 0):
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise ImportError(
                'TensorBoard logs need tensorboardX: pip install "steppe[tensorboard]".'
            ) from None
        self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def write(self, row: Row) -> None:
        for name, value in row.items():
            if name != "step" and not isinstance(value, str) and math.isfinite(value):
                self._writer.add_scalar(f"meta/{name}", value, int(row["step"]))

    def say(self, text: str) -> None:
        pass

    def close(self) -> None:
        self._writer.close()
