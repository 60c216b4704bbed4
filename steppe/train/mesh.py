"""Meta-training by several devices and several processes.

One mesh axis, "episodes": θ and data on every device, each device its share of episodes. The
devices may belong to several processes. Each then holds its episodes alone, and XLA adds up the
meta-gradient where `average` sums over episodes.

Every process joins (`connect`) and runs the same program on the same arguments; the mesh spans the
devices of all. Process 0 alone writes checkpoints, metrics and console lines; all of them read.

A process that dies takes the others with it, and they say so: collectives fail at once on a
closed connection (`watched` turns that into a sentence), and one that hangs is given up by JAX
after `patience` seconds. All started again on the same folder go on from the newest checkpoint.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from ..core.messages import at_least
from ..core.rollout import AXIS
from .step import TrainState

PATIENCE = "xla_cpu_collective_call_terminate_timeout_seconds"
# How JAX's runtime speaks of a peer that is gone, on processors, on GPUs, and of the coordinator.
LOST = ("Gloo", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED")


class LostProcessError(RuntimeError):
    """Another process of this run ended or cannot be reached."""


class DisagreementError(ValueError):
    """The processes of a run were not given the same thing."""


def connect(coordinator: str, processes: int, process: int, *, patience: int = 60) -> None:
    """Join a run of `processes` processes as number `process`, counted from 0.

    `coordinator` is "host:port" of process 0, the same in all processes, where the port is free.
    To be called before JAX computes anything; returns once all have joined. After `patience`
    seconds a missing process is given up: at the start with an error, later by ending this one.
    """
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
        raise ValueError(
            f"connect: the coordinator must be host:port, got {coordinator!r}. Give the address "
            "of process 0 and a free port there, such as 10.0.0.1:4000."
        )
    if not 0 <= process < processes:
        raise ValueError(
            f"connect: process must be from 0 to {processes - 1} for {processes} processes, "
            f"got {process}. Give each its own number; process 0 runs on the coordinator's host."
        )
    at_least(1, "connect", patience=patience)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            process,
            initialization_timeout=patience,
            heartbeat_timeout_seconds=patience,
            shutdown_timeout_seconds=patience,
        )
    except RuntimeError as error:
        if "must be called before" in str(error) or "only be called once" in str(error):
            raise RuntimeError(
                "connect was called after JAX had started, or twice. Call it once, first thing "
                "in the program."
            ) from None
        raise LostProcessError(
            f"Process {process} did not reach all {processes} processes at {coordinator} within "
            f"{patience} s. Start them together, with the same address and number of processes."
        ) from error


def leads() -> bool:
    """True for the process that writes."""
    return jax.process_index() == 0


def agree(what: str, value: PyTree, todo: str) -> None:
    """Raise, in every process, unless `value` is the same in all of them.

    Compared by a digest are arrays, strings, Python numbers, and static fields as they print. All
    processes must call this.
    """
    if jax.process_count() == 1:
        return
    own = np.frombuffer(_digest(value), np.uint8)
    digests = np.asarray(multihost_utils.process_allgather(own))  # (processes, 32)
    other = [str(i) for i, digest in enumerate(digests) if not np.array_equal(digest, digests[0])]
    if other:
        raise DisagreementError(
            f"{what} of process {', '.join(other)} differs from that of process 0, but all "
            f"processes work on one meta-gradient. {todo}"
        )


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Turn the runtime's error over a lost connection into a sentence."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1 or not any(sign in str(error) for sign in LOST):
            raise
        raise LostProcessError(
            f"Process {jax.process_index()} of {jax.process_count()} lost another process, which "
            "ended or cannot be reached. Its own output says why. Start all processes again with "
            "the same folder: they go on from the newest checkpoint."
        ) from error


def _digest(value: PyTree) -> bytes:
    frame = str(jtu.tree_structure(value))
    frame = re.sub(r" at 0x[0-9a-f]+", "", frame)  # where a function lies in memory
    digest = hashlib.sha256(frame.encode())
    for where, leaf in jtu.tree_leaves_with_path(value):
        if isinstance(leaf, (jax.Array, np.ndarray, np.generic)):
            numbers = np.asarray(_plain(leaf) if isinstance(leaf, jax.Array) else leaf)
            digest.update(f"{jtu.keystr(where)} {numbers.dtype} {numbers.shape}".encode())
            digest.update(numbers.tobytes())
        elif isinstance(leaf, (str, int, float)):
            digest.update(f"{jtu.keystr(where)} {leaf!r}".encode())
    return digest.digest()


def _plain(x: jax.Array) -> jax.Array:
    return jr.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x


def use_cores(count: int | None = None, *, threads: bool = False) -> int:
    """Make JAX see this machine's processor as `count` devices (default: its cores).

    A learned optimizer's matrices are small: two cores working on an episode each are
    nearly twice as fast as two cores sharing one. To be called before JAX computes
    anything; without effect where JAX runs on an accelerator. Returns the count.

    - `threads`: give XLA as many threads, too, unless NPROC says another number. The order of a sum
      depends on how many there are, so that a run with as many cores on another machine has the
      same last digits then

    Where XLA_FLAGS says nothing of it, a device waits an hour for the others. XLA would abort the
    process after a minute, which a long step, or a machine with other work, can take.
    """
    if count is None:
        affinity = getattr(os, "sched_getaffinity", None)
        count = len(affinity(0)) if affinity else os.cpu_count() or 1
    if jax.config.jax_num_cpu_devices == count:  # pyright: ignore[reportAttributeAccessIssue]
        return count
    if PATIENCE not in (flags := os.environ.get("XLA_FLAGS", "")):  # they are read at the start
        os.environ["XLA_FLAGS"] = f"{flags} --{PATIENCE}=3600".strip()
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:
        raise RuntimeError(
            "use_cores was called after JAX had started, when the number of devices is fixed. "
            "Call it first thing in the program."
        ) from None
    if threads:
        os.environ.setdefault("NPROC", str(count))  # read when JAX starts
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

    Every process keeps its part of its own copy: the copies must be equal (`agree`).
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
