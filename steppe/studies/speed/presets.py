"""Inner steps a second of every preset, as `steppe train --preset NAME` would run it.

    steppe reproduce speed.presets --scale small

On mnist5k-mlp (784-20-10, 15 910 coordinates, batch 128), meta-steps as in the recipe but for the
episodes: one for each core instead of one. Each preset in a process of its own. Meta-steps
that are sampled to be imitation steps are counted with the others.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from ...evaluation.engines import Row
from ...zoo.registry import PRESETS
from ..study import Cell
from .clock import CORES, benchmark, cell, found, peak_mib, setup
from .settings import Presets

TASK = "mnist5k-mlp"


def one(name: str, calls: int) -> dict[str, Any]:
    """Inner steps a second of a preset over so many meta-steps."""
    setup()
    import jax
    import jax.random as jr

    from ...tasks import build
    from ...train import loop, mesh
    from ...train.step import start
    from ...zoo.assemble import assemble
    from ...zoo.presets import recipe

    episodes = mesh.episode_mesh()
    opt, how = assemble(recipe(name, episodes=CORES), build(TASK), key=jr.key(0))
    task, estimator, objective, meta_tx = (
        how[part] for part in ("task", "estimator", "objective", "meta_tx")
    )
    if curriculum := how["curriculum"]:  # the last stage: there imitation is at most
        estimator = curriculum.staged(estimator, curriculum.stages - 1)
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
        for _ in range(calls):
            state, stats = run(state)
            steps += int(stats.inner_steps)
        jax.block_until_ready(state.opt)
    return {
        "preset": name,
        "inner_steps_per_s": steps / (time.perf_counter() - began),
        "compile_s": seconds,
        "peak_mib": peak_mib(),
    }


def cells(settings: Presets) -> Iterator[Cell]:
    for name in PRESETS:
        yield cell(one, name=name, calls=settings.calls)


def report(settings: Presets, rows: Sequence[Row]) -> dict[str, Any]:
    return {"task": TASK, "presets": [result for _, result in found(rows, one)]}


STUDY = benchmark(cells, report)
