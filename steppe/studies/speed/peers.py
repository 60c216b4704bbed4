"""Ways to write the PyTorch peer of `torch_peer.py`, timed in a process each.

steppe reproduce speed.torch_peer --scale small
"""

from collections.abc import Iterator, Sequence
from typing import Any

from ...evaluation.engines import Row
from ..study import Cell
from .clock import benchmark, cell, found
from .settings import TorchPeer


def measure(kind: Any, way: Any, together: bool, compile: bool, repeats: int) -> dict[str, Any]:
    """Times and memory of one way.

    - `kind`: "dm" or "rnnprop"
    - `way`: to write the recurrent layers, one of `torch_peer.CELLS`
    - `together`: whether all episodes are in one matrix
    - `compile`: whether the update rule is compiled
    - `repeats`: meta-steps that are timed, after one to warm up
    """
    from . import torch_peer

    return torch_peer.measure(
        kind, way, episodes_together=together, compile=compile, repeats=repeats
    )


def cells(settings: TorchPeer) -> Iterator[Cell]:
    how = {"compile": settings.compile, "repeats": settings.repeats}
    for kind in settings.kinds:
        for way in settings.cells:
            for together in (False, True):
                yield cell(measure, kind=kind, way=way, together=together, **how)


def report(settings: TorchPeer, rows: Sequence[Row]) -> dict[str, Any]:
    return {"ways": [result for _, result in found(rows, measure)]}


STUDY = benchmark(cells, report)
