"""Seconds to a gap of 1e-6: a learned solver, FISTA with restart, and scikit-learn.

Each solves one problem alone and, but for scikit-learn, 64 of them side by side: compiled before,
from 0, for as many iterations as the median problem needs; the least time of several. Problems are
`lasso` of n unknowns in float32; scikit-learn's coordinate descent is in float64, with the loosest
tolerance that does.
"""

import time
import warnings
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.random as jr
import numpy as np
from jaxtyping import Array

from ...core.episode import Episode, begin
from ...core.loss import LeastSquares
from ...core.optimizer import AbstractOptimizer
from ...core.rollout import Records, episodes
from ...core.task import AbstractTask
from ...core.types import Instance, Key
from ...evaluation.engines import usable_cores
from ...optimizers.classic.proximal import FISTA
from . import problems

GAP, LANES, MOST = 1e-6, 64, 1000
PROBLEMS, TRIES = 5, 7
FIRST = 0xC10C


def timed(opt: AbstractOptimizer, n: int) -> dict[str, Any]:
    """Iterations and milliseconds of a problem, medians over problems."""
    task = problems.lasso(n // 2, n)
    keys = jr.split(jr.key(FIRST), LANES)
    found = {
        name: iterated(task, one, keys)
        for name, one in (("pa", opt), ("fista-restart", FISTA(restart=True)))
    }
    peer = [by_coordinates(task, task.sample(key)) for key in keys[:PROBLEMS]]
    peers = {"scikit-learn": {"ms": float(np.median(peer))}}
    return {"n": n, "cores": len(usable_cores()), **found, **peers}


def iterated(task: AbstractTask, opt: AbstractOptimizer, keys: Key) -> dict[str, Any]:
    """Iterations to the gap, and milliseconds of one problem alone and among 64."""
    starts = eqx.filter_jit(jax.vmap(lambda key: begin(task, opt, key)))(keys)
    seen = jax.device_get(path(task, opt, first(starts, PROBLEMS), MOST))
    counts = []
    for i in range(PROBLEMS):
        instance = jax.tree.map(lambda leaf: leaf[i], seen.looks)  # noqa: B023
        below = problems.gaps(task, instance, seen.steps[i]) <= GAP
        counts.append(int(np.argmax(below)) + 1 if below.any() else None)
    if None in counts:
        return {"iterations": None, "ms": None, "ms_of_64": None}
    steps, one = int(np.median(counts)), first(starts, 1)
    alone = fastest(lambda: end(task, opt, one, steps))
    all = fastest(lambda: end(task, opt, starts, steps)) / LANES
    return {"iterations": steps, "ms": round(1e3 * alone, 4), "ms_of_64": round(1e3 * all, 4)}


@eqx.filter_jit
def path(task: AbstractTask, opt: AbstractOptimizer, starts: Episode, steps: int) -> Records:
    instance, params = lambda episode, _: episode.instance, lambda step: step.after.params
    return episodes(task, opt, starts, steps, instance, observe=params, batch_size=LANES)


@eqx.filter_jit
def end(task: AbstractTask, opt: AbstractOptimizer, starts: Episode, steps: int) -> Array:
    params = lambda episode, _: episode.params
    return episodes(task, opt, starts, steps, params, batch_size=LANES).looks


def first(starts: Episode, count: int) -> Episode:
    return jax.tree.map(lambda leaf: leaf[:count], starts)


def fastest(call: Callable[[], Any]) -> float:
    """Seconds of the fastest of several calls, after one that compiles."""
    jax.block_until_ready(call())
    found = []
    for _ in range(TRIES):
        began = time.perf_counter()
        jax.block_until_ready(call())
        found.append(time.perf_counter() - began)
    return min(found)


def by_coordinates(task: problems.SparseRecovery, instance: Instance) -> float:
    """Milliseconds of scikit-learn."""
    from sklearn.linear_model import Lasso

    smooth = task.loss(instance, (), jr.key(0)).smooth
    assert isinstance(smooth, LeastSquares)
    A, b = np.asfortranarray(smooth.A, np.float64), np.asarray(smooth.b, np.float64)
    for tolerance in 10.0 ** -np.arange(2, 15):
        solver = Lasso(task.weight / len(b), fit_intercept=False, tol=tolerance, max_iter=100_000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            solver.fit(A, b)
            if problems.gaps(task, instance, solver.coef_[None])[0] <= GAP:
                return round(1e3 * fastest(lambda: solver.fit(A, b)), 4)  # noqa: B023
    return float("nan")
