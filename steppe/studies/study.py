"""A study: one question asked of the library, in a form that anyone can ask again.

    study = Study(
        cells=lambda seeds: ({"lr": lr, "seed": s} for lr in (0.1, 1.0) for s in range(seeds)),
        work="my_module:train",         # from a cell to a plain result, e.g. {"loss": 0.3}
        conclude=lambda seeds, rows: Conclusion(means(rows, by="lr", of="loss")),
    )
    conclusion, grid = reproduce(study, 3, "runs/rates")

A cell is one unit of work in plain JSON: what is done, at which sizes, with which seed. Cells that
have a result in the folder are not done again, so that a study which was stopped goes on.

    rows.jsonl      one line a cell, with the environment that it was measured in
    table.txt       the conclusion for a reader
    findings.json   the same as plain values
"""

import contextlib
import dataclasses
import functools
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from ..core.messages import brief
from ..evaluation.engines import Row, cell_id, one_thread, usable_cores
from ..evaluation.grid import LARGEST, Grid, read_rows, run_grid
from ..evaluation.stats import interval
from ..store.untrusted import FileError, Source, checked, parse_json, read_lines

S = TypeVar("S")  # settings of a study: its sizes, a frozen dataclass in all studies here
Cell = dict[str, Any]
Record = dict[str, Any]  # of one cell: its settings and its results side by side
Engine = Literal["serial", "processes", "ray"]
Protocol = Literal["published", "corrected"]

ROWS, TABLE, FINDINGS = "rows.jsonl", "table.txt", "findings.json"
NOT_CLAIMED, NOT_MEASURED = "not claimed", "not measured"
SCALES = ("tiny", "small", "paper")  # minutes; what README reports; the sizes of the papers


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A claim, whether it holds here, and the reason.

    - `expected`: whether it was expected to hold; False for an open question, whose answer is
      "yes" or "no" and never "not reproduced"
    - `suite`: letter and number of its suite in the benchmark
    - `protocol`: "published": methods as they were published; "corrected": what was wrong mended
    - `unjudged`: why it is neither reproduced nor not: "not claimed" here, or "not measured"
    - `reason`: why it does not hold, where that was found
    """

    claim: str
    holds: bool
    because: str
    expected: bool = True
    suite: str = ""
    protocol: Protocol | Literal[""] = ""
    unjudged: Literal["", "not claimed", "not measured"] = ""
    reason: str = ""

    @property
    def answer(self) -> str:
        return "yes" if self.holds else "no"

    @property
    def word(self) -> str:
        """The answer to an open question, or how an expectation came out."""
        if self.unjudged:
            return self.unjudged
        if not self.expected:
            return self.answer
        return "reproduced" if self.holds else "not reproduced"


@dataclasses.dataclass(frozen=True)
class Conclusion:
    """The answer of a study, drawn from its records alone.

    - `text`: tables for a reader
    - `content`: the same as plain values
    - `verdicts`: the claims, each with whether it holds
    - `files`: further files by name, e.g. a picture, each with a function that writes it to a path
    """

    text: str
    content: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    verdicts: Sequence[Verdict] = ()
    files: Mapping[str, Callable[[Path], object]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Study(Generic[S]):
    """A question: its cells, how one is done, and what follows from all.

    - `cells`: from the settings to the units of work
    - `work`: "package.module:function" from a cell to a plain result
    - `conclude`: from the settings and the rows of all cells to the answer
    - `cost`: time and memory in words, from the settings; "" if it is not known
    - `workers`: cells under way at most; 1 where time is measured, None for one a core. Then each
      worker computes with one thread, so that its numbers do not depend on how many there are
    - `keep_programs`: whether compiled programs are kept in the folder, for workers to share
    - `further`: from the settings and the rows so far to the cells that follow from them, such as
      those of a grid that was too short; asked until it names none that is new
    """

    cells: Callable[[S], Iterable[Cell]]
    work: str
    conclude: Callable[[S, Sequence[Row]], Conclusion]
    cost: Callable[[S], str] = lambda settings: ""
    workers: int | None = None
    keep_programs: bool = False
    further: Callable[[S, Sequence[Row]], Iterable[Cell]] = lambda settings, rows: ()


def reproduce(
    study: Study[S],
    settings: S,
    folder: str | os.PathLike,
    *,
    engine: Engine = "processes",
    workers: int | None = None,
    say: Callable[[str], None] = print,
) -> tuple[Conclusion, Grid]:
    """Do the cells that `folder` has no result of, and write there what follows from all.

    - `settings`: the sizes, as `study.cells` takes them
    - `folder`: holds the rows, the tables and the findings
    - `engine`: one process, several, or a Ray cluster
    - `workers`: cells under way at a time (default: one a core, or what the study allows)
    - `say`: takes notes on progress
    """
    folder = Path(folder)
    if study.keep_programs:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str((folder / ".compiled").resolve()))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
    most = study.workers or len(usable_cores())
    run = functools.partial(
        run_grid,
        work=study.work,
        out=folder / ROWS,
        engine=engine,
        workers=workers or most,
        say=say,
    )
    with contextlib.nullcontext() if study.workers else one_thread():
        grid = run(study.cells(settings))
        while True:
            rows = read(folder / ROWS)
            asked = {row.id for row in (*grid.done, *grid.failed)}
            new = [cell for cell in study.further(settings, rows) if cell_id(cell) not in asked]
            if not new:
                break
            more = run(new)
            grid = Grid([*grid.done, *more.done], [*grid.failed, *more.failed])
    conclusion = study.conclude(settings, rows)
    write(conclusion, folder)
    return conclusion, grid


def conclude(study: Study[S], settings: S, path: str | os.PathLike) -> Conclusion:
    """The conclusion of a file of records, anyone's. Raises FileError if they are of other work."""
    rows = read(path)
    try:
        return study.conclude(settings, rows)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise FileError(
            f"{path} has no records that this study can use ({type(error).__name__}: "
            f"{brief(str(error))}); give those of the study, at the scale that they are of."
        ) from error


def write(conclusion: Conclusion, folder: str | os.PathLike) -> list[Path]:
    """Write tables, findings and further files to a folder; their paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    findings = json.dumps(content(conclusion), indent=1, ensure_ascii=False, allow_nan=False)
    (folder / TABLE).write_text(conclusion.text + "\n", encoding="utf-8")
    (folder / FINDINGS).write_text(findings + "\n", encoding="utf-8")
    for name, write_to in conclusion.files.items():
        write_to(folder / name)
    return [folder / name for name in (TABLE, FINDINGS, *conclusion.files)]


def content(conclusion: Conclusion) -> dict[str, Any]:
    """The conclusion as plain values."""
    verdicts = [plain(verdict) for verdict in conclusion.verdicts]
    return {**conclusion.content, **({"verdicts": verdicts} if verdicts else {})}


def plain(verdict: Verdict) -> dict[str, Any]:
    """The verdict as plain values, without what is empty."""
    return {name: x for name, x in dataclasses.asdict(verdict).items() if x != ""}


# Records.


def read(path: str | os.PathLike) -> list[Row]:
    """The rows of a file of records: a grid, or one plain JSON object a line."""
    source = Source(str(path), "give a file with one JSON object a line")
    lines = [line for _, line in read_lines(path, LARGEST, source, longest=LARGEST)]
    if lines and lines[0].startswith(b'{"steppe"'):
        return read_rows(path)
    tables = (
        checked(parse_json(line, source, nonfinite=True), dict[str, Any], source) for line in lines
    )
    return [Row("", {}, table, None, table.get("seconds"), 1, {}) for table in tables]


def records(rows: Iterable[Row]) -> list[Record]:
    """Settings and results of the cells that were done, side by side.

    A cell whose result has "rows" gives one record for each of them.
    """
    found: list[Record] = []
    for row in rows:
        if row.result is not None:
            parts = row.result.get("rows", [row.result])
            if not isinstance(parts, list) or not all(isinstance(part, Mapping) for part in parts):
                raise ValueError(f"The result of cell {row.id} has `rows` that are no tables.")
            found += [{**row.cell, **part} for part in parts]
    return found


# Tables.


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown.

    >>> print(markdown(["a", "b"], [["1", "2"]]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    rule = "|" + "---|" * len(head)
    return "\n".join([_line(head), rule, *map(_line, rows)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def sentences(verdicts: Iterable[Verdict]) -> str:
    """One line a verdict.

    >>> print(sentences([Verdict("It helps", False, "+0.1 [-0.2, +0.4]")]))
    It helps: no (+0.1 [-0.2, +0.4])
    """
    return "\n".join(f"{v.claim}: {v.answer} ({v.because})" for v in verdicts)


def reproduced(verdicts: Iterable[Verdict]) -> str:
    """One line a verdict on a published or expected number, or on an open question.

    >>> print(reproduced([Verdict("error below 1", True, "0.3")]))
    reproduced      error below 1 (0.3)
    """
    reason = lambda v: f"; the reason: {v.reason}" if v.reason else ""
    return "\n".join(f"{v.word:14}  {v.claim} ({v.because}{reason(v)})" for v in verdicts)


def means(rows: Iterable[Row], *, by: str, of: str) -> str:
    """A table of the mean of one result with its 95 % interval (Student's t).

    - `by`: the setting that tells the lines of the table apart
    - `of`: the result whose mean is taken; a value that is missing or None is counted apart
    """
    groups: dict[Any, list[float | None]] = {}
    for record in records(rows):
        groups.setdefault(record[by], []).append(record.get(of))
    lines = []
    for value, numbers in groups.items():
        found = interval(numbers)
        bounds = [math.nan if x is None else x for x in (found.mean, found.low, found.high)]
        lines.append([str(value), str(found.n), "{:.4g} [{:.4g}, {:.4g}]".format(*bounds)])
    return markdown([by, "n", of], lines)


# In a worker.


def in_fresh_process(work: str, **arguments: Any) -> dict[str, Any]:
    """The result of `work` in a process of its own: nothing is compiled or allocated before.

    - `work`: "package.module:function"
    - `arguments`: plain JSON, as is the result
    """
    code = (
        "import importlib, json, sys; from steppe.core.allocator import keep_freed; keep_freed(); "
        "module, _, name = sys.argv[1].partition(':'); "
        "f = getattr(importlib.import_module(module), name); "
        "print(json.dumps(f(**json.loads(sys.argv[2]))))"
    )
    command = [sys.executable, "-c", code, work, json.dumps(arguments, allow_nan=False)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


@functools.cache
def use_cores() -> None:
    """One JAX device a core, in a worker that may do several cells: JAX counts them but once."""
    from ..train import mesh

    mesh.use_cores()
