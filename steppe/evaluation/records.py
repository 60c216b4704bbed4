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
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from ..store.files import write_atomically

FORMAT = 1
DIGITS = 6  # significant digits kept of a measured number

Number = float | None  # None: not finite


@dataclasses.dataclass(frozen=True)
class Record:
    """One optimizer on one task at one horizon, over several seeds.

    Seeds mean the same starts and the same batches for every optimizer that was run with
    the same key, so equal places in two records are pairs.
    """

    task: str
    optimizer: str  # as shown
    learned: bool
    hyper: dict[str, Any]  # {"kind", "hyper"} of `store.describe`, {} if it has no description
    horizon: int  # inner steps
    seeds: list[int]
    points: list[int]  # inner steps after which `metrics` were taken: 0 … horizon
    metrics: dict[str, list[list[Number]]]  # "train_loss", "test_accuracy", …: (seeds, points)
    curve_steps: list[float]  # updates made before the losses of a bin, on average
    curve: list[list[Number]]  # minibatch training loss, mean over each bin: (seeds, bins)
    diverged: list[int]  # seeds that ended with a loss that is not finite
    params: int
    ms_per_step: float  # one episode alone
    gradients_per_step: int | None  # None: their number varies
    state_bytes_per_param: float
    tuning: dict[str, Any]  # {} if nothing was tuned, else `tune.Tuning` as a dict

    def final(self, metric: str) -> list[Number]:
        """The last value of a metric, seed by seed."""
        if metric not in self.metrics:
            raise ValueError(
                f"The record of {self.optimizer} on {self.task} has no metric {metric!r}; "
                f"use one of {', '.join(self.metrics)}."
            )
        return [row[-1] for row in self.metrics[metric]]


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
    """The records of a file, and the environment they were measured in."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"{path} does not exist; give the records.jsonl of a finished evaluation."
        )
    lines = [_line(path, i, text) for i, text in enumerate(path.read_text().splitlines(), start=1)]
    if not lines or lines[0].get("steppe") != "records":
        raise ValueError(f"{path} is no file of records: its first line does not say so.")
    if lines[0].get("format") != FORMAT:
        raise ValueError(
            f"{path} has the format {lines[0].get('format')}, this steppe reads {FORMAT}; "
            "evaluate again, or read it with the steppe that wrote it."
        )
    records = [_record(path, i, line) for i, line in enumerate(lines[1:], start=2)]
    return records, lines[0].get("environment", {})


def _line(path: Path, i: int, text: str) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}, line {i}: not JSON ({error.msg}); the file is cut or edited, evaluate again."
        ) from None
    if not isinstance(line, dict):
        raise ValueError(f"{path}, line {i}: found {type(line).__name__}, expected a record.")
    return line


def _record(path: Path, i: int, line: dict[str, Any]) -> Record:
    hints = get_type_hints(Record)
    wrong = sorted(set(hints) ^ set(line))
    if wrong:
        raise ValueError(
            f"{path}, line {i}: "
            + "; ".join(f"{'lacks' if name in hints else 'unknown'} {name!r}" for name in wrong)
            + ". The file was not written by this steppe; evaluate again."
        )
    for name, hint in hints.items():
        if not isinstance(line[name], _plain(hint)):
            raise ValueError(
                f"{path}, line {i}: {name!r} is a {type(line[name]).__name__}, expected {hint}."
            )
    record = Record(**line)
    shape = (len(record.seeds), len(record.points))
    for name, rows in [*record.metrics.items(), ("curve", record.curve)]:
        columns = len(record.curve_steps) if name == "curve" else shape[1]
        if len(rows) != shape[0] or any(len(row) != columns for row in rows):
            raise ValueError(
                f"{path}, line {i}: {name!r} must have {shape[0]} rows of {columns} numbers, one "
                "row a seed."
            )
    return record


def _plain(hint: Any) -> type | tuple[type, ...]:
    if isinstance(hint, types.UnionType):
        return get_args(hint)
    return (int, float) if hint is float else get_origin(hint) or hint
