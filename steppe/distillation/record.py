"""Runs of a teacher, recorded: the gradients that coordinates saw, and the updates they got.

    runs = record(teacher, task, runs=24, steps=200, key=key)
    more = record(teacher, task, runs=24, steps=200, key=key, leader=rule)

With a `leader` the run is the leader's, and what is kept is what the teacher would have done there:
a rule is then fitted where it goes itself (Ross, Gordon & Bagnell, "A reduction of imitation
learning to no-regret online learning", AISTATS 2011).

From every tensor the same number of coordinates is drawn, so that a large one does not drown the
others. In every second run the task is seen in coordinates of random scale, e^U(−B, B) each, with B
up to `spread`: teachers whose inputs are normalised are then seen at all signal-to-noise ratios,
and others at many sizes of the gradient.
"""

import dataclasses
from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float, Int

from ..core import tree
from ..core.backend import quick_compilation
from ..core.episode import Episode, Step, begin, restart
from ..core.messages import at_least, reals
from ..core.optimizer import AbstractOptimizer, frozen
from ..core.rollout import lanes_of, map_lanes, rollout, shapes
from ..core.task import AbstractTask
from ..core.types import Key, Params
from ..estimators.imitation import Shadow
from ..tasks.wrappers.scaled import Scaled

SPREAD = 3.0  # B of the most scaled run, as in published meta-training


@dataclasses.dataclass(frozen=True)
class Runs:
    """Gradients and updates of some coordinates, float64.

    - `g`, `u`: (runs, steps, coordinates)
    - `tensor`: (coordinates,), the number of the tensor that each belongs to, in all runs
    - `names`: of the tensors
    - `nonfinite`: runs that were left out, since a gradient or update in them was not finite
    """

    g: Float[np.ndarray, "runs steps coordinates"]
    u: Float[np.ndarray, "runs steps coordinates"]
    tensor: Int[np.ndarray, " coordinates"]
    names: tuple[str, ...]
    nonfinite: int = 0


def record(
    teacher: AbstractOptimizer,
    task: AbstractTask,
    *,
    runs: int = 24,
    steps: int = 200,
    coordinates: int = 10,
    key: Key,
    leader: AbstractOptimizer | None = None,
    spread: float = SPREAD,
) -> Runs:
    """Run a teacher and keep what some coordinates saw and did.

    - `teacher`: any optimizer, coordinatewise or not
    - `coordinates`: of each tensor, all where it has fewer; drawn anew for each run
    - `leader`: the optimizer that moves the parameters; None: the teacher
    - `spread`: B of the most scaled run, at least 0

    Raises ValueError where every run came to gradients or updates that are not finite.
    """
    at_least(1, "record", runs=runs, steps=steps, coordinates=coordinates)
    reals("record", spread=spread)
    if spread < 0:
        raise ValueError(f"record: spread must be at least 0, got {spread}.")
    teacher = frozen(teacher)
    shadow = Shadow(teacher) if leader is None else Shadow(frozen(leader), teacher)
    like = shapes(task)
    sizes = [leaf.size for leaf in jtu.tree_leaves(like)]
    key_runs, key_places = jr.split(key)
    places = [drawn(sizes, coordinates, k) for k in jr.split(key_places, runs)]
    # even runs as they are, odd ones scaled more and more
    powers = np.where(np.arange(runs) % 2, (np.arange(runs) + 1) / max(runs, 2), 0.0)
    lanes = (jr.split(key_runs, runs), jnp.asarray(np.stack(places)), jnp.asarray(powers))
    run = eqx.filter_jit(_run, compiler_options=quick_compilation())  # pyright: ignore[reportCallIssue]
    g, u = run(Scaled(task, spread), shadow, lanes, steps)
    g, u = (np.asarray(x, np.float64) for x in (g, u))  # (runs, steps, coordinates)
    good = np.isfinite(g).all((1, 2)) & np.isfinite(u).all((1, 2))
    if not good.any():
        raise ValueError(
            f"record: in all {runs} runs a gradient or an update was not finite, so that there is "
            "nothing to learn from; take fewer steps or another task."
        )
    counts = [min(size, coordinates) for size in sizes]
    names = tuple(jtu.keystr(path) for path, _ in jtu.tree_leaves_with_path(like))
    return Runs(
        g[good], u[good], np.repeat(np.arange(len(counts)), counts), names, int((~good).sum())
    )


def drawn(sizes: Sequence[int], each: int, key: Key) -> Int[np.ndarray, " coordinates"]:
    """Places of coordinates in the ravelled parameters, up to `each` of every tensor, ascending."""
    draw = np.random.default_rng(np.asarray(jr.key_data(key), np.uint32))
    starts = np.cumsum([0, *sizes])
    parts = [
        start + np.sort(draw.permutation(size)[:each])
        for start, size in zip(starts, sizes, strict=False)
    ]
    return np.concatenate(parts).astype(np.int32)


def _run(
    task: Scaled, shadow: Shadow, lanes: tuple[Key, Array, Array], steps: int
) -> tuple[Array, Array]:
    """Gradients and the teacher's updates, (runs, steps, coordinates) each."""

    def one(shared: tuple, lane: tuple[Key, Array, Array]) -> tuple[Array, Array]:
        (task, shadow), (key, places, power) = shared, lane
        episode = milder(begin(task, shadow, key), power, shadow)

        def observe(step: Step) -> tuple[Array, Array]:
            seen = step.after.opt_state
            dtype = tree.working_dtype(seen.grads)
            return tuple(tree.ravel(x, dtype)[0][places] for x in (seen.grads, seen.label))  # pyright: ignore

        return rollout(task, shadow, episode, steps, lambda end: (), observe=observe).steps

    return map_lanes(one, (task, shadow), lanes, batch_size=lanes_of(task, shadow))


def milder(episode: Episode, power: Array, opt: AbstractOptimizer) -> Episode:
    """The same episode of a scaled task with the scales c^power: 0 for the task as it is."""
    instance, c = episode.instance
    raised: Params = jtu.tree_map(lambda x: x**power, c)
    params = jtu.tree_map(lambda p, a, b: p * a / b, episode.params, c, raised)
    begun = Episode((instance, raised), params, episode.opt_state, episode.step, episode.key)
    return restart(begun, params, opt)


def joined(first: Runs, second: Runs) -> Runs:
    """The runs of both, of the same length and coordinates a tensor."""
    both = lambda name: np.concatenate([getattr(first, name), getattr(second, name)])
    count = first.nonfinite + second.nonfinite
    return Runs(both("g"), both("u"), first.tensor, first.names, count)
