"""Does L2O-Scale take longer to compile, or to run, where the same coordinates are in more tensors?

    python -m steppe.studies.speed.compile_tensors --out compile_tensors.json

One meta-step (BPTT, 8 episodes, unroll 20) on a bowl of 16 000 coordinates in 2 and in 40 tensors,
each compiled afresh in a process of its own, in turn. Beside L2O-Scale stands gradient descent with
one learned rate: what compiling the rest costs, where every tensor has its loss and its gradient.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from . import meta_step

COORDINATES, EPISODES, LENGTH = 16_000, 8, 20


def one(kind: str, tensors: int) -> dict:
    """Seconds to compile a meta-step, and to run one; milliseconds per inner step and episode."""
    meta_step.setup()
    import jax
    import jax.numpy as jnp
    import jax.random as jr
    import optax

    from ...core.task import AbstractTask
    from ...estimators.bptt import BPTT
    from ...objectives.trajectory import Trajectory
    from ...optimizers.learned.rates import global_learning_rate
    from ...optimizers.learned.scale import Scale
    from ...train import loop, mesh
    from ...train.step import start

    class Bowls(AbstractTask):
        """½ Σ a x² over many tensors of equal size, curvatures from 0.1 to 10."""

        def sample(self, key):
            return ()

        def init(self, instance, key):
            return [jnp.ones(COORDINATES // tensors)] * tensors

        def batch(self, instance, key, *, split="train"):
            return ()

        def whole(self, instance, *, split):
            return ()

        def loss(self, params, instance, batch, key):
            x = jnp.concatenate(params)
            return 0.5 * jnp.mean(jnp.geomspace(0.1, 10, COORDINATES) * x**2)

        def metrics(self, params, instance, batch, key):
            return {}

    task, opt = Bowls(), Scale(key=jr.key(0)) if kind == "scale" else global_learning_rate(0.1)
    estimator, objective, meta_tx = BPTT(EPISODES, LENGTH, 100), Trajectory(), optax.adam(1e-3)
    episodes = mesh.episode_mesh()
    with mesh.active(episodes):
        state = start(
            task, opt, estimator=estimator, objective=objective, meta_tx=meta_tx, key=jr.key(1)
        )
        run, state, seconds = loop.compile_step(
            task, state, estimator, objective, meta_tx, episodes
        )
        state, _ = run(state)
        jax.block_until_ready(state.step)
        times = []
        for _ in range(5):
            began = time.perf_counter()
            state, _ = run(state)
            jax.block_until_ready(state.opt)
            times.append(time.perf_counter() - began)
    best = sorted(times)[len(times) // 2]
    return {
        "opt": kind,
        "tensors": tensors,
        "compile_s": seconds,
        "ms_per_inner_step": 1e3 * best / (EPISODES * LENGTH),
        "peak_mib": meta_step.peak_mib(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(args.one[0], int(args.one[1]))))
        return
    report = meta_step.machine() | {"runs": []}
    for _ in range(args.rounds):
        for kind, tensors in itertools.product(("rate", "scale"), (2, 40)):
            line = subprocess.run(
                [sys.executable, "-m", __spec__.name, "--one", kind, str(tensors)],
                check=True, capture_output=True, text=True,
            ).stdout.splitlines()[-1]  # fmt: skip
            report["runs"].append(json.loads(line))
            print(line, flush=True)

    def seconds(kind: str, tensors: int) -> float:
        same = [r for r in report["runs"] if (r["opt"], r["tensors"]) == (kind, tensors)]
        return statistics.median(r["compile_s"] for r in same)

    whole = seconds("scale", 40) / seconds("scale", 2)
    added = [seconds("scale", n) - seconds("rate", n) for n in (2, 40)]
    report |= {"compile_40_over_2": whole, "compile_40_over_2_added": added[1] / added[0]}
    print(f"compilation, 40 over 2: {whole:.2f}; of what Scale adds: {added[1] / added[0]:.2f}")
    meta_step.write(args.out, report)


if __name__ == "__main__":
    main()
