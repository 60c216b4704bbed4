"""Cost of a flatness regularizer on the reference workload of `meta_step.py`, in pairs.

Exact gradient, 8 episodes, unroll 20; the measure is taken once an unroll, at its end. Every
round runs the plain meta-step and all regularised ones, one after the other; a ratio is the
median of the per-round ratios. Memory: what XLA plans for the buffers of one meta-step, and the
peak of a process that runs one of them, with the compiler and what it leaves behind.

    python -m steppe.studies.speed.flatness --out steppe/studies/speed/results/flatness.json
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from . import meta_step

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

    meta_step.setup()
    planned, compile = [], jax.stages.Lowered.compile

    def listening(lowered, *args, **options):
        compiled = compile(lowered, *args, **options)
        planned.append(compiled.memory_analysis().temp_size_in_bytes / 2**20)
        return compiled

    jax.stages.Lowered.compile = listening
    call, _, _ = meta_step.ours(kind, None, flatten=regularised(name))
    call()
    call()
    return {"planned": max(planned), "process": meta_step.peak_mib()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--kind", default="rnnprop")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--memory", metavar="MEASURE", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory:
        print(json.dumps(memory(args.kind, args.memory)))
        return
    names = ["plain", *AIMS]
    report = meta_step.machine() | {"optimizer": args.kind, "rounds": args.rounds, "measures": {}}
    peaks = {}
    for name in names:
        command = [
            sys.executable,
            "-m",
            "steppe.studies.speed.flatness",
            "--kind",
            args.kind,
            "--memory",
            name,
        ]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peaks[name] = json.loads(out.splitlines()[-1])

    import numpy as np

    meta_step.setup()
    calls = {}
    for name in names:
        calls[name], _, _ = meta_step.ours(args.kind, None, flatten=regularised(name))
    for call in calls.values():
        call()
    times = {name: [] for name in names}
    for _ in range(args.rounds):
        for name, call in calls.items():
            times[name].append(meta_step.milliseconds(call))
    for name in names:
        ratios = [a / b for a, b in zip(times[name], times["plain"], strict=True)]
        report["measures"][name] = row = {
            "ms": float(np.median(times[name])),
            "ratio": float(np.median(ratios)),
            "ratio_range": [min(ratios), max(ratios)],
            "aim": AIMS.get(name),
            "mib": peaks[name],
            "memory_ratio": {k: v / peaks["plain"][k] for k, v in peaks[name].items()},
            "memory_aim": MEMORY,
        }
        print(name, json.dumps(row), flush=True)
    if args.out:
        args.out.write_text(json.dumps(report, indent=2) + "\n")
        print(f"written to {args.out}")


if __name__ == "__main__":
    main()
