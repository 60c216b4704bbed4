"""Run a solver on the same problems as all others: errors by iteration, and seconds.

A batch goes in lockstep, so that it is done when its last problem is; one problem alone is done
when it is. What is timed is the loop without a look at the errors, as a user runs it.
"""

import dataclasses
import time
from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int

from ..core.episode import Episode, restart, unroll
from ..core.optimizer import AbstractOptimizer
from ..core.rollout import nothing
from ..core.types import Key, Params
from .family import Error, Known, WithMinimum
from .record import By, Row

REPEATS = 3  # of a timing, of which the quickest counts
ROOM = 1.0  # seconds, after which a timing is not repeated
STEPS = 50  # iterations that are timed where no tolerance says how many


class Problems(NamedTuple):
    """Problems and starts, stacked."""

    instances: Known
    starts: Params

    @property
    def size(self) -> int:
        return len(jax.tree.leaves(self.starts)[0])


def draw(family: WithMinimum, key: Key, count: int) -> Problems:
    """Draw `count` problems, with starts and minimisers."""
    return _draw(family, jr.split(key, count))


@eqx.filter_jit
def _draw(family: WithMinimum, keys: Key) -> Problems:
    def one(key: Key) -> Problems:
        key_instance, key_start = jr.split(key)
        instance = family.sample(key_instance)
        return Problems(instance, family.init(instance, key_start))

    return jax.vmap(one)(keys)


def errors(
    family: WithMinimum, opt: AbstractOptimizer, problems: Problems, steps: int, error: Error
) -> Float[np.ndarray, "problems steps+1"]:
    """Errors before the first and after each of `steps` iterations."""
    return np.asarray(_errors(family, opt, problems, steps, error), np.float64)


@eqx.filter_jit
def _errors(
    family: WithMinimum, opt: AbstractOptimizer, problems: Problems, steps: int, error: Error
) -> Array:
    def one(problem: Problems) -> Array:
        look = lambda step: getattr(family, error)(step.before.params, step.before.instance)
        return unroll(family, opt, _begin(problem, opt), steps + 1, look)[1]

    return jax.vmap(one)(problems)


@eqx.filter_jit
def solve(
    family: WithMinimum, opt: AbstractOptimizer, problems: Problems, steps: int | Int[Array, ""]
) -> Params:
    """Parameters after so many iterations, stacked; another number is no other program."""

    def one(problem: Problems) -> Params:
        step = lambda _, episode: unroll(family, opt, episode, 1, nothing)[0]
        return jax.lax.fori_loop(0, steps, step, _begin(problem, opt)).params

    return jax.vmap(one)(problems)


def _begin(problem: Problems, opt: AbstractOptimizer) -> Episode:
    key, zero = jr.key(0), jnp.zeros((), jnp.int32)
    return restart(Episode(problem.instances, problem.starts, (), zero, key), problem.starts, opt)


def seconds(family: WithMinimum, opt: AbstractOptimizer, problems: Problems, steps: float) -> float:
    """Seconds a problem of so many iterations, all problems in one batch; compiled before."""
    run = lambda steps: jax.block_until_ready(solve(family, opt, problems, jnp.asarray(steps)))
    run(1)
    found: list[float] = []
    while len(found) < REPEATS and sum(found) < ROOM:
        began = time.perf_counter()
        run(max(1, round(steps)))
        found.append(time.perf_counter() - began)
    return min(found) / problems.size


def first_of(problems: Problems, count: int) -> Problems:
    """The first `count` problems."""
    return jax.tree.map(lambda leaf: leaf[:count], problems)


def measured(
    row: Row,
    family: WithMinimum,
    opt: AbstractOptimizer,
    problems: Problems,
    width: int,
    by: Sequence[By],
) -> Row:
    """The row with its seconds.

    - `width`: problems of a batch
    - `by`: "batch" and "alone", what to measure of them
    """
    found: dict[str, tuple[float | None, ...] | float] = {}
    for how, count, needed in (("batch", width, row.last), ("alone", 1, row.iterations)):
        if how in by:
            which = first_of(problems, count)
            times = [k if k is None else seconds(family, opt, which, k) for k in needed]
            found[how] = tuple(times)
            k = next((k for k in needed if k), STEPS)
            found[f"step_{how}"] = seconds(family, opt, which, k) / max(1, round(k))
    return dataclasses.replace(row, **found)
