"""The cost of a solver: its numbers, and processor time of a step of one problem."""

import time

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Int

from ..core import tree
from ..core.optimizer import AbstractOptimizer, split_meta
from ..core.rollout import episodes
from ..core.task import AbstractTask
from ..core.types import Key

TOGETHER = 64  # problems side by side


def numbers(opt: AbstractOptimizer) -> int:
    """Count of the numbers that are trained or tuned."""
    return tree.size(split_meta(opt)[0])


def of_step(task: AbstractTask, opt: AbstractOptimizer, steps: int, key: Key) -> float:
    """Processor seconds of a step of one problem among many, in float32.

    - `steps`: over which the mean is taken; what it takes to draw the problems is left out
    """
    keys = jr.split(key, 16 * TOGETHER)

    def clock(count: int) -> float:
        many = jnp.asarray(count, jnp.int32)
        jax.block_until_ready(_end(task, opt, keys, many))
        best = np.inf
        for _ in range(3):
            began = time.process_time()
            jax.block_until_ready(_end(task, opt, keys, many))
            best = min(best, time.process_time() - began)
        return best

    return max(clock(steps) - clock(0), 0.0) / (steps * len(keys))


@eqx.filter_jit
def _end(task: AbstractTask, opt: AbstractOptimizer, keys: Key, steps: Int[Array, ""]) -> Array:
    look = lambda episode, _: episode.params
    return episodes(task, opt, keys, steps, look, batch_size=TOGETHER).looks
