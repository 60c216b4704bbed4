"""`steppe report`: one HTML page about runs."""

import dataclasses
from pathlib import Path

from ..core.settings import setting
from ..runs.folder import CONFIG, METRICS, RECORDS, BadInput, check_page
from .certify import FILE as CERTIFICATE
from .parse import document, make


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Write one HTML page about runs; it opens offline."""

    runs: tuple[Path, ...] = setting(
        dataclasses.MISSING,
        "folders that `steppe train`, `eval --out` or `demo` wrote",
        positional=True,
    )
    out: Path = setting(Path("report.html"), "HTML page to write", short="o")
    json: bool = setting(False, "print where it is as one JSON document")
    quiet: bool = setting(False, "print nothing")


def run(values: dict) -> int:
    options = make(Report, values)
    for folder in options.runs:
        check_folder(folder)
    check_page(options.out)

    from ..report.page import report_from_folders

    report_from_folders(options.runs, options.out)
    if options.json:
        document({"report": options.out})
    elif not options.quiet:
        print(f"{options.out}  {options.out.stat().st_size / 1e6:.2f} MB")
    return 0


def check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise BadInput(f"{folder} is no folder; give folders that `steppe train` or `eval` wrote.")
    known = (CONFIG, METRICS, RECORDS, CERTIFICATE)
    if not any((folder / name).exists() for name in known):
        raise BadInput(
            f"{folder} holds neither of {', '.join(known)}; give a folder that `steppe train`, "
            "`eval --out` or `demo` wrote."
        )
