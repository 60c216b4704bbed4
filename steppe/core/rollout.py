"""Run episodes and look at them: the one way to train problems and see how it went.

    final = lambda episode, _: episode.params
    ends = episodes(task, opt, jr.split(key, 8), 100, final).looks        # (8, …) each array

Validation, tuning, evaluation, certificates and studies differ in what they look at, and when.

Episodes go side by side (`map_lanes`): over the devices of the mesh axis "episodes", and by `vmap`
on each.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jax.sharding import PartitionSpec
from jaxtyping import Array, Int, PyTree

from . import tree
from .backend import lanes_together
from .episode import Episode, Step, begin, held, unroll
from .optimizer import AbstractOptimizer
from .task import AbstractTask
from .types import Key, Obs

AXIS = "episodes"


def map_lanes(
    f: Callable[[PyTree, PyTree], PyTree], shared: PyTree, xs: PyTree, *, batch_size: int
) -> PyTree:
    """f(shared, x) for every x along the leading axis of `xs`, stacked.

    - `shared`: what lanes have in common; its arrays go to every device, all else is static
    - `xs`: arrays

    Where a mesh with the axis "episodes" is active (`train.mesh`) and its size divides
    the number of lanes, every device takes an equal share. On a device, at most
    `batch_size` lanes advance at once (`vmap`), group after group: side by side is best
    on an accelerator, one after the other where the lanes of one alone fill the cache.
    Lanes never mix, so the result does not depend on either choice beyond rounding. Lanes
    within a lane stay on its device.

    Raises ValueError where the mesh spans several processes and does not divide the lanes:
    then all of them would do all of the work.
    """
    lanes = jtu.tree_leaves(xs)[0].shape[0]
    arrays, static = eqx.partition(shared, eqx.is_array)

    def local(arrays: PyTree, xs: PyTree) -> PyTree:
        count = jtu.tree_leaves(xs)[0].shape[0]
        group = group_size(count, batch_size)
        one = lambda x: f(eqx.combine(arrays, static), x)
        if group == count:
            return jax.vmap(one)(xs)
        return jax.lax.map(one, xs, batch_size=group if group > 1 else None)

    mesh = jax.sharding.get_abstract_mesh()
    if AXIS not in mesh.axis_names or AXIS in mesh.manual_axes:
        return local(arrays, xs)
    if lanes % (devices := mesh.shape[AXIS]):
        if devices <= jax.local_device_count():
            return local(arrays, xs)
        raise ValueError(
            f"{lanes} episodes cannot be shared equally by the {devices} devices of all "
            f"{jax.process_count()} processes. Take a multiple of {devices} "
            "(training and validation episodes alike)."
        )
    return jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec(AXIS)),
        out_specs=PartitionSpec(AXIS),
        check_vma=False,
    )(arrays, xs)


def group_size(lanes: int, batch_size: int) -> int:
    """The size of equal groups of at most `batch_size` lanes."""
    return max(d for d in range(1, max(min(batch_size, lanes), 1) + 1) if lanes % d == 0)


Optimizer = AbstractOptimizer | Callable[[PyTree], AbstractOptimizer]


class Records(NamedTuple):
    """Records of rollouts, stacked."""

    looks: Obs  # of the episode after each step of `at`; of its end alone without `at`
    steps: Obs  # of every inner step


def nothing(step: Step) -> tuple[()]:
    """Observe a step and record nothing of it."""
    return ()


def rollout(
    task: AbstractTask,
    opt: AbstractOptimizer,
    start: Key | Episode,
    steps: int | Int[Array, ""],
    look: Callable[[Episode], Obs],
    *,
    at: Sequence[int] | None = None,
    observe: Callable[[Step], Obs] = nothing,
) -> Records:
    """Run one episode and look at it.

    - `start`: a key to begin the episode from, or the episode
    - `steps`: inner steps. An array serves all lengths with one compilation, but allows one look
      alone, at the end, and observes nothing
    - `look`: episode → record
    - `at`: numbers of steps, 0 … `steps`, ascending, after which to look; None: after the last
    - `observe`: step → record, for every inner step
    """
    episode = start if isinstance(start, Episode) else begin(task, opt, start)
    if isinstance(steps, jax.Array):
        if at is not None or observe is not nothing:
            raise ValueError("rollout: of a number of steps that is an array only the end is seen.")
        step = lambda _, episode: unroll(task, opt, episode, 1, nothing)[0]
        return Records(look(jax.lax.fori_loop(0, steps, step, episode)), ())
    if at is None:
        episode, seen = unroll(task, opt, episode, steps, observe)
        return Records(look(episode), seen)
    marks = [int(mark) for mark in at]
    if not marks or marks != sorted(set(marks)) or marks[0] < 0 or marks[-1] > steps:
        raise ValueError(f"rollout: at must ascend from 0 to {steps} at most, got {marks}.")

    def advance(episode: Episode, length: int) -> tuple[Episode, tuple[Obs, Obs]]:
        if not length:
            return episode, (look(episode), None)
        episode, seen = unroll(task, opt, episode, length, observe)
        return episode, (look(episode), seen)

    looks, seen = [], []
    gaps = [after - before for before, after in itertools.pairwise([0, *marks])]
    for gap, same in itertools.groupby(gaps):
        if (count := len(list(same))) == 1:
            episode, (found, observed) = advance(episode, gap)
            found = jtu.tree_map(lambda leaf: jnp.asarray(leaf)[None], found)
        else:
            again = lambda episode, _, gap=gap: advance(episode, gap)
            episode, (found, observed) = jax.lax.scan(again, episode, length=count)
            observed = jtu.tree_map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), observed)
        looks.append(found)
        seen += [observed] if gap else []
    if marks[-1] < steps:
        seen.append(unroll(task, opt, episode, steps - marks[-1], observe)[1])
    join = lambda parts: jtu.tree_map(lambda *leaves: jnp.concatenate(leaves), *parts)
    return Records(join(looks), join(seen) if seen else ())


def episodes(
    task: AbstractTask,
    opt: Optimizer,
    starts: Key | Episode,
    steps: int | Int[Array, ""],
    look: Callable[[Episode, PyTree], Obs],
    *,
    beside: PyTree = (),
    at: Sequence[int] | None = None,
    observe: Callable[[Step], Obs] = nothing,
    batch_size: int | None = None,
) -> Records:
    """Run episodes side by side and look at them: `rollout` of each, the records stacked.

    - `opt`: the optimizer; or f(that of `beside`) → optimizer, where every episode has its own
    - `starts`: (episodes,) keys to begin from, or episodes, stacked
    - `steps`, `at`, `observe`: as in `rollout`
    - `look`: (episode, that of `beside`) → record
    - `beside`: arrays (episodes, …), for an episode each: keys to draw with, learning rates
    - `batch_size`: episodes advanced at once on a device; None: what suits their size

    Returns records whose arrays have the episodes in front. To be called under `jit`; episodes go
    over the devices of a mesh that is active (`train.mesh`).
    """

    def one(shared: tuple, lane: tuple[Key | Episode, PyTree]) -> Records:
        (task, opt, steps), (start, beside) = shared, lane
        own = opt if isinstance(opt, AbstractOptimizer) else opt(beside)
        see = lambda episode: look(episode, beside)
        return rollout(task, own, start, steps, see, at=at, observe=observe)

    batch_size = lanes_of(task, opt) if batch_size is None else batch_size
    return map_lanes(one, (task, opt, steps), (starts, beside), batch_size=batch_size)


def lanes_of(task: AbstractTask, opt: Optimizer, *, shared: bool = True) -> int:
    """Episodes that one device best advances at once, by the numbers that each holds.

    - `opt`: the optimizer; of f → optimizer the state is not known, and not counted
    - `shared`: whether every episode has this very one, or one like it
    """
    if not isinstance(opt, AbstractOptimizer):
        return lanes_together(tree.size(shapes(task)))
    episode = eqx.filter_eval_shape(lambda key: begin(task, opt, key), jr.key(0))
    matrix = shared and getattr(opt, "matrix", False)
    return lanes_together(held(episode), matrix=matrix)


def shapes(task: AbstractTask) -> PyTree:
    """Shapes and dtypes of a task's parameters."""
    return eqx.filter_eval_shape(lambda key: task.init(task.sample(key), key), jr.key(0))
