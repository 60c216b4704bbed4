"""Speed of a meta-step on the reference workload, beside a PyTorch peer, in pairs.

MLP 784-20-10 sigmoid (n = 15 910), batch 128, real MNIST images, an LSTM 2×20 as the
optimizer, 8 episodes, unroll 20, float32, two threads. Every round runs all contenders
once, one after the other; the ratios are taken round by round, so they hold when the
speed of the machine drifts.

    pip install torch        # only for the peer; or --peers none
    steppe reproduce speed.meta_step --scale small

"ms" is wall-clock per inner step and episode: seconds of a meta-step / (8 · 20).
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ...evaluation.engines import Row
from ..study import Cell
from .clock import CORES, benchmark, cell, found, peak_mib, setup
from .settings import MetaStep

EPISODES, LENGTH = 8, 20
ROWS = (994, 248)  # ≈ n/16 and n/64


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


def peer(kind: Any, cell: Any, together: bool) -> Callable[[], object]:
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


def compare(kind: str, rounds: int, peers: Sequence[str]) -> dict[str, Any]:
    """Times of all contenders in turn, round by round, and what sampling does to the gradient.

    - `kind`: "dm" or "rnnprop"
    - `rounds`: times that every contender runs
    - `peers`: ways to write the PyTorch peer, CELL or CELL:together
    """
    setup()
    import jax.numpy as jnp
    import jax.random as jr
    import numpy as np

    contenders, compiled = {}, {}
    ours_last, seconds, gradient = ours(kind, None)
    contenders["exact"], compiled["exact"] = ours_last, seconds
    for rows in ROWS:
        ours_last, seconds, gradient = ours(kind, rows)
        contenders[f"sampled {rows}"], compiled[f"sampled {rows}"] = ours_last, seconds
    for name in peers:
        way, _, together = name.partition(":")
        contenders[f"torch {name.replace(':', ' ')}"] = peer(kind, way, bool(together))
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


def fresh_process(kind: str, rounds: int) -> dict[str, Any]:
    """Milliseconds of the exact form and of both PyTorch forms, in turn, in this process."""
    setup()
    contenders = {"exact": ours(kind, None)[0]}
    contenders |= {f"torch {way}": peer(kind, way, False) for way in ("gates", "transposed")}
    for call in contenders.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            times[name].append(milliseconds(call))
    return {"optimizer": kind, "load": os.getloadavg()[0], "ms": times}


def over_processes(kind: str, rounds: int, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """PyTorch / exact in each of several fresh processes: PyTorch's time depends on the process."""
    import numpy as np

    median = lambda values: float(np.median(values))
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
        "processes": len(runs),
        "rounds": rounds,
        "exact_ms": [median(run["ms"]["exact"]) for run in runs],
        "torch_ms": {name: [median(run["ms"][name]) for run in runs] for name in ratios},
        "torch_over_exact": {
            name: {"median": median(r), "each": sorted(r)} for name, r in ratios.items()
        },
    }


def memory(kind: str, rows: int | None, length: int) -> dict[str, Any]:
    """Peak resident memory of a process that runs nothing but this meta-step twice."""
    setup()
    call, seconds, _ = ours(kind, rows, length=length)
    call()
    call()
    return {"optimizer": kind, "rows": rows, "length": length, "peak_mib": peak_mib(),
            "compile_s": seconds}  # fmt: skip


def cells(settings: MetaStep) -> Iterator[Cell]:
    for kind in settings.kinds:
        for k in range(settings.processes):
            yield cell(fresh_process, k, kind=kind, rounds=settings.rounds)
    if settings.processes:
        return
    for kind in settings.kinds:
        yield cell(compare, kind=kind, rounds=settings.rounds, peers=list(settings.peers or ()))
    for kind in settings.kinds:
        for rows, length in ((None, 20), (None, 100), (ROWS[0], 20)):
            yield cell(memory, kind=kind, rows=rows, length=length)


def report(settings: MetaStep, rows: Sequence[Row]) -> dict[str, Any]:
    runs = [result for _, result in found(rows, fresh_process)]
    by = {kind: [run for run in runs if run["optimizer"] == kind] for kind in settings.kinds}
    if runs:
        several = [over_processes(kind, settings.rounds, own) for kind, own in by.items() if own]
        return {"processes": several}
    return {
        "memory": [result for _, result in found(rows, memory)],
        "speed": [result for _, result in found(rows, compare)],
    }


STUDY = benchmark(cells, report)
