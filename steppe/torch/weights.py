"""From a file of weights to a rule. The file is read as in JAX: checked, nothing executed."""

import os

import torch

from ..store.manifest import DTYPES, Header, complaint, described, read
from ..zoo.resolve import locate
from .rules import AbstractRule, DMRule, RNNPropRule
from .scale import ScaleRule

RULES: dict[str, type] = {"DM": DMRule, "RNNProp": RNNPropRule, "Scale": ScaleRule}


def read_rule(source: str | os.PathLike) -> AbstractRule:
    """The rule of a trained optimizer, given as any word that `zoo.resolve.locate` takes.

    Raises CheckpointError for a file that is not there, damaged, no optimizer's, or of one that has
    no form in PyTorch.
    """
    header, body = read(locate(source))
    found = described(header, source)
    kind = found["kind"]
    if kind not in RULES:
        raise complaint(
            source, f"an optimizer of kind {kind}", f"one of {', '.join(RULES)}", "run it in JAX"
        )
    return RULES[kind](tensors(header, body), found["hyper"])


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
