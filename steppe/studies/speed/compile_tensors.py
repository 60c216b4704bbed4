"""Does L2O-Scale take longer to compile, or to run, where the same coordinates are in more tensors?

    steppe reproduce speed.compile_tensors --scale small

One meta-step (BPTT, 8 episodes, unroll 20) on a bowl of 16 000 coordinates in 2 and in 40 tensors,
each compiled afresh in a process of its own, in turn. Beside L2O-Scale stands gradient descent with
one learned rate: what compiling the rest costs, where every tensor has its loss and its gradient.
"""

import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

from ...evaluation.engines import Row
from ..study import Cell
from .clock import benchmark, cell, found, peak_mib, setup
from .settings import CompileTensors

COORDINATES, EPISODES, LENGTH = 16_000, 8, 20


def one(kind: str, tensors: int) -> dict:
    """Seconds to compile a meta-step, and to run one; milliseconds per inner step and episode."""
    setup()
    import jax
    import jax.numpy as jnp
    import jax.random as jr
    import optax

    from ...core.task import AbstractFormula
    from ...estimators.bptt import BPTT
    from ...objectives.trajectory import Trajectory
    from ...optimizers.learned.learned_adam import global_learning_rate
    from ...optimizers.learned.scale import Scale
    from ...train import loop, mesh
    from ...train.step import start

    class Bowls(AbstractFormula):
        """½ Σ a x² over many tensors of equal size, curvatures from 0.1 to 10."""

        def sample(self, key):
            return ()

        def init(self, instance, key):
            return [jnp.ones(COORDINATES // tensors)] * tensors

        def loss(self, instance, batch, key):
            def f(params):
                x = jnp.concatenate(params)
                return 0.5 * jnp.mean(jnp.geomspace(0.1, 10, COORDINATES) * x**2)

            return f

        def target(self, instance):
            return None

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
        "peak_mib": peak_mib(),
    }


def cells(settings: CompileTensors) -> Iterator[Cell]:
    for k in range(settings.rounds):
        for kind, tensors in itertools.product(("rate", "scale"), (2, 40)):
            yield cell(one, k, kind=kind, tensors=tensors)


def report(settings: CompileTensors, rows: Sequence[Row]) -> dict[str, Any]:
    runs = [result for _, result in found(rows, one)]

    def seconds(kind: str, tensors: int) -> float:
        same = [r for r in runs if (r["opt"], r["tensors"]) == (kind, tensors)]
        return statistics.median(r["compile_s"] for r in same)

    added = [seconds("scale", n) - seconds("rate", n) for n in (2, 40)]
    return {
        "runs": runs,
        "compile_40_over_2": seconds("scale", 40) / seconds("scale", 2),
        "compile_40_over_2_added": added[1] / added[0],  # of what Scale adds
    }


STUDY = benchmark(cells, report)
