"""How far objectives are from their minima, as the Primer reports it: a ratio of two means.

    R = mean_q [ f_q(x) − f_q* ] / mean_q [ f_q* ]

Not the mean of ratios: f* is 0 where a measured vector is. Minima and values are worked out in
float64, whatever the run is made in.

    known = minima(task, jr.split(key, 256))
    relative_losses(ISTA(), known, at=(10, 100))         one number for each

Chen et al., "Learning to optimize: a primer and a benchmark", JMLR 2022: their modified relative
loss.
"""

import dataclasses
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Float, PyTree

from ..core import tree
from ..core.arguments import told
from ..core.loss import Composite, expect
from ..core.messages import at_least
from ..core.optimizer import AbstractOptimizer
from ..core.rollout import episodes
from ..core.task import AbstractTask, Problem
from ..core.types import Instance, Key, Params
from ..optimizers.classic.proximal import ISTA
from ..tasks.inverse.optimum import optimum

Numbers = Float[np.ndarray, " problems"]


@dataclasses.dataclass(frozen=True)
class Minima:
    """Problems of a task, by the keys of the episodes that solve them, with their minima.

    - `task`: the family
    - `keys`: (problems,)
    - `instances`: stacked
    - `values`: (problems,); each minimum is between value − gap and value
    - `gaps`: (problems,); ∞ where nothing is proven
    """

    task: AbstractTask
    keys: Key
    instances: Instance
    values: Numbers
    gaps: Numbers


def minima(task: AbstractTask, keys: Key, tolerance: float = 1e-12) -> Minima:
    """Minimise the problems of the episodes that begin with these keys.

    - `task`: its losses must be a `Composite`
    - `keys`: (problems,)
    - `tolerance`: of the duality gap, see `optimum`
    """
    if not (isinstance(keys, jax.Array) and keys.shape and keys.ndim == 1 and len(keys)):
        raise ValueError(
            f"minima: keys must be an array of keys, one a problem, got {told(keys)}; "
            "jr.split(key, 64) makes one."
        )
    begun = lambda episode, _: (episode.instance, episode.params)
    run = eqx.filter_jit(lambda task, keys: episodes(task, ISTA(), keys, 0, begun, at=(0,)).looks)
    instances, starts = jtu.tree_map(lambda leaf: leaf[:, 0], run(task, keys))
    with jax.enable_x64(True):
        wide, rows, starts = (_wide(part) for part in (task, instances, starts))
        found = []
        for i in range(len(keys)):
            instance, start = jtu.tree_map(lambda leaf, i=i: leaf[i], (rows, starts))
            found.append(optimum(_loss(wide, instance), tolerance, start=start))
    values, gaps = (np.array([getattr(f, name) for f in found]) for name in ("value", "gap"))
    return Minima(task, keys, instances, values, gaps)


def relative_losses(
    opt: AbstractOptimizer, known: Minima, at: Sequence[int]
) -> Float[np.ndarray, " marks"]:
    """R of an optimizer after given numbers of steps.

    - `at`: numbers of steps, ascending
    """
    return relative_loss(values_after(opt, known, at), known.values)


def values_after(
    opt: AbstractOptimizer, known: Minima, at: Sequence[int]
) -> Float[np.ndarray, "problems marks"]:
    """Objectives, in float64, that an optimizer reaches after given numbers of steps.

    - `at`: numbers of steps, ascending
    """
    at_least(0, "relative_losses", at=tuple(at))
    if not len(at):
        raise ValueError("relative_losses: at is empty; give numbers of steps, such as (10, 100).")
    x = _runs(known.task, opt, known.keys, tuple(map(int, at)))
    with jax.enable_x64(True):
        return np.asarray(_values(*(_wide(part) for part in (known.task, known.instances, x))))


def relative_loss(values: Float[np.ndarray, "problems ..."], least: Numbers) -> np.ndarray:
    """R: the mean rise above the minima over their mean.

    - `values`: (problems, …)
    - `least`: the minima, (problems,), with a positive mean
    """
    if least.ndim != 1 or values.shape[:1] != least.shape:
        raise ValueError(
            f"relative_loss: values are {values.shape} and minima {least.shape}, expected "
            "(problems, …) and (problems,)."
        )
    if not least.mean() > 0:
        raise ValueError(
            f"relative_loss: the mean of the minima is {least.mean()}, expected a positive one; "
            "take the rise itself."
        )
    rise = values - least.reshape(-1, *[1] * (values.ndim - 1))
    return rise.mean(axis=0) / least.mean()


def _loss(task: AbstractTask, instance: Instance) -> Composite:
    batch = task.full_batch(instance, split="train")
    return expect(Problem(task, instance, batch, jr.key(0)).loss(), Composite, "minima")


@eqx.filter_jit
def _runs(task: AbstractTask, opt: AbstractOptimizer, keys: Key, at: tuple[int, ...]) -> Params:
    """Parameters after given numbers of steps; optimizers of one kind share a program."""
    look = lambda episode, _: episode.params
    return episodes(task, opt, keys, at[-1], look, at=at).looks


@eqx.filter_jit
def _values(task: AbstractTask, instances: Instance, x: Params) -> jax.Array:
    of = lambda instance, points: jax.vmap(_loss(task, instance))(points)
    return jax.vmap(of)(instances, x)


def _wide(x: PyTree) -> PyTree:
    """A tree with its arrays in float64."""
    arrays, static = eqx.partition(x, eqx.is_array)
    return eqx.combine(tree.cast(arrays, jnp.dtype("float64")), static)
