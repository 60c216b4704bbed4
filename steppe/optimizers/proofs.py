"""Proofs that optimizers carry: what holds of one whatever its weights are. Standard library only.

A claim follows from the class and the settings alone. `steppe.save` writes it into the file, as
`claims` in the manifest, and every reader refuses a file with a claim that its settings do not
give. `steppe verify FILE` also tries to break it (`certificates/attack.py`).
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

from ..store.hints import shown
from ..store.manifest import CheckpointError, Header

DESCENT = (
    "On smooth + regularizer, no step raises the objective, whatever the weights are: it is taken "
    "where the step leads, in the precision of the parameters."
)


def _held(parts: set[str]) -> Callable[[Mapping[str, Any]], bool]:
    """`monotone`, with parts for which a step without momentum is one of the proof."""

    def holds(hyper: Mapping[str, Any]) -> bool:  # of a file, which may hold anything
        use = () if hyper.get("use") is None else hyper["use"]
        listed = isinstance(use, list | tuple) and all(isinstance(part, str) for part in use)
        return hyper.get("monotone") is True and listed and parts.issuperset(use)

    return holds


PROVEN: dict[str, dict[str, tuple[str, Callable[[Mapping[str, Any]], bool]]]] = {
    "MathL2O": {"descent": (DESCENT, _held({"p", "a"}))},
    "GoMathL2O": {"descent": (DESCENT, _held({"r", "q", "b"}))},
}


def claims(kind: str, hyper: Mapping[str, Any]) -> dict[str, str]:
    """Each claim of an optimizer by name, as a sentence; {} for most."""
    proven = PROVEN.get(kind, {})
    return {name: words for name, (words, holds) in proven.items() if holds(hyper)}


def check_claims(header: Header, path: str | os.PathLike) -> None:
    """Refuse a file that claims what its class and settings do not prove. CheckpointError."""
    manifest = header.manifest
    kind, hyper = manifest.get("kind"), manifest.get("hyper")
    known = isinstance(kind, str) and isinstance(hyper, Mapping)
    proven = claims(kind, hyper) if known else {}  # pyright: ignore[reportArgumentType]
    claimed = manifest.get("claims", {})
    if isinstance(claimed, Mapping):
        wrong = [name for name, said in claimed.items() if (name, said) not in proven.items()]
        if not wrong:
            return
        claimed = wrong[0]
    raise CheckpointError(
        f"{os.fspath(path)} makes a claim, {shown(claimed)}, that {shown(kind)} with its settings "
        "does not prove: give what `steppe.save` wrote."
    )
