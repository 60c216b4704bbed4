"""`steppe reproduce STUDY`: do a study again from scratch, or go on with it."""

import dataclasses
import sys
from pathlib import Path
from typing import Literal

from ..core.messages import did_you_mean
from ..core.settings import check, setting
from ..runs.errors import BadInput
from .output import document, speaker
from .parse import make

STUDIES = {"flatness": "does flatness-aware meta-training make trained models generalise?"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reproduce:
    """Do a study again from scratch, table and verdicts; `flatness` is the one there is.

    A stopped study goes on where it was: call it again with the same folder. Exit code 1 if a part
    of it failed.
    """

    study: str = setting(
        dataclasses.MISSING,
        "flatness: does flatness-aware meta-training make trained models generalise?",
        positional=True,
    )
    scale: Literal["tiny", "small", "paper"] = setting(
        "tiny", "minutes, hours, or the sizes of the papers (which asks before it begins)"
    )
    out: Path | None = setting(None, "folder of the study (default: runs/STUDY-SCALE)")
    engine: Literal["serial", "processes", "ray"] = setting(
        "processes", "one process, several, or a Ray cluster"
    )
    workers: int | None = setting(None, "cells under way at a time (default: one a core)", least=1)
    yes: bool = setting(False, "do not ask")
    json: bool = setting(False, "print the findings as one JSON document")
    quiet: bool = setting(False, "print the findings only")

    def __post_init__(self):
        check(self)


def run(values: dict) -> int:
    options = make(Reproduce, values)
    if options.study not in STUDIES:
        raise BadInput(
            f"There is no study {options.study!r}; {did_you_mean(options.study, STUDIES)}"
        )
    say = speaker(options.quiet)
    folder = options.out or Path("runs", f"{options.study}-{options.scale}")

    from ..evaluate.engines import usable_cores
    from ..studies.flatness import reproduce as study
    from ..studies.flatness import summary as telling
    from ..studies.flatness.scales import SCALES

    scale = SCALES[options.scale]
    planned = study.estimate(scale)
    say(
        f"steppe reproduce {options.study} · {scale.name}: {planned['cells']} cells, "
        f"{scale.promised or promised(planned)} · {folder}"
    )
    if scale.name == "paper" and not options.yes:
        confirm(promised(planned))
    found, grid = study.reproduce(
        scale,
        folder,
        engine=options.engine,
        workers=options.workers or len(usable_cores()),
        say=say,
    )
    if options.json:
        failed = [{"cell": row.cell, "error": row.error} for row in grid.failed]
        document(telling.content(scale, found) | {"folder": folder, "failed": failed})
    else:
        print(telling.text(scale, found))
        for row in grid.failed:
            print(f"failed   {row.id}: {row.error}")
        print(f"records  {folder / study.ROWS}\nreport   {folder / study.REPORT}")
    return 1 if grid.failed else 0


def promised(planned: dict) -> str:
    return (
        f"about {planned['core_hours']:,g} core-hours and {planned['gigabytes']} GB of memory a "
        "worker"
    )


def confirm(cost: str) -> None:
    """Ask on a terminal; elsewhere --yes is needed."""
    if not sys.stdin.isatty():
        raise BadInput(f"The scale paper takes {cost}; add --yes to run it.")
    print(f"That takes {cost}. Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise KeyboardInterrupt("Nothing was run.")
