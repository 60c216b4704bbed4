"""Parts that the benchmarks share: a process for each measurement, and the machine it ran on.

A cell names a function and its arguments, {"measure": "package.module:function", "with": {…}}; it
is run in a process of its own on all cores, one cell at a time.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ...evaluation.engines import Row
from ...store.files import to_json
from ..study import Cell, Conclusion, S, Study, in_fresh_process

CORES = 2


def setup() -> None:
    """JAX with one device a core; to be called before anything computes."""
    from ...train.mesh import use_cores

    use_cores(CORES)


def cell(measure: Callable[..., Any], repetition: int = 0, **arguments: Any) -> Cell:
    """The cell that calls `measure` with these arguments.

    - `repetition`: tells cells apart that are otherwise the same
    """
    name = f"{measure.__module__}:{measure.__name__}"
    return {"measure": name, "with": arguments, "repetition": repetition}


def run(cell: Cell) -> dict[str, Any]:
    load = os.getloadavg()[0]
    return {"load_before": load, "found": in_fresh_process(cell["measure"], **cell["with"])}


def benchmark(
    cells: Callable[[S], Any], report: Callable[[S, Sequence[Row]], Mapping[str, Any]]
) -> Study[S]:
    """The study of these cells; `report`: from settings and rows to plain values."""

    def conclude(settings: S, rows: Sequence[Row]) -> Conclusion:
        done = [row for row in rows if row.result is not None]
        content = machine(done) | dict(report(settings, done))
        return Conclusion(to_json(content, indent=2, ensure_ascii=False), content)

    return Study(cells, f"{__name__}:run", conclude, workers=1)


def found(rows: Sequence[Row], measure: Callable[..., Any]) -> list[tuple[dict[str, Any], Any]]:
    """(arguments, result) of the cells that call `measure`."""
    name = f"{measure.__module__}:{measure.__name__}"
    return [
        (row.cell["with"], row.result["found"])
        for row in rows
        if row.result is not None and row.cell["measure"] == name
    ]


def machine(rows: Sequence[Row]) -> dict[str, Any]:
    """The machine, versions and load of the first measurement."""
    if not rows:
        return {}
    where = rows[0].environment
    return {
        "date": where["date"],
        "commit": where["commit"],
        "cpu": where["processor"],
        "cores": CORES,
        "python": where["python"],
        "jax": where["versions"]["jax"],
        "torch": _version("torch"),
        "load_before": (rows[0].result or {})["load_before"],
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def peak_mib() -> int:
    """Peak resident memory of this process in MiB."""
    # Not ru_maxrss, which a child inherits from the process that forked it.
    return round(_status("VmHWM") / 1024)


def resident() -> float:
    """Resident memory of this process in MiB."""
    return _status("VmRSS") / 1024


def _status(name: str) -> int:
    """A number of this process in kB, as Linux tells it."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(name))
