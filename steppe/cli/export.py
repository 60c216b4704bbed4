"""`steppe export` and `steppe convert`: trained optimizers to others, and from Open-L2O.

`export` needs no JAX.
"""

import dataclasses
import shutil
from pathlib import Path
from typing import Literal

from ..core.settings import setting
from ..optimizers.settings import verified
from ..runs.folder import MODEL, BadInput, check_new_checkpoint
from ..store.manifest import described
from ..zoo.registry import HUB
from ..zoo.resolve import resolve
from .parse import document, make

USE = {
    "torch": 'steppe.torch.LearnedOptimizer(model.parameters(), "{}")',
    "safetensors": 'steppe.load("{}")',
    "hub": 'steppe.load("{}")',
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Export:
    """Hand a trained optimizer on: one file of weights, or a repository on the Hub.

    JAX and PyTorch read the same file; `--to torch` also checks that PyTorch has the optimizer's
    rule and that it steps. Which formats there are not, and why, is in docs/torch.md.
    """

    ckpt: str = setting(
        dataclasses.MISSING,
        "optimizer to export: a .safetensors file, a run folder, the name of a pretrained one, or "
        "hub://owner/name",
        positional=True,
    )
    to: Literal["torch", "safetensors", "hub"] = setting(
        "safetensors", "reader of the export: PyTorch, anyone, or the Hugging Face Hub"
    )
    out: str | None = setting(
        None,
        "file to write, which must not exist (default: NAME.safetensors), or owner/name on the Hub",
        short="o",
    )
    private: bool = setting(False, "make a new repository on the Hub private")
    json: bool = setting(False, "print where it was written as one JSON document")
    quiet: bool = setting(False, "print nothing")

    def __post_init__(self):
        if self.to == "hub" and self.out is None:
            raise BadInput("--to hub needs a repository; give one as --out owner/name.")
        if self.private and self.to != "hub":
            raise BadInput(f"--private means nothing to --to {self.to}; leave it away.")


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
    options = make(Export, values)
    source = resolve(options.ckpt)
    kind = described(verified(source), source)["kind"]  # refuses what is not intact
    if options.to == "hub":
        written, place = publish(options, source)
    else:
        written = place = str(copied(options, source))
    use = USE[options.to].format(place)
    if options.json:
        document({"source": source, "written": written, "kind": kind, "use": use})
    elif not options.quiet:
        print(f"{written}: {kind}, from {options.ckpt}\n  {use}")
    return 0


def publish(options: Export, source: Path) -> tuple[str, str]:
    """Its address on the Hub, and the word that `steppe.load` takes."""
    from ..zoo.hub import push

    name = str(options.out).removeprefix(HUB)
    return push(source, name, private=options.private or None), HUB + name


def copied(options: Export, source: Path) -> Path:
    """The new file."""
    target = Path(options.out or f"{called(options.ckpt)}.safetensors")
    check_new_checkpoint(target)
    if options.to == "torch":
        try_in_torch(source)
    shutil.copyfile(source, target)
    return target


def called(word: str) -> str:
    """A name for a copy: of a run its folder, of a repository its last part."""
    path = Path(word.removeprefix(HUB).partition("@")[0] if word.startswith(HUB) else word)
    name = path.parent.name if path.name == MODEL else path.name
    return name.removesuffix(".safetensors")


def try_in_torch(source: Path) -> None:
    """Its rule is read and takes a step; raises what is wrong where PyTorch has none for it."""
    import torch

    from ..torch import LearnedOptimizer

    weights = torch.nn.Parameter(torch.linspace(-1, 1, 6).reshape(2, 3))
    opt = LearnedOptimizer([weights], source)
    weights.square().sum().backward()
    opt.step()
    if not bool(weights.isfinite().all()):
        raise BadInput(f"{source} does not give a finite first step in PyTorch; train it again.")


def run_convert(values: dict) -> int:
    options = make(Convert, values)
    check_new_checkpoint(options.target)
    if not options.source.is_file():
        raise BadInput(f"{options.source} does not exist; give the .npz file to convert.")

    from ..interop.open_l2o import read as read_published
    from ..zoo.io import save

    opt = read_published(options.source)
    save(options.target, opt, converted_from=options.source.name)
    kind = type(opt).__name__
    if options.json:
        document({"source": options.source, "target": options.target, "kind": kind})
    elif not options.quiet:
        print(f"{options.target}: {kind} with the weights of {options.source}")
    return 0
