"""What the commands about files can be told. Standard library only, as `options.py`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..runs.errors import BadInput
from .parse import PLACE


@dataclass(frozen=True, kw_only=True)
class Info:
    """Show what is in a checkpoint, every bit checked: what it is, how it was made, its tensors.

    - `ckpt`: a .safetensors file, or the name of a pretrained optimizer, whose card is shown
    - `json`: print it as one JSON document
    """

    ckpt: str = field(metadata=PLACE)
    json: bool = False


@dataclass(frozen=True, kw_only=True)
class Export:
    """Hand a trained optimizer on: one file of weights, or a repository on the Hub.

    JAX and PyTorch read the same file; `--to torch` also checks that PyTorch has the optimizer's
    rule and that it steps. Which formats there are not, and why, is in docs/torch.md.

    - `ckpt`: what to export: a .safetensors file, a run folder, the name of a pretrained optimizer,
      or hub://owner/name
    - `to`: whom for: PyTorch, anyone, or the Hugging Face Hub
    - `out`: the file to write, which must not exist (default: NAME.safetensors), or owner/name on
      the Hub
    - `private`: make a new repository on the Hub private
    - `json`: print what was written as one JSON document
    - `quiet`: print nothing
    """

    ckpt: str = field(metadata=PLACE)
    to: Literal["torch", "safetensors", "hub"] = "safetensors"
    out: str | None = field(default=None, metadata={"short": "-o"})
    private: bool = False
    json: bool = False
    quiet: bool = False

    def __post_init__(self):
        if self.to == "hub" and self.out is None:
            raise BadInput("--to hub needs a repository; give one as --out owner/name.")
        if self.private and self.to != "hub":
            raise BadInput(f"--private means nothing to --to {self.to}; leave it away.")


@dataclass(frozen=True, kw_only=True)
class Convert:
    """Turn published weights of Open-L2O (.npz) into a checkpoint.

    - `source`: the .npz file
    - `target`: the .safetensors file to write; must not exist
    - `json`: print what was written as one JSON document
    - `quiet`: print nothing
    """

    source: Path = field(metadata=PLACE)
    target: Path = field(metadata=PLACE)
    json: bool = False
    quiet: bool = False


@dataclass(frozen=True, kw_only=True)
class Report:
    """Write one HTML page about runs; it opens offline.

    - `runs`: folders that `steppe train`, `eval --out` or `demo` wrote
    - `out`: the page
    - `json`: print where it is as one JSON document
    - `quiet`: print nothing
    """

    runs: tuple[Path, ...] = field(metadata=PLACE)
    out: Path = field(default=Path("report.html"), metadata={"short": "-o"})
    json: bool = False
    quiet: bool = False
