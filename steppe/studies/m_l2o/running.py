"""Adapting while it runs: what does, on problems of a larger spread and of other families.

The learned rule is a start of the arm `transfer`, or the shipped rnnprop-v1. Controls: rate 0;
memory 0, which blames the last update alone (Baydin et al. 2018); Adam in place of a learned rule,
at the rate that is best at σ = 1.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from ...core.episode import begin, unroll
from ...core.optimizer import AbstractOptimizer
from ...core.task import AbstractTask
from ...core.types import Key
from ...evaluation.adaptation import adapt
from ...evaluation.tuning import tune
from ...optimizers.classic.from_optax import adam
from ...optimizers.guarded import Guarded
from ...optimizers.self_adapting import SelfAdapting, self_adapting
from ...tasks import build
from ...train.preflight import memory
from ...zoo import load
from . import arms, judging
from .settings import TRANSFER

EPISODES = 8  # problems of a family that an optimizer is judged on
JUDGED, TUNED = 0xFA1, 0xADA  # keys of those, and of others for the rate of Adam
ROUNDS, TIMED = 9, 100  # pairs of runs, and their steps


def guarded(opt: AbstractOptimizer, own: AbstractOptimizer) -> AbstractOptimizer:
    return Guarded(own, opt, restart=False)


HOW: dict[str, Callable[[AbstractOptimizer], AbstractOptimizer]] = {
    "self-adapting": self_adapting,
    "unguarded": SelfAdapting,
    "tensors": lambda opt: guarded(opt, SelfAdapting(opt, directions="tensors")),
    "last-update": lambda opt: guarded(opt, SelfAdapting(opt, memory=0.0)),
    "still": lambda opt: SelfAdapting(opt, 0.0),
}
PRICED = {  # what is timed against the optimizer as it is
    "unguarded": HOW["unguarded"],
    "each tensor too, unguarded": lambda opt: SelfAdapting(opt, directions="tensors"),
    "a guard around the optimizer as it is": lambda opt: guarded(opt, opt),
    "self-adapting": HOW["self-adapting"],
}


def optimizer(arm: str, seed: int, cell: dict[str, Any]) -> AbstractOptimizer:
    """The optimizer of an arm: "BASE-HOW", or "BASE" as it is."""
    base, _, how = arm.partition("-")
    if base == "near":
        near = judging.best_rate(max(arms.SPREADS), cell["instances"], cell["steps"])
        opt = adam(near)
    elif base == "shipped":
        opt = load("rnnprop-v1")
    else:
        opt, _ = arms.made(TRANSFER, seed, cell["instances"], cell["updates"])
    return HOW[how](opt) if how else opt


# Other families of problems.


def elsewhere(cell: dict[str, Any], seed: int) -> dict[str, Any]:
    """Losses on a family: as it is, adapted before, adapting while it runs, and tuned Adam's."""
    task, steps = build(cell["family"]), cell["steps"]
    opt = optimizer(cell["arm"], seed, cell)
    adapted, found = adapt(opt, task, updates=5, test=2, seed=1000 + seed)
    tuned = adam(jnp.asarray(best_rate(cell["family"], steps)))
    rivals = {"given": opt, "adapted": adapted, "running": self_adapting(opt), "tuned": tuned}
    keys = jr.split(jr.fold_in(jr.key(JUDGED), seed), EPISODES)
    looks = {name: _look(task, rival, keys, steps) for name, rival in rivals.items()}
    return {"seed": seed, "looks": looks, "kept": found.kept, "rate": found.rate}


def _look(task: AbstractTask, opt: AbstractOptimizer, keys: Key, steps: int) -> dict[str, Any]:
    found = np.asarray(_losses(task, opt, keys, steps))
    return judging.told(found[None], 0.0)


_losses = eqx.filter_jit(arms.losses)


@functools.cache
def best_rate(family: str, steps: int) -> float:
    """Adam's rate of the least loss on a family, on problems that nobody is judged on."""
    key = jr.key(TUNED)
    return tune(build(family), adam, horizon=steps, key=key, grid=judging.RATES, seeds=4).best


# The price.


def price(task: AbstractTask, opt: AbstractOptimizer) -> dict[str, dict[str, float]]:
    """Processor time and memory of a run, as multiples of those of `opt` as it is, in pairs."""
    alone, found = Program(task, opt), {}
    for name, how in PRICED.items():
        own = Program(task, how(opt))
        pairs = np.array([(own.seconds(), alone.seconds()) for _ in range(ROUNDS)])
        low, time_, high = np.percentile(pairs[:, 0] / pairs[:, 1], (10, 50, 90))
        found[name] = {
            "time": round(float(time_), 3),
            "low": round(float(low), 3),
            "high": round(float(high), 3),
            "memory": round(own.bytes / alone.bytes, 3),
        }
    return found


class Program:
    """A compiled run, to be timed."""

    def __init__(self, task: AbstractTask, opt: AbstractOptimizer):
        arrays, static = eqx.partition((task, opt), eqx.is_array)

        def run(arrays, key: Key) -> Array:
            task, opt = eqx.combine(arrays, static)
            end, _ = unroll(task, opt, begin(task, opt, key), TIMED, lambda step: ())
            return end.params

        given = arrays, jr.key(0)
        self.compiled, self.given = jax.jit(run).lower(*given).compile(), given
        counted = memory(self.compiled, given)
        self.bytes = counted.whole if counted else float("nan")
        self.seconds()

    def seconds(self) -> float:
        began = time.process_time()
        jax.block_until_ready(self.compiled(*self.given))
        return time.process_time() - began
