"""`steppe convert`: published Open-L2O weights as a checkpoint."""

from ..runs.errors import BadInput
from ..runs.folder import check_new_checkpoint
from .options_files import Convert
from .output import document
from .parse import build


def run(values: dict) -> int:
    options = build(Convert, values)
    check_new_checkpoint(options.target)
    if not options.source.is_file():
        raise BadInput(f"{options.source} does not exist; give the .npz file to convert.")

    from ..interop.open_l2o import read
    from ..zoo.io import save_optimizer

    opt = read(options.source)
    save_optimizer(options.target, opt, converted_from=options.source.name)
    kind = type(opt).__name__
    if options.json:
        document({"source": options.source, "target": options.target, "kind": kind})
    elif not options.quiet:
        print(f"{options.target}: {kind} with the weights of {options.source}")
    return 0
