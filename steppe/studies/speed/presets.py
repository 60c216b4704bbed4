"""Inner steps a second of every preset, as `steppe train --preset NAME` would run it.

    python -m steppe.studies.speed.presets --out steppe/studies/speed/results/presets.json

On mnist5k-mlp (784-20-10, 15 910 coordinates, batch 128), meta-steps as in the recipe but for the
episodes: one for each core instead of one. Each preset in a process of its own. Meta-steps that
the lot makes imitation steps are counted with the others.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from . import meta_step

TASK = "mnist5k-mlp"
CALLS = 30


def one(name: str) -> dict:
    meta_step.setup()
    import jax
    import jax.random as jr

    from ...tasks import build
    from ...train import loop, mesh
    from ...train.select import staged
    from ...train.step import start
    from ...zoo.assemble import assemble
    from ...zoo.presets import recipe

    episodes = mesh.episode_mesh()
    opt, how = assemble(recipe(name, episodes=meta_step.CORES), build(TASK), key=jr.key(0))
    task, estimator, objective, meta_tx = (
        how[part] for part in ("task", "estimator", "objective", "meta_tx")
    )
    last = how["curriculum"].stages - 1 if how["curriculum"] else 0  # where imitation is at most
    estimator = staged(how["curriculum"], estimator, last)
    with mesh.active(episodes):
        state = start(
            task, opt, estimator=estimator, objective=objective, meta_tx=meta_tx, key=jr.key(1)
        )
        run, state, seconds = loop.compile_step(
            task, state, estimator, objective, meta_tx, episodes
        )
        state, _ = run(state)
        jax.block_until_ready(state.opt)
        began, steps = time.perf_counter(), 0
        for _ in range(CALLS):
            state, stats = run(state)
            steps += int(stats.inner_steps)
        jax.block_until_ready(state.opt)
    return {
        "preset": name,
        "inner_steps_per_s": steps / (time.perf_counter() - began),
        "compile_s": seconds,
        "peak_mib": meta_step.peak_mib(),
    }


def main() -> None:
    from ...zoo.names import PRESETS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(args.one)))
        return
    report = meta_step.machine() | {"task": TASK, "presets": []}
    for name in PRESETS:
        line = subprocess.run(
            [sys.executable, "-m", "steppe.studies.speed.presets", "--one", name],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.splitlines()[-1]
        report["presets"].append(json.loads(line))
        print(line, flush=True)
    meta_step.write(args.out, report)


if __name__ == "__main__":
    main()
