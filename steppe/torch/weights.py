"""From a file of weights to a rule. The file is read as in JAX: checked, nothing executed."""

import difflib
import os
from pathlib import Path

import torch

from ..core.manifest import DTYPES, CheckpointError, Header, complaint, read
from ..zoo.names import PRETRAINED
from ..zoo.pretrained import path as shipped
from .rules import AbstractRule, DMRule, RNNPropRule
from .scale import ScaleRule

RULES: dict[str, type] = {"DM": DMRule, "RNNProp": RNNPropRule, "Scale": ScaleRule}


def read_rule(source: str | os.PathLike) -> AbstractRule:
    """The rule of a pretrained optimizer's name or of a file that steppe wrote.

    Raises CheckpointError for a file that is damaged, no optimizer's, or of one that has no form
    in PyTorch; ValueError for a name that is none.
    """
    header, body = read(place(source))
    try:
        kind, hyper = header.manifest["kind"], header.manifest["hyper"]
    except (KeyError, TypeError):
        raise CheckpointError(
            f"{os.fspath(source)} is a checkpoint, but not of an optimizer: its manifest does not "
            "say which one; expected a file that steppe.save wrote."
        ) from None
    if kind not in RULES:
        raise complaint(
            source, f"an optimizer of kind {kind}", f"one of {', '.join(RULES)}", "run it in JAX"
        )
    return RULES[kind](tensors(header, body), hyper)


def place(source: str | os.PathLike) -> Path:
    """The file of a name or path."""
    if isinstance(source, str) and source in PRETRAINED:
        return shipped(source)
    path = Path(source)
    if path.exists() or path.suffix or len(path.parts) > 1:
        return path
    close = difflib.get_close_matches(str(source), PRETRAINED, n=1)
    guess = f"did you mean {close[0]!r}?" if close else f"use one of {', '.join(PRETRAINED)}"
    raise ValueError(f"There is no pretrained optimizer and no file {str(source)!r}; {guess}")


def tensors(header: Header, body: bytes) -> dict[str, torch.Tensor]:
    """Every array of a checkpoint, float32 at least."""
    names = {name: getattr(torch, name) for name, _ in DTYPES.values() if hasattr(torch, name)}
    found = {}
    for name, tensor in header.tensors.items():
        raw = torch.frombuffer(
            bytearray(body[tensor.start : tensor.stop]), dtype=names[tensor.dtype]
        )
        value = raw.reshape(tensor.shape)
        wide = (
            torch.promote_types(value.dtype, torch.float32) if value.is_floating_point() else None
        )
        found[name] = value if wide is None else value.to(wide)
    return found
