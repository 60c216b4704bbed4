"""`steppe doctor`: is the installation sound, or what went wrong in a run."""

import dataclasses
from pathlib import Path

from ..core.settings import setting
from ..runs.diagnostics import line, of_folder, of_installation
from ..runs.folder import BadInput
from .parse import document, make, reword
from .train import Train


@dataclasses.dataclass(frozen=True, kw_only=True)
class Doctor:
    """Check the installation, or with a run folder, look for what went wrong in that run.

    In the folder of a comparison it looks at whether the baselines were tuned. Exit code 1 if a
    check failed; each failure comes with what to do about it.
    """

    run: Path | None = setting(
        None, "folder that `steppe train`, `eval --out` or `demo` wrote", positional=True
    )
    rerun: Path | None = setting(
        None,
        "folder of another run of the same recipe and seed: also judge whether the two are steady "
        "and alike, as runs that are compared should be",
    )
    json: bool = setting(False, "print the findings as one JSON document")
    quiet: bool = setting(False, "print only what failed")


def run(values: dict) -> int:
    options = make(Doctor, values)
    if options.run is None and options.rerun is not None:
        raise BadInput("--rerun is compared with a run; give the folder of that one as well.")
    findings = of_installation() if options.run is None else of_folder(options.run, options.rerun)
    bad = [finding for finding in findings if not finding.ok]
    if options.json:
        document({"ok": not bad, "findings": list(map(dataclasses.asdict, findings))})
    else:
        for finding in bad if options.quiet else findings:
            print(reword(line(finding), Train))
        if not options.quiet:
            print("all well" if not bad else f"{len(bad)} of {len(findings)} checks failed")
    return 1 if bad else 0
