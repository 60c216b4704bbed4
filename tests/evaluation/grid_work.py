"""Work for the grids of test_grid.py: without JAX, so that workers start quickly."""

import mmap
import os
import signal
import time
from pathlib import Path

from steppe.train.stopping import Terminated  # standard library only


def square(cell: dict) -> dict:
    return {"square": cell["x"] ** 2, "pair": (cell["x"], "±")}


def root(cell: dict) -> dict:
    if cell["x"] < 0:
        raise ValueError(f"no root of {cell['x']}")
    return {"root": cell["x"] ** 0.5}


def leaves(cell: dict) -> dict:
    raise SystemExit("enough")


def infinite(cell: dict) -> dict:
    return {"loss": float("inf")}


def nothing(cell: dict) -> None:
    return None


def greedy(cell: dict) -> dict:
    """Takes its cell apart."""
    return {"x": cell.pop("x")}


def counted(cell: dict) -> dict:
    """Leaves a mark, and dies while there are at most `deaths` of them."""
    marks = Path(cell["folder"]) / str(cell["x"])
    with marks.open("a") as file:
        file.write("|")
    if len(marks.read_text()) <= cell.get("deaths", 0):
        os.kill(os.getpid(), signal.SIGKILL)
    return {"x": cell["x"]}


def cores(cell: dict) -> dict:
    time.sleep(0.3)  # so that no worker takes both cells
    return {
        "cores": sorted(os.sched_getaffinity(0)),
        "preallocate": os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE"),
    }


KEPT = []


def maps(cell: dict) -> dict:
    """Takes and keeps 0.6 of the memory maps that a process may have."""
    limit = int(Path("/proc/sys/vm/max_map_count").read_text())
    KEPT.extend(mmap.mmap(-1, mmap.PAGESIZE) for _ in range(int(0.6 * limit)))
    return {"pid": os.getpid()}


def pid(cell: dict) -> dict:
    return {"pid": os.getpid()}


def sleeps(cell: dict) -> dict:
    (Path(cell["folder"]) / "pid").write_text(str(os.getpid()))
    time.sleep(60)
    return {}


def told_to_end(cell: dict) -> dict:
    """SIGTERM comes in the second cell."""
    if cell["x"] < 0:
        raise Terminated
    return {"x": cell["x"]}
