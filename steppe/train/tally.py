"""Statistics of the meta-steps since the last row of the log, and the row that is made of them.

They are part of a checkpoint, so that the first row after a resume is the one that an undisturbed
run would have written: it averages, and counts bad episodes, over the steps before the stop too.
"""

import math
import re
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, unquote

import jax
import numpy as np

from ..core.estimator import Stats
from ..store.manifest import CheckpointError, Header, complaint

COLUMNS = ("loss", "grad_norm", "grad_error", "nonfinite", "resets", "episodes", "inner_steps")
PARTS = "parts."  # before the name of a part of the objective, without quotation marks
NAME = re.compile(r"\.pending\['(.+)'\]")  # of a column in a checkpoint

Columns = dict[str, np.ndarray]  # statistic → its value at each meta-step, (n,)


class Tally:
    """Collects statistics from one row of the log to the next.

    - `before`: the columns that a checkpoint kept, {} if it was taken right after a row
    - `began`: when the run began, on the clock `time.perf_counter`
    """

    def __init__(self, before: Mapping, began: float):
        self._before: Columns = {name: np.asarray(column) for name, column in before.items()}
        self._began, self._mark = began, time.perf_counter()
        self._stats: list[Stats] = []

    def add(self, stats: Stats) -> None:
        """Take the statistics of one more meta-step, which are not waited for."""
        self._stats.append(stats)

    def columns(self) -> Columns:
        """All that is collected; {} right after a row."""
        if not self._stats:
            return self._before
        steps = [_flat(stats) for stats in jax.device_get(self._stats)]
        new = {name: np.stack([step[name] for step in steps]) for name in steps[0]}
        if not self._before:
            return new
        if self._before.keys() != new.keys():
            raise CheckpointError(
                f"The checkpoint keeps statistics of its latest meta-steps called "
                f"{', '.join(sorted(self._before))}, but they are called "
                f"{', '.join(sorted(new))} here; resume with the estimator and objective that "
                "the run was begun with, or from an older checkpoint."
            )
        return {name: np.concatenate([self._before[name], new[name]]) for name in new}

    def row(self, step: int) -> dict:
        """Average over the meta-steps since the last row."""
        columns, now = self.columns(), time.perf_counter()
        own = len(self._stats)  # of this process: its clock knows no others
        parts = {
            unquote(name.removeprefix(PARTS)): _mean(column)
            for name, column in columns.items()
            if name.startswith(PARTS)
        }
        known = parts | {"grad_error": _mean(columns["grad_error"])}
        return {
            "step": step,
            "time": now - self._began,
            "meta_loss": _mean(columns["loss"]),
            **{name: value for name, value in known.items() if not math.isnan(value)},
            "grad_norm": _mean(columns["grad_norm"]),
            **{name: int(columns[name].sum()) for name in ("nonfinite", "episodes", "resets")},
            "inner_steps_per_s": float(columns["inner_steps"][-own:].sum() / (now - self._mark)),
        }

    def begin(self) -> None:
        """Begin anew, after a row."""
        self._before, self._stats, self._mark = {}, [], time.perf_counter()


def kept(path: Path, header: Header) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of the columns in a checkpoint; {} if it has none, as those of 0.1 never do."""
    found = {
        match[1]: jax.ShapeDtypeStruct(tensor.shape, tensor.dtype)
        for name, tensor in header.tensors.items()
        if (match := NAME.fullmatch(name))
    }
    named = all(name in COLUMNS or name.startswith(PARTS) for name in found)
    shapes = {column.shape for column in found.values()}
    if found and not (named and {*COLUMNS} <= found.keys() and [*map(len, shapes)] == [1]):
        raise complaint(
            path,
            f"statistics of the latest meta-steps as {', '.join(sorted(found)[:8])}",
            f"a number at each meta-step of {', '.join(COLUMNS)}",
            "restore a copy or resume from an older checkpoint",
        )
    return found


def _flat(stats: Stats) -> dict[str, np.ndarray]:
    """The statistics of a meta-step by name; `part` is told by the parts."""
    parts = {PARTS + quote(name): np.asarray(value) for name, value in stats.parts.items()}
    return {name: np.asarray(getattr(stats, name)) for name in COLUMNS} | parts


def _mean(values: np.ndarray) -> float:
    """Over the meta-steps that have the number: a part not drawn is NaN."""
    known = values[~np.isnan(values)]
    return float(np.mean(known)) if len(known) else math.nan
