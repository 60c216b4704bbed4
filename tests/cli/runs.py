"""What the tests of the command line share."""

import shlex
from pathlib import Path
from typing import NamedTuple

# The smallest run that has several checkpoints and validations.
TINY = shlex.split(
    "--task quadratic --opt dm --hidden 2 --steps 12 --unroll 2 --horizon 4 --episodes 2 "
    "--validate-every 4 --checkpoint-every 4 --cores 2 --no-probe"
)


class Answer(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """What stderr says, which has to be one line and no traceback."""
        assert self.err.startswith("steppe: "), self.err
        assert self.err.count("\n") == 1, self.err
        assert self.err.rstrip()[-1] in ".?)", self.err
        return self.err


def contents(folder: Path) -> dict[str, bytes]:
    """Everything in a folder, byte by byte."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
