"""Cost of a flatness regularizer on the reference workload of `meta_step.py`, in pairs.

Exact gradient, 8 episodes, unroll 20; the measure is taken once an unroll, at its end. Every
round runs the plain meta-step and all regularised ones, one after the other; a ratio is the
median of the per-round ratios. Memory: what XLA plans for the buffers of one meta-step, and the
peak of a process that runs one of them, with the compiler and what it leaves behind.

    steppe reproduce speed.flatness --scale small
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from ...evaluation.engines import Row
from ..study import Cell
from .clock import benchmark, cell, found, peak_mib, setup
from .meta_step import milliseconds, ours
from .settings import Flatness

AIMS = {  # time over that of the plain meta-step
    "trace": 1.10,
    "top-eigenvalue": 1.15,
    "entropy": 1.15,
    "log-det": 1.25,
}
MEMORY = 1.2


def regularised(name: str):
    """Objective → the same with this measure at the end of the unroll; "plain" adds none."""
    from ...flatness.entropy.local_entropy import LocalEntropy
    from ...flatness.hessian import HessianTrace, LogDet, TopEigenvalue
    from ...objectives.regularized import Regularized

    measures = {
        "trace": lambda: HessianTrace(probes=1),
        "top-eigenvalue": lambda: TopEigenvalue(warm=2),  # 2 products and the one of the gradient
        "entropy": lambda: LocalEntropy(1.0, 1e-3, steps=5),
        "log-det": lambda: LogDet(1.0, probes=1),
    }
    if name == "plain":
        return lambda objective: objective
    return lambda objective: Regularized(objective, measures[name](), 1e-4)


def memory(kind: str, name: str) -> dict[str, float]:
    """MiB that XLA plans for the largest program, and the peak of this process in two steps."""
    import jax

    setup()
    planned, compile = [], jax.stages.Lowered.compile

    def listening(lowered, *args, **options):
        compiled = compile(lowered, *args, **options)
        analysis = compiled.memory_analysis()
        planned.append(analysis.temp_size_in_bytes / 2**20 if analysis else math.nan)
        return compiled

    jax.stages.Lowered.compile = listening  # pyright: ignore[reportAttributeAccessIssue]
    call, _, _ = ours(kind, None, flatten=regularised(name))
    call()
    call()
    return {"planned": max(planned), "process": peak_mib()}


def times(kind: str, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of the plain meta-step and of all regularised ones, in turn."""
    setup()
    calls = {name: ours(kind, None, flatten=regularised(name))[0] for name in ("plain", *AIMS)}
    for call in calls.values():
        call()
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            taken[name].append(milliseconds(call))
    return taken


def cells(settings: Flatness) -> Iterator[Cell]:
    for name in ("plain", *AIMS):
        yield cell(memory, kind=settings.kind, name=name)
    yield cell(times, kind=settings.kind, rounds=settings.rounds)


def report(settings: Flatness, rows: Sequence[Row]) -> dict[str, Any]:
    import numpy as np

    peaks = {arguments["name"]: result for arguments, result in found(rows, memory)}
    [(_, taken)] = found(rows, times)
    measures = {}
    for name, own in taken.items():
        ratios = [a / b for a, b in zip(own, taken["plain"], strict=True)]
        measures[name] = {
            "ms": float(np.median(own)),
            "ratio": float(np.median(ratios)),
            "ratio_range": [min(ratios), max(ratios)],
            "aim": AIMS.get(name),
            "mib": peaks[name],
            "memory_ratio": {k: v / peaks["plain"][k] for k, v in peaks[name].items()},
            "memory_aim": MEMORY,
        }
    return {"optimizer": settings.kind, "rounds": settings.rounds, "measures": measures}


STUDY = benchmark(cells, report)
