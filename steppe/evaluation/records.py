"""Records: the numbers of an evaluation as plain values, and a file of them.

    line 1       {"steppe": "records", "format": 1, "environment": {…}}
    line 2 …     one `Record` each

JSON has no word for infinity or NaN: a number that is not finite is None here and
`null` in the file, and the seeds it happened to are listed in `Record.diverged`.
"""

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from ..store.files import write_atomically
from ..store.untrusted import (
    Between,
    FileError,
    Length,
    Source,
    checked,
    parse_json,
    read_lines,
    shown,
)

FORMAT = 1
DIGITS = 6  # significant digits kept of a measured number
LARGEST = 2**26  # bytes of a file

Number = float | None  # None: not finite
Count = Annotated[int, Between(0, 2**53)]
Name = Annotated[str, Length(500)]
# What readers ask for. "task": the number was tuned on that one; "of": what it is; "setting":
# others that were found with it. Older records have none of the three.
TUNING = {"best": float, "trials": Count, "edge": Name, "split": Name}
TUNING |= {"task": Name, "of": Name, "setting": dict[Name, float | bool]}
OPTIONAL = {"edge": "", "split": "", "task": "", "of": "learning rate", "setting": {}}


@dataclasses.dataclass(frozen=True)
class Record:
    """One optimizer on one task at one horizon, over several seeds.

    Seeds mean the same starts and the same batches for every optimizer that was run with
    the same key, so equal places in two records are pairs.
    """

    task: Name
    optimizer: Name  # as shown
    learned: bool
    hyper: dict[str, Any]  # {"kind", "hyper"} of `store.describe`, {} if it has no description
    horizon: Count  # inner steps
    seeds: Annotated[list[int], Length(100_000, 1)]
    points: Annotated[
        list[Count], Length(100_000, 1)
    ]  # inner steps after which `metrics` were taken: 0 … horizon
    metrics: dict[Name, list[list[Number]]]  # "train_loss", "test_accuracy", …: (seeds, points)
    curve_steps: list[float]  # updates made before the losses of a bin, on average
    curve: list[list[Number]]  # minibatch training loss, mean over each bin: (seeds, bins)
    diverged: list[int]  # seeds that ended with a loss that is not finite
    params: Count
    ms_per_step: Annotated[float, Between(1e-12, 1e12)]  # one episode alone
    gradients_per_step: Count | None  # None: their number varies
    state_bytes_per_param: Annotated[float, Between(0, 1e12)]
    tuning: dict[str, Any]  # {} if nothing was tuned, else `Tuning` as a dict, and OPTIONAL
    comparison: Name = ""  # who had trials on the task: "0-0", "k-k"; "": the baselines alone

    @property
    def trials(self) -> int:
        """Trainings on the task itself that went into choosing its numbers."""
        return 0 if self.tuning.get("task") else self.tuning.get("trials", 0)

    def final(self, metric: str) -> list[Number]:
        """The last value of a metric, seed by seed."""
        return [row[-1] for row in self._rows(metric)]

    def stopped(self, metric: str) -> list[Number]:
        """The value of a metric where the validation loss is least, seed by seed.

        What early stopping keeps, looking at `points`. None where no validation loss is finite.
        """
        rows = zip(self._rows(metric), self._rows("valid_loss"), strict=True)
        least = [(row, _least(losses)) for row, losses in rows]
        return [None if k is None else row[k] for row, k in least]

    def _rows(self, metric: str) -> list[list[Number]]:
        if metric not in self.metrics:
            raise ValueError(
                f"The record of {self.optimizer} on {self.task} has no metric {metric!r}; "
                f"use one of {', '.join(self.metrics)}."
            )
        return self.metrics[metric]


def _least(losses: list[Number]) -> int | None:
    known = [(x, k) for k, x in enumerate(losses) if x is not None]
    return min(known)[1] if known else None


def number(x: float) -> Number:
    """A finite number with six significant digits, or None."""
    return float(f"{float(x):.{DIGITS}g}") if math.isfinite(x) else None


def write_records(
    path: str | os.PathLike, records: Iterable[Record], environment: Mapping[str, Any]
) -> None:
    """Write a file of records, or change nothing."""
    header = {"steppe": "records", "format": FORMAT, "environment": dict(environment)}
    lines = [header, *(dataclasses.asdict(record) for record in records)]
    write_atomically(path, *(json.dumps(line, allow_nan=False) + "\n" for line in lines))


def read_records(path: str | os.PathLike) -> tuple[list[Record], dict[str, Any]]:
    """The records of a file, and the environment they were measured in.

    Raises FileError, which is a ValueError, at a line that is none, and FileNotFoundError.
    """
    if not Path(path).exists():
        raise FileNotFoundError(
            f"{path} does not exist; give the records.jsonl of a finished evaluation."
        )
    source = Source(str(path), "the file is cut or edited, evaluate again")
    lines = read_lines(path, LARGEST, source, longest=LARGEST)
    header = parse_json(next(lines, (1, b"{}"))[1], source.part("line 1"))
    if not isinstance(header, dict) or header.get("steppe") != "records":
        raise FileError(f"{path} is no file of records: its first line does not say so.")
    if header.get("format") != FORMAT:
        raise FileError(
            f"{path} has the format {shown(header.get('format'))}, this steppe reads {FORMAT}; "
            "evaluate again, or read it with the steppe that wrote it."
        )
    environment = checked(header.get("environment", {}), dict[str, Any], source, "environment")
    return [_record(text, source.part(f"line {i}")) for i, text in lines], environment


def _record(text: bytes, source: Source) -> Record:
    record = checked(parse_json(text, source), Record, source)
    for name, hint in TUNING.items() if record.tuning else ():
        checked(record.tuning.get(name, OPTIONAL.get(name)), hint, source, f"tuning.{name}")
    seeds, last = len(record.seeds), record.points[-1]
    if list(record.points) != sorted(set(record.points)) or last != record.horizon:
        raise source.refuse(f"points up to {last}", f"rising ones, up to {record.horizon}")
    if "train_loss" not in record.metrics:
        raise source.refuse("no train_loss among the metrics", "it there")
    for name, rows in [*record.metrics.items(), ("curve", record.curve)]:
        columns = len(record.curve_steps if name == "curve" else record.points)
        if len(rows) != seeds or any(len(row) != columns for row in rows):
            raise source.refuse(
                f"{shown(name)} of another shape", f"{seeds} rows of {columns} numbers, one a seed"
            )
    return record
