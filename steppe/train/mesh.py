"""One mesh axis, "episodes": θ and data on every device, each device its share of episodes."""

import contextlib
import os

import jax
import jax.tree_util as jtu
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ..core.parallel import AXIS
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


def episode_mesh() -> Mesh | None:
    """A mesh over this process's devices; None if there is but one."""
    devices = jax.local_devices()
    if len(devices) == 1:
        return None
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def active(mesh: Mesh | None) -> contextlib.AbstractContextManager:
    """The context in which `core.parallel.each` spreads episodes over `mesh`."""
    return contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh)


def shardings(state: TrainState, mesh: Mesh | None) -> TrainState | None:
    """Where each array of a training state lives: episodes split, the rest everywhere."""
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


def compiler_options(mesh: Mesh | None) -> dict[str, bool]:
    """On a processor split into devices, each works alone instead of sharing one thread pool."""
    cpu = mesh is not None and jax.default_backend() == "cpu"
    return {"xla_cpu_multi_thread_eigen": False} if cpu else {}
