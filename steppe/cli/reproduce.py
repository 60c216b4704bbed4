"""`steppe reproduce STUDY`: do a study again from scratch, or go on with it."""

import dataclasses
import inspect
import sys
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ..core.settings import REQUIRED, check, setting
from ..runs.folder import BadInput
from ..studies.names import STUDIES, entry, scales, study
from .parse import document, make, speaker


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Do a study again from scratch: tables, verdicts, pictures.

    A stopped study goes on where it was: call it again with the same folder. Exit code 1 if a part
    of it failed. `steppe reproduce STUDY --help` shows the settings of a study.
    """

    study: str = setting(REQUIRED, "name of the study", positional=True)
    scale: Literal["tiny", "small", "paper"] = setting(
        "tiny", "sizes of the study: minutes, those of its record, or those of the papers"
    )
    out: Path | None = setting(None, "folder of records and tables (default: runs/STUDY-SCALE)")
    records: Path | None = setting(
        None, "file of records to draw the tables from; nothing is run then"
    )
    engine: Literal["serial", "processes", "ray"] = setting(
        "processes", "place of the work: this process, several, or a Ray cluster"
    )
    workers: int | None = setting(
        None,
        "cells under way at a time (default: one a core, but 1 where time is measured)",
        least=1,
    )
    yes: bool = setting(False, "do not ask before a run of days")
    json: bool = setting(False, "print the findings as one JSON document")
    quiet: bool = setting(False, "print the findings only")

    def __post_init__(self):
        check(self)


COMMON = {field.name for field in dataclasses.fields(Reproduce)}


def options(words: Sequence[str]) -> type:
    """The options of all studies, and the settings of the one that the line names."""
    name = next((word for word in words if word in STUDIES), None)
    about = inspect.cleandoc(Reproduce.__doc__ or "")
    if name is None:
        lines = [f"    {name}  {entry.question}" for name, entry in STUDIES.items()]
        fields, about = [], "\n".join([about, "", *lines])
    else:
        cls = type(next(iter(scales(name).values())))
        hints = typing.get_type_hints(cls)
        about = f"{STUDIES[name].question}\n{about.partition(chr(10))[2]}"
        fields = [
            (field.name, hints[field.name], _without_default(name, field))
            for field in dataclasses.fields(cls)
            if "text" in field.metadata
        ]
    return dataclasses.make_dataclass(
        "Reproduce",
        fields,
        bases=(Reproduce,),
        namespace={"__doc__": about},
        frozen=True,
        kw_only=True,
    )


def _without_default(name: str, field: dataclasses.Field) -> typing.Any:
    """The same setting for the line; the scale gives it where the line does not."""
    about = {**field.metadata, "text": described(name, field)}
    return dataclasses.field(default=None, metadata=about)


def described(name: str, field: dataclasses.Field) -> str:
    """The help line of a setting, with its value at every scale."""
    text = field.metadata["text"]
    at = {scale: getattr(settings, field.name) for scale, settings in scales(name).items()}
    shown = [f"{scale}: {listed(value)}" for scale, value in at.items() if value not in ((), "")]
    return f"{text} ({'; '.join(shown)})" if shown else text


def listed(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def run(values: dict) -> int:
    common = make(Reproduce, {name: x for name, x in values.items() if name in COMMON})
    entry(common.study)  # refuses a name that there is not
    sizes = scales(common.study)
    if common.scale not in sizes:
        raise BadInput(f"{common.study} has no scale {common.scale!r}, only {' and '.join(sizes)}.")
    own = {name: x for name, x in values.items() if name not in COMMON}
    settings = dataclasses.replace(sizes[common.scale], **own)

    from ..studies.study import FINDINGS, ROWS, TABLE, conclude, content, reproduce, write

    asked = study(common.study)
    if common.records is not None:
        conclusion = conclude(asked, settings, common.records)
        written = write(conclusion, common.out) if common.out else []
        if common.json:
            document(content(conclusion))
        else:
            print(conclusion.text, *(f"written  {path}" for path in written), sep="\n")
        return 0

    say = speaker(common.quiet)
    folder = common.out or Path("runs", f"{common.study}-{common.scale}")
    cells, cost = len(list(asked.cells(settings))), asked.cost(settings)
    about = [f"steppe reproduce {common.study} · {common.scale}: {cells} cells"]
    say(f"{', '.join([*about, cost] if cost else about)} · {folder}")
    if common.scale == "paper" and not common.yes:
        confirm(cost or "days")
    if asked.workers is not None and (common.workers or 0) > asked.workers:
        raise BadInput(f"{common.study} measures time: take --workers {asked.workers}.")
    conclusion, grid = reproduce(
        asked, settings, folder, engine=common.engine, workers=common.workers, say=say
    )
    if common.json:
        failed = [{"cell": row.cell, "error": row.error} for row in grid.failed]
        document(content(conclusion) | {"folder": folder, "failed": failed})
    else:
        print(conclusion.text)
        for row in grid.failed:
            print(f"failed   {row.id}: {row.error}")
        print(f"records  {folder / ROWS}")
        for name in (TABLE, FINDINGS, *conclusion.files):
            print(f"written  {folder / name}")
    return 1 if grid.failed else 0


def confirm(cost: str) -> None:
    """Ask on a terminal; elsewhere --yes is needed."""
    if not sys.stdin.isatty():
        raise BadInput(f"The scale paper takes {cost}; add --yes to run it.")
    print(f"That takes {cost}. Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise KeyboardInterrupt("Nothing was run.")
