"""Run a solver on the same problems as all others: errors by iteration, and seconds.

A batch goes in lockstep, and is taken for done when nine in ten of its problems are; one problem
alone is done when it is. What is timed is an iteration without a look at the errors, as a user
runs it.
"""

import math
import time
from collections.abc import Mapping, Sequence
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
from ..train.preflight import check_room
from .family import Error, Known, WithMinimum
from .record import By

TURNS = 9  # of a timing, of which the quickest counts
ROOM = 0.5  # seconds a solver, after which there are no more turns
STEPS = 50  # iterations that are timed
SIZED = ("batch", "alone")  # ways of solving that are timed


class Problems(NamedTuple):
    """Problems and starts, stacked."""

    instances: Known
    starts: Params

    @property
    def size(self) -> int:
        return len(jax.tree.leaves(self.starts)[0])


def draw(family: WithMinimum, key: Key, count: int) -> Problems:
    """Draw `count` problems, with starts and minimisers; TooLargeError if memory is too small."""
    one = eqx.filter_eval_shape(_draw, family, jr.split(key, 1))
    sizes = [leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(one)]
    check_room(f"{count} problems to choose by", count * sum(sizes), "give fewer")
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
    what = f"Errors of {problems.size} problems after each of {steps} iterations"
    check_room(what, 4 * problems.size * steps, "give fewer problems or steps")
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


Paces = dict[str, float]  # by "batch" or "alone": seconds of an iteration of one problem


def paces(
    family: WithMinimum,
    opts: Mapping[str, AbstractOptimizer],
    problems: Problems,
    width: int,
    by: Sequence[By],
) -> dict[str, Paces]:
    """Paces of solvers by name, taken in turns, so that all meet the machine in the same moods.

    - `width`: problems of a batch
    - `by`: "batch" and "alone", of them what is wanted
    """
    which = {how: first_of(problems, width if how == "batch" else 1) for how in by if how in SIZED}
    best: dict[str, Paces] = {name: dict.fromkeys(which, math.inf) for name in opts}
    run = lambda name, how, steps: jax.block_until_ready(
        solve(family, opts[name], which[how], jnp.asarray(steps))
    )
    for name in opts:
        for how in which:
            run(name, how, 1)  # compiles
    began = time.perf_counter()
    for turn in range(TURNS):
        for name in opts:
            for how, these in which.items():
                start = time.perf_counter()
                run(name, how, STEPS)
                pace = (time.perf_counter() - start) / (STEPS * these.size)
                best[name][how] = min(best[name][how], pace)
        if turn >= 2 and time.perf_counter() - began > ROOM * len(opts):
            break
    return best


def first_of(problems: Problems, count: int) -> Problems:
    """The first `count` problems."""
    return jax.tree.map(lambda leaf: leaf[:count], problems)
