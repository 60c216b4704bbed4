"""Speed of a meta-step on the reference workload, beside a PyTorch peer, in pairs.

MLP 784-20-10 sigmoid (n = 15 910), batch 128, real MNIST images, an LSTM 2×20 as the
optimizer, 8 episodes, unroll 20, float32, two threads. Every round runs all contenders
once, one after the other; the ratios are taken round by round, so they hold when the
speed of the machine drifts.

    pip install torch        # only for the peer
    python -m steppe.studies.speed.meta_step --out steppe/studies/speed/results/meta_step.json

"ms" is wall-clock per inner step and episode: seconds of a meta-step / (8 · 20).
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

CORES = 2
EPISODES, LENGTH = 8, 20
ROWS = (994, 248)  # ≈ n/16 and n/64


def setup():
    """JAX with one device per core; to be called before anything computes."""
    from ...train.mesh import use_cores

    use_cores(CORES)


def ours(
    kind: str,
    rows: int | None,
    *,
    length: int = LENGTH,
    together: int | None = None,
    flatten=lambda objective: objective,
):
    """(call, seconds to compile, meta-gradient of where the run stands): one meta-step, compiled.

    `flatten` turns the objective into the one used.
    """
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import jax.random as jr
    import jax.tree_util as jtu
    import optax

    from ...data import mnist5k
    from ...estimators.bptt import BPTT
    from ...objectives.trajectory import Trajectory
    from ...optimizers.learned.dm import DM
    from ...optimizers.learned.rnnprop import RNNProp
    from ...tasks.classify import Classify
    from ...tasks.networks import MLP
    from ...train import loop, mesh
    from ...train.step import start

    task = Classify(mnist5k(), MLP(hidden=(20,)), batch_size=128)
    opt = {"dm": DM, "rnnprop": RNNProp}[kind](key=jr.key(0))
    estimator = BPTT(EPISODES, length, 100, rows=rows, together=together)
    objective, meta_tx = flatten(Trajectory("uniform", "identity")), optax.adam(1e-3)
    episodes = mesh.episode_mesh()
    with mesh.active(episodes):
        state = start(
            task, opt, estimator=estimator, objective=objective, meta_tx=meta_tx, key=jr.key(1)
        )
        run, state, seconds = loop.compile_step(
            task, state, estimator, objective, meta_tx, episodes
        )
    holder = [state]

    def call():
        holder[0], stats = run(holder[0])
        return jax.block_until_ready(stats)

    @eqx.filter_jit
    def grads_of(estimator, state, key):
        return estimator(task, state.opt, state.est_state, objective, key=key)[0]

    def gradient(rows: int | None, key):
        """The meta-gradient where the run stands, over all rows or sampled ones."""
        with mesh.active(episodes):
            grads = grads_of(BPTT(EPISODES, length, 100, rows=rows), holder[0], key)
        return jnp.concatenate([jnp.ravel(leaf) for leaf in jtu.tree_leaves(grads)])

    return call, seconds, gradient


def peer(kind: str, cell: str, together: bool):
    """One meta-step of the PyTorch peer on the same images and sizes."""
    import numpy as np
    import torch

    from ...data import mnist5k
    from . import torch_peer

    torch.set_num_threads(CORES)
    data = mnist5k()
    x = torch.tensor(np.asarray(data.x).reshape(len(data.x), -1) / 255.0, dtype=torch.float32)
    y = torch.tensor(np.asarray(data.y), dtype=torch.int64)
    rng = np.random.default_rng(0)
    shapes = [(784, 20), (20,), (20, 10), (10,)]
    params = [0.01 * rng.standard_normal((EPISODES, *s)).astype(np.float32) for s in shapes]
    batches = rng.integers(3500, size=(EPISODES, LENGTH + 1, 128))
    meta = torch_peer.Meta(kind, torch_peer.draw_weights(kind), cell=cell)
    return lambda: torch_peer.meta_step(meta, x, y, params, batches, episodes_together=together)


def milliseconds(call) -> float:
    began = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - began) / (EPISODES * LENGTH)


def compare(kind: str, rounds: int, peers: list[tuple[str, bool]]) -> dict:
    import jax.numpy as jnp
    import jax.random as jr
    import numpy as np

    contenders, compiled = {}, {}
    for name, rows in (("exact", None), *((f"sampled {rows}", rows) for rows in ROWS)):
        call, seconds, gradient = ours(kind, rows)
        contenders[name], compiled[name], ours_last = call, seconds, call
    for cell, together in peers:
        contenders[f"torch {cell}{' together' if together else ''}"] = peer(kind, cell, together)
    for call in contenders.values():
        call()
    times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            times[name].append(milliseconds(call))

    cosines = {rows: [] for rows in ROWS}
    for draw in range(8):
        ours_last()  # the run goes on, so the points differ
        a = gradient(None, jr.key(draw))
        for rows in ROWS:
            b = gradient(rows, jr.key(draw))
            cosine = jnp.vdot(a, b) / jnp.linalg.norm(a) / jnp.linalg.norm(b)
            cosines[rows].append(float(cosine))

    median = lambda values: float(np.median(values))
    ratio = lambda a, b: [x / y for x, y in zip(times[a], times[b], strict=True)]
    best = min(
        (n for n in times if n.startswith("torch")), key=lambda n: median(times[n]), default=None
    )
    result = {
        "optimizer": kind,
        "rounds": rounds,
        "ms": {n: {"median": median(t), "min": min(t), "max": max(t)} for n, t in times.items()},
        "inner_steps_per_s": {n: 1e3 / median(t) for n, t in times.items()},
        "compile_s": compiled,
        "cosine_sampled": {
            rows: {"mean": float(np.mean(values)), "min": min(values)}
            for rows, values in cosines.items()
        },
        "exact_over_sampled": {rows: median(ratio("exact", f"sampled {rows}")) for rows in ROWS},
    }
    if best:
        result |= {
            "torch_best": best,
            "torch_over_exact": median(ratio(best, "exact")),
            "torch_over_sampled": {rows: median(ratio(best, f"sampled {rows}")) for rows in ROWS},
            "each_torch_over_exact": {
                name: median(ratio(name, "exact")) for name in times if name.startswith("torch")
            },
        }
    return result


def fresh_process(kind: str, rounds: int) -> dict:
    """Milliseconds of the exact form and of both PyTorch forms, in turn, in this process."""
    setup()
    contenders = {"exact": ours(kind, None)[0]}
    contenders |= {f"torch {cell}": peer(kind, cell, False) for cell in ("gates", "transposed")}
    for call in contenders.values():
        call()
    times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            times[name].append(milliseconds(call))
    return {"optimizer": kind, "load": os.getloadavg()[0], "ms": times}


def over_processes(kind: str, processes: int, rounds: int) -> dict:
    """PyTorch / exact in each of several fresh processes: PyTorch's time depends on the process."""
    import numpy as np

    median = lambda values: float(np.median(values))
    runs = [_again("--fresh", kind, str(rounds)) for _ in range(processes)]  # one after the other
    ratios = {
        name: [
            median([t / e for t, e in zip(run["ms"][name], run["ms"]["exact"], strict=True)])
            for run in runs
        ]
        for name in runs[0]["ms"]
        if name != "exact"
    }
    return {
        "optimizer": kind,
        "processes": processes,
        "rounds": rounds,
        "exact_ms": [median(run["ms"]["exact"]) for run in runs],
        "torch_ms": {name: [median(run["ms"][name]) for run in runs] for name in ratios},
        "torch_over_exact": {
            name: {"median": median(r), "each": sorted(r)} for name, r in ratios.items()
        },
    }


def _again(*arguments: str) -> dict:
    """The last line that this program prints when run with these arguments in a fresh process."""
    out = subprocess.run(
        [sys.executable, "-m", "steppe.studies.speed.meta_step", *arguments],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return json.loads(out.splitlines()[-1])


def memory(kind: str, rows: int | None, length: int) -> dict:
    """Peak resident memory of a process that runs nothing but this meta-step twice."""
    setup()
    call, seconds, _ = ours(kind, rows, length=length)
    call()
    call()
    return {"optimizer": kind, "rows": rows, "length": length, "peak_mib": peak_mib(),
            "compile_s": seconds}  # fmt: skip


def peak_mib() -> int:
    """Peak resident memory of this process in MiB."""
    # Not ru_maxrss, which a child inherits from the process that forked it.
    status = Path("/proc/self/status").read_text().splitlines()
    return round(next(int(ln.split()[1]) for ln in status if ln.startswith("VmHWM")) / 1024)


def machine() -> dict:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
        cwd=Path(__file__).parent, check=False,
    ).stdout.strip()  # fmt: skip
    cpu = ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((ln.split(":")[1].strip() for ln in lines if ln.startswith("model name")), "")
    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit,
        "cpu": cpu,
        "cores": CORES,
        "python": platform.python_version(),
        "jax": version("jax"),
        "torch": _version("torch"),
        "load_before": os.getloadavg()[0],
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except ModuleNotFoundError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--kinds", nargs="+", default=["rnnprop", "dm"])
    parser.add_argument("--peers", nargs="*", default=["gates", "transposed"],
                        help="PyTorch variants CELL[:together], or none")  # fmt: skip
    parser.add_argument(
        "--memory", nargs=3, metavar=("KIND", "ROWS", "LENGTH"), help=argparse.SUPPRESS
    )
    parser.add_argument("--processes", type=int, default=0,
                        help="only PyTorch / exact, in so many fresh processes")  # fmt: skip
    parser.add_argument("--fresh", nargs=2, metavar=("KIND", "ROUNDS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.fresh:
        print(json.dumps(fresh_process(args.fresh[0], int(args.fresh[1]))))
        return
    if args.processes:
        report = machine() | {"processes": []}
        for kind in args.kinds:
            result = over_processes(kind, args.processes, args.rounds)
            report["processes"].append(result)
            print(json.dumps(result, indent=2), flush=True)
        write(args.out, report)
        return
    if args.memory:
        kind, rows, length = args.memory
        print(json.dumps(memory(kind, None if rows == "all" else int(rows), int(length))))
        return
    report = machine() | {"memory": [], "speed": []}
    setup()
    peers = [(p.split(":")[0], p.endswith(":together")) for p in args.peers]
    for kind in args.kinds:
        result = compare(kind, args.rounds, peers)
        report["speed"].append(result)
        print(json.dumps(result, indent=2), flush=True)
    for kind in args.kinds:
        for rows, length in (("all", 20), ("all", 100), (str(ROWS[0]), 20)):
            report["memory"].append(_again("--memory", kind, rows, str(length)))
            print(json.dumps(report["memory"][-1]), flush=True)
    write(args.out, report)


def write(out: Path | None, report: dict) -> None:
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(report, indent=2) + "\n")
        print(f"written to {out}")


if __name__ == "__main__":
    main()
