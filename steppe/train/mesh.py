"""One mesh axis, "episodes": θ and data on every device, each device its share of episodes.

The devices may belong to several processes (`processes.py`). Each then holds its episodes alone,
and XLA adds up the meta-gradient where `average` sums over episodes.
"""

import contextlib
import os
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from ..core.rollout import AXIS
from .step import TrainState


def use_cores(count: int | None = None) -> int:
    """Make JAX see this machine's processor as `count` devices (default: its cores).

    A learned optimizer's matrices are small: two cores working on an episode each are
    nearly twice as fast as two cores sharing one. To be called before JAX computes
    anything; without effect where JAX runs on an accelerator. Returns the count.
    """
    if count is None:
        affinity = getattr(os, "sched_getaffinity", None)
        count = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        raise RuntimeError(
            "use_cores was called after JAX had started, when the number of devices is fixed. "
            "Call it first thing in the program."
        ) from None
    return count


def episode_mesh(
    devices: Sequence[jax.Device] | None = None,  # pyright: ignore[reportInvalidTypeForm]
) -> Mesh | None:
    """A mesh over `devices`, by default those of all processes; None if there is but one."""
    devices = jax.devices() if devices is None else list(devices)
    if len(devices) == 1:
        return None
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def active(mesh: Mesh | None) -> contextlib.AbstractContextManager:
    """The context in which `core.rollout.map_lanes` spreads episodes over `mesh`."""
    return contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh)


def shardings(state: TrainState, mesh: Mesh | None) -> TrainState | None:
    """Placement of each array of a training state: episodes split, the rest everywhere."""
    if mesh is None:
        return None
    everywhere = NamedSharding(mesh, PartitionSpec())
    split = NamedSharding(mesh, PartitionSpec(AXIS))

    def episodes(leaf):
        return split if leaf.ndim and leaf.shape[0] % mesh.size == 0 else everywhere

    return TrainState(
        opt=jtu.tree_map(lambda _: everywhere, state.opt),
        meta_state=jtu.tree_map(lambda _: everywhere, state.meta_state),
        est_state=jtu.tree_map(episodes, state.est_state),
        step=everywhere,  # pyright: ignore[reportArgumentType]
        key=everywhere,  # pyright: ignore[reportArgumentType]
    )


def place(tree: PyTree, places: PyTree | None) -> PyTree:
    """Arrays that are complete in every process, put where `places` (one sharding each) says.

    Every process keeps its part of its own copy: the copies must be equal (`processes.agree`).
    """
    return tree if places is None else jtu.tree_map(_put, tree, places)


def everywhere(tree: PyTree, mesh: Mesh | None) -> PyTree:
    """The arrays of `tree`, of which no process may hold all, complete on every device.

    To be called by all processes; leaves that are complete here already are left as they are.
    """
    leaves, structure = jtu.tree_flatten(tree)
    spread = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Array) and not _here(leaf)]
    if mesh is None or not spread:
        return tree
    gather = jax.jit(_unchanged, out_shardings=NamedSharding(mesh, PartitionSpec()))
    for i, whole in zip(spread, gather([leaves[i] for i in spread]), strict=True):
        leaves[i] = whole
    return jtu.tree_unflatten(structure, leaves)


def _put(x: Array, where: NamedSharding) -> Array:
    # Not jax.device_put, which refuses PRNG keys on devices of other processes.
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jr.wrap_key_data(_put(jr.key_data(x), where), impl=jr.key_impl(x))
    numbers = np.asarray(x)
    return jax.make_array_from_callback(numbers.shape, where, lambda index: numbers[index])


def _here(x: Array) -> bool:
    return x.is_fully_addressable or x.is_fully_replicated


def _unchanged(arrays: list[Array]) -> list[Array]:
    return arrays
