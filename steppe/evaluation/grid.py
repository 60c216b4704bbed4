"""Grids: many cells of work, and the file to go on from.

    line 1       {"steppe": "grid", "format": 1, "work": "package.module:function"}
    line 2 …     one `Row` each, its environment by a key
    in between   {"environment": key, "is": {…}}, once, before the first row measured in it

This process alone writes, a line as each cell ends. A killed run loses the cells under way and no
other: called again, `run_grid` cuts off a line half written and does what has no result.
Files are locked by `flock`, so POSIX only.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

from ..core.messages import at_least
from ..store.untrusted import FileError, Length, Source, checked, parse_json, read_bytes
from .engines import Cell, Row, cell_id, function, plain, processes, ray_tasks, serial

FORMAT = 1
LARGEST = 2**26  # bytes of a file


@dataclasses.dataclass(frozen=True)
class Grid:
    """The rows of the cells that were asked for, in that order."""

    done: list[Row]
    failed: list[Row]


def run_grid(
    cells: Iterable[Mapping[str, Any]],
    work: str,
    *,
    out: str | os.PathLike,
    engine: Literal["serial", "processes", "ray"] = "serial",
    workers: int = 1,
    retries: int = 2,
    say: Callable[[str], None] = print,
) -> Grid:
    """Do the cells that have no result in `out`; at most `workers` are under way at a time.

    A cell that failed before is done again. `retries`: how often a cell whose worker died is
    given to another.
    """
    engines = {"serial": serial, "processes": processes, "ray": ray_tasks}
    if engine not in engines:
        raise ValueError(f"engine must be one of {', '.join(engines)}, got {engine!r}.")
    at_least(0, "run_grid", workers=workers, retries=retries)
    if workers < 1:
        raise ValueError(
            f"run_grid: workers must be at least 1, retries at least 0, got {workers} and "
            f"{retries}."
        )
    wanted = _distinct(cells)
    function(work)  # a wrong name is one error here, not one for each cell

    with _locked(Path(out)) as file:
        rows = _recover(Path(out), file, work)
        known = {_key(row.environment): row.environment for row in rows.values()}
        todo = [cell for i, cell in wanted.items() if i not in rows or rows[i].error is not None]
        before = len(wanted) - len(todo)
        say(f"{len(wanted)} cells, {before} of them done before.")
        if todo:
            ended = engines[engine](todo, work, workers, retries)
            with contextlib.closing(ended):  # stops the workers, whatever happens here
                for k, row in enumerate(ended, start=before + 1):
                    rows[row.id] = _append(file, row, known)
                    how = f"{row.seconds:.1f} s" if row.error is None else f"failed: {row.error}"
                    say(f"{k}/{len(wanted)} {row.id} {how}")

    found = [rows[i] for i in wanted]
    return Grid([r for r in found if r.error is None], [r for r in found if r.error is not None])


def read_rows(path: str | os.PathLike) -> list[Row]:
    """The last row of every cell in a file of `run_grid`, also while it is being written.

    Raises FileError, which is a ValueError.
    """
    source = _source(path)
    data = read_bytes(path, LARGEST, source)
    return list(_parse(source, data[: data.rfind(b"\n") + 1])[1].values())


def to_parquet(out: str | os.PathLike, path: str | os.PathLike) -> None:
    """Write the rows of `out` as a table: columns "id", "error", "cell.lr", "result.loss", …"""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ImportError('to_parquet needs pyarrow: pip install "steppe[parquet]"') from None

    flat = [_flat(dataclasses.asdict(row)) for row in read_rows(out)]
    columns = {}
    for name in dict.fromkeys(name for row in flat for name in row):
        try:
            columns[name] = pyarrow.array([row.get(name) for row in flat])
        except (pyarrow.ArrowException, OverflowError, TypeError, ValueError) as error:
            raise ValueError(
                f"{out}: the values of {name!r} do not fit one column ({error}); give it one "
                "kind of value in all cells."
            ) from None
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


# The file.


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[BinaryIO]:
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(
                f"{out} is being written by another run; wait for its end, or give another file."
            ) from None
        yield file


def _recover(out: Path, file: BinaryIO, work: str) -> dict[str, Row]:
    """The rows of a file, after cutting off a line half written."""
    header = _encoded({"steppe": "grid", "format": FORMAT, "work": work})
    file.seek(0)
    data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise _source(out).refuse(f"more than {LARGEST} bytes", "less")
    whole = data.rfind(b"\n") + 1
    if not whole and header.startswith(data):
        file.truncate(0)
        file.write(header)
        return {}
    theirs, rows = _parse(_source(out), data[:whole])
    if theirs != work:
        raise ValueError(f"{out} holds results of {theirs}, not of {work}; give another file.")
    file.truncate(whole)
    return rows


def _append(file: BinaryIO, row: Row, known: dict[str, dict[str, Any]]) -> Row:
    """Write the row, with its environment if that is new, and wait for the disk."""
    key = _key(row.environment)
    lines = [{**dataclasses.asdict(row), "environment": key}]
    if row.environment and key not in known:
        lines.insert(0, {"environment": key, "is": row.environment})
    file.write(b"".join(map(_encoded, lines)))
    file.flush()
    os.fsync(file.fileno())
    return dataclasses.replace(row, environment=known.setdefault(key, row.environment))


@dataclasses.dataclass(frozen=True)
class _Head:
    steppe: Literal["grid"]
    format: Literal[1]
    work: Annotated[str, Length(500)]


@dataclasses.dataclass(frozen=True)
class _Line:
    """A row as it is written; `environment` is the key of one."""

    id: str
    cell: Cell
    result: dict[str, Any] | None
    error: str | None
    seconds: float | None
    attempts: int
    environment: str


def _parse(source: Source, data: bytes) -> tuple[str, dict[str, Row]]:
    """The work of a file of whole lines, and the last row of every cell."""
    rows: dict[str, Row] = {}
    known: dict[str, dict[str, Any]] = {"": {}}
    header, *lines = data.split(b"\n")[:-1] or [b""]
    try:
        head = checked(parse_json(header, source), _Head, source)
    except FileError:
        raise FileError(
            f"{source.name}, line 1: no grid of format {FORMAT}; give another file."
        ) from None
    for i, text in enumerate(lines, start=2):
        at = source.part(f"line {i}")
        line = parse_json(text, at)
        if isinstance(line, dict) and line.keys() == {"environment", "is"}:
            known[checked(line["environment"], str, at)] = checked(line["is"], dict[str, Any], at)
            continue
        row = checked(line, _Line, at)
        if row.environment not in known or row.id != cell_id(row.cell):
            raise at.refuse("the digest of another cell or environment", "its own")
        if (row.result is None) == (row.error is None):
            raise at.refuse("a cell that both failed and did not", "a result or an error")
        rows[row.id] = Row(**{**vars(row), "environment": known[row.environment]})
    return head.work, rows


def _source(path: str | os.PathLike) -> Source:
    return Source(str(path), "the file was edited: take the line out and its cell is done again")


def _encoded(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line, allow_nan=False).encode() + b"\n"


def _key(surroundings: Mapping[str, Any]) -> str:
    """Eight digits for an environment but its date, "" for none."""
    lasting = {name: value for name, value in surroundings.items() if name != "date"}
    return cell_id(lasting)[:8] if lasting else ""


def _distinct(cells: Iterable[Mapping[str, Any]]) -> dict[str, Cell]:
    found: dict[str, Cell] = {}
    for cell in cells:
        if cell_id(cell) in found:
            raise ValueError(f"The cell {cell} is there twice; give a repetition its own seed.")
        found[cell_id(cell)] = plain(cell, "The cell")
    return found


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} → {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
