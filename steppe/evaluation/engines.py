"""Engines: ways to do many cells of work. Each yields the rows of its cells as they end.

    serial       in this process
    processes    in processes of our own, each on its share of the cores
    ray          as tasks of Ray, on this machine or a cluster

A cell says in plain JSON what is to be done, and `work` names an importable pure function from
a cell to a plain result: both mean the same in this process, in another, on another machine.
Workers start from nothing, so what configures JAX is in the cell or in the environment variables.

A cell fails in two ways. It raises: it would raise again, so it is reported at once. Its worker
dies (killed, out of memory): that may be chance, so it is tried again after all other cells.
A worker that has come near to a limit of the system after a cell gives way to a new one.

`concurrent.futures` is not used: there the death of one process ends them all.
"""

import collections
import contextlib
import dataclasses
import functools
import hashlib
import importlib
import json
import logging
import multiprocessing
import os
import signal
import sys
import textwrap
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from ..core.allocator import keep_freed
from ..train.environment import environment
from ..train.stopping import Terminated

LONGEST = 600  # characters of an error kept: XLA prints whole programs
THREADS = "NPROC"  # the variable that XLA takes the size of its pool of threads from
PATIENCE = 10.0  # seconds a worker without work has to end

Cell = dict[str, Any]
Waiting = collections.deque[tuple[Cell, int]]  # with the number of the attempt


@dataclasses.dataclass(frozen=True)
class Row:
    """Outcome of one cell."""

    id: str
    cell: Cell
    result: dict[str, Any] | None  # None: failed
    error: str | None  # None: done
    seconds: float | None  # of the last attempt; None if its worker died
    attempts: int
    # Of the worker, and its "share" of the cores; "threads" and "flags" of XLA where they were
    # chosen. {} if it died
    environment: dict[str, Any]


def cell_id(cell: Mapping[str, Any]) -> str:
    """Sixteen hex digits of the SHA-256 of the cell as canonical JSON.

    >>> cell_id({"seed": 1, "lr": 0.1}) == cell_id({"lr": 0.1, "seed": 1})
    True
    """
    content = plain(cell, "The cell")
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def serial(todo: list[Cell], work: str, workers: int, retries: int) -> Generator[Row, None, None]:
    for cell in todo:
        yield _attempt(work, cell, 1)


def processes(
    todo: list[Cell], work: str, workers: int, retries: int
) -> Generator[Row, None, None]:
    waiting: Waiting = collections.deque((cell, 1) for cell in todo)
    busy: dict[Connection, tuple[_Worker, Cell, int]] = {}

    def employ(worker: _Worker) -> None:
        cell, attempt = waiting.popleft()
        busy[worker.pipe] = (worker, cell, attempt)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # then `wait` tells
            worker.pipe.send((cell, attempt))

    try:
        for share in _shares(min(workers, len(todo))):
            employ(_Worker.start(work, share))
        while busy:
            for pipe in wait(list(busy)):
                worker, cell, attempt = busy[pipe]  # pyright: ignore[reportArgumentType]
                try:
                    row, goes_on = worker.pipe.recv()
                except (EOFError, OSError):
                    how = worker.stop()
                    row, goes_on = _after_death(waiting, cell, attempt, retries, how), False
                if not (waiting and goes_on):
                    worker.stop()
                    del busy[worker.pipe]
                if waiting:
                    employ(worker if goes_on else _Worker.start(work, worker.share))
                if row is not None:
                    yield row
    finally:
        for worker, _, _ in busy.values():
            worker.process.kill()
            worker.stop()


def ray_tasks(
    todo: list[Cell], work: str, workers: int, retries: int
) -> Generator[Row, None, None]:
    try:
        import ray
        from ray.exceptions import RayError, RayTaskError
    except ImportError:
        raise ImportError('The engine "ray" needs Ray: pip install "steppe[ray]"') from None

    waiting: Waiting = collections.deque((cell, 1) for cell in todo)
    with cluster(workers):
        has = ray.cluster_resources()
        gpus = int(1000 * min(1.0, has.get("GPU", 0) / workers)) / 1000  # without, Ray hides them
        cores = int(os.environ.get(THREADS) or max(1, int(has["CPU"]) // workers))
        # We count the retries: Ray's own do not end for a worker that is out of memory.
        task = ray.remote(max_retries=0, num_cpus=1, num_gpus=gpus)(_attempt_on_ray)
        flying = {}
        try:
            while waiting or flying:
                while waiting and len(flying) < workers:
                    cell, attempt = waiting.popleft()
                    flying[task.remote(work, cell, attempt, sys.path, cores)] = (cell, attempt)
                for ref in ray.wait(list(flying))[0]:
                    cell, attempt = flying.pop(ref)
                    try:
                        row = ray.get(ref)
                    except RayTaskError:
                        raise  # `_attempt` never raises: steppe cannot be imported over there
                    except RayError as error:
                        row = _after_death(waiting, cell, attempt, retries, type(error).__name__)
                    if row is not None:
                        yield row
        finally:
            for ref in flying:
                ray.cancel(ref, force=True)


@contextlib.contextmanager
def cluster(workers: int) -> Iterator[None]:
    """Ray as the caller started it, else the one at RAY_ADDRESS, else one that ends with the block.

    Several grids inside one block share the cluster; a grid outside makes its own.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    with warnings.catch_warnings():
        # JAX warns of forks. Ray's execute another program at once, which is safe.
        warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called")
        if os.environ.get("RAY_ADDRESS"):
            ray.init(logging_level=logging.WARNING)
        else:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no report to its makers
            ray.init(
                address="local",
                num_cpus=workers,
                include_dashboard=False,
                logging_level=logging.WARNING,
            )
    try:
        yield
    finally:
        ray.shutdown()


# In a worker.


def _attempt(work: str, cell: Cell, attempt: int) -> Row:
    result, error, start = None, None, time.perf_counter()
    try:
        found = function(work)(plain(cell, "The cell"))  # a copy, to do with as it likes
        result = plain(found, f"What {work} returned")
    except Terminated:  # whoever asked this process to end meant all cells
        raise
    except (Exception, SystemExit) as exception:
        error = _sentence(exception)
    seconds = round(time.perf_counter() - start, 3)
    return Row(cell_id(cell), cell, result, error, seconds, attempt, _surroundings())


def _attempt_on_ray(work: str, cell: Cell, attempt: int, path: list[str], cores: int) -> Row:
    sys.path += [place for place in path if place not in sys.path]
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault(THREADS, str(cores))
    keep_freed()
    return _attempt(work, cell, attempt)


@functools.cache
def _surroundings() -> dict[str, Any]:
    """Asked for after the first cell, which may have settings for JAX to make before it starts.

    With what the last digits of a sum depend on: threads of XLA, and what it is told to do.
    """
    share = len(usable_cores())
    threads, flags = os.environ.get(THREADS), os.environ.get("XLA_FLAGS")
    told = {"threads": int(threads)} if threads and threads.isdigit() else {}
    return {**environment(), "share": share, **told, **({"flags": flags} if flags else {})}


def _serve(pipe: Connection, work: str) -> None:
    """Cells in, rows out, each with whether this process may take another; until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    keep_freed()
    with contextlib.suppress(EOFError):
        while True:
            cell, attempt = pipe.recv()
            pipe.send((_attempt(work, cell, attempt), not _crowded()))


def _crowded() -> bool:
    """Whether this process holds more than half of the memory maps that Linux lets it have.

    Each compiled program takes some, for as long as JAX keeps it. A worker that met some thirty
    kinds of cells of a study of flatness ended at the limit, where LLVM is out of memory.
    """
    try:
        limit = int(Path("/proc/sys/vm/max_map_count").read_text())
        with Path("/proc/self/maps").open("rb") as maps:
            return 2 * sum(1 for _ in maps) > limit
    except (OSError, ValueError):  # not on Linux
        return False


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


@dataclasses.dataclass(frozen=True)
class _Worker:
    """A process of our own, on its share of the cores."""

    process: SpawnProcess
    pipe: Connection
    share: list[int]

    @staticmethod
    def start(work: str, share: list[int]) -> "_Worker":
        context = multiprocessing.get_context("spawn")
        pipe, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, work))
        with _pinned(share):
            process.start()
        theirs.close()  # so that the pipe ends with the worker
        return _Worker(process, pipe, share)

    def stop(self) -> str:
        """Wait for its end and say how it came about."""
        self.pipe.close()
        self.process.join(PATIENCE)
        self.process.kill()
        self.process.join()
        code = self.process.exitcode or 0
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


@contextlib.contextmanager
def _pinned(share: list[int]) -> Iterator[None]:
    """Pin these cores for the processes started inside: XLA counts them before any code of ours."""
    if not hasattr(os, "sched_setaffinity"):  # macOS
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, share)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread of XLA in each process that is started inside, and in this one before JAX starts.

    The order in which XLA for CPU adds up a sum depends on how many threads it has, and with
    several of them also on what else the machine does: sums differ in the last digits, which a
    meta-training makes differences of any size of. One thread adds up in one order. NPROC is left
    as it is where somebody has set it.
    """
    if THREADS in os.environ:
        yield
        return
    os.environ[THREADS] = "1"
    try:
        yield
    finally:
        os.environ.pop(THREADS, None)


def usable_cores() -> list[int]:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _shares(workers: int) -> list[list[int]]:
    """Disjoint if there is a core for each, else one core each, in turn."""
    cores = usable_cores()
    n = len(cores)
    if workers > n:
        return [[cores[i % n]] for i in range(workers)]
    return [cores[i * n // workers : (i + 1) * n // workers] for i in range(workers)]


def _after_death(waiting: Waiting, cell: Cell, attempt: int, retries: int, how: str) -> Row | None:
    """Put the cell at the end of the queue, or give it up."""
    if attempt <= retries:
        waiting.append((cell, attempt + 1))
        return None
    error = (
        f"Its worker died {attempt} times, last of: {how}. If that was memory, take fewer workers."
    )
    return Row(cell_id(cell), cell, None, error, None, attempt, {})


def plain(value: Any, what: str) -> dict[str, Any]:
    """A copy as JSON gives it back: tuples are lists then."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{what} must be a mapping, got {type(value).__name__}.")
    try:
        return json.loads(json.dumps(dict(value), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{what} is not plain JSON ({error}); give numbers as int and float, and None for one "
            "that is not finite."
        ) from None


def function(work: str) -> Callable[[Cell], Any]:
    module, _, name = work.partition(":")
    found = getattr(importlib.import_module(module), name, None) if module and name else None
    if not callable(found):
        raise ValueError(f'work must name a function as "package.module:function", got {work!r}.')
    return found


def _sentence(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return textwrap.shorten(f"{type(error).__name__}: {error}", LONGEST) + place
