"""Questions asked of the library, one folder each; `steppe reproduce NAME` asks them again.

    study.py        what all of them share: cells, resume, records, tables, verdicts
    names.py        the table of studies
    NAME/README.md  expected, found, and the log of tries
    NAME/*.jsonl    the records that README reports, in the repository and not in the wheel

Nothing but the command line imports this package.
"""

from ..core.lazy import submodules

__getattr__ = submodules(__name__)
