"""`steppe report`: one HTML page about runs."""

from pathlib import Path

from ..runs.errors import BadInput
from ..runs.folder import CONFIG, METRICS
from .certify import FILE as CERTIFICATE
from .evaluate import RECORDS
from .options_files import Report
from .output import document
from .parse import build


def run(values: dict) -> int:
    options = build(Report, values)
    for folder in options.runs:
        check_folder(folder)
    if options.out.is_dir() or not options.out.absolute().parent.is_dir():
        raise BadInput(f"{options.out} is no place for a file; give its name in a folder there is.")

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
