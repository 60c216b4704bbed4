"""`steppe convert`: published Open-L2O weights as a checkpoint."""

import dataclasses
from pathlib import Path

from ..core.settings import setting
from ..runs.errors import BadInput
from ..runs.folder import check_new_checkpoint
from .output import document
from .parse import make


@dataclasses.dataclass(frozen=True, kw_only=True)
class Convert:
    """Turn published weights of Open-L2O (.npz) into a checkpoint."""

    source: Path = setting(dataclasses.MISSING, "the .npz file", positional=True)
    target: Path = setting(
        dataclasses.MISSING, "the .safetensors file to write; must not exist", positional=True
    )
    json: bool = setting(False, "print where it was written as one JSON document")
    quiet: bool = setting(False, "print nothing")


def run(values: dict) -> int:
    options = make(Convert, values)
    check_new_checkpoint(options.target)
    if not options.source.is_file():
        raise BadInput(f"{options.source} does not exist; give the .npz file to convert.")

    from ..interop.open_l2o import read
    from ..zoo.io import save

    opt = read(options.source)
    save(options.target, opt, converted_from=options.source.name)
    kind = type(opt).__name__
    if options.json:
        document({"source": options.source, "target": options.target, "kind": kind})
    elif not options.quiet:
        print(f"{options.target}: {kind} with the weights of {options.source}")
    return 0
