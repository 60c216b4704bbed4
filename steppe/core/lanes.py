"""Episodes side by side: over the devices of the mesh axis "episodes", and by `vmap` on each."""

from collections.abc import Callable

import jax
import jax.tree_util as jtu
from jax.sharding import PartitionSpec
from jaxtyping import PyTree

AXIS = "episodes"


def map_lanes(
    f: Callable[[PyTree, PyTree], PyTree], shared: PyTree, xs: PyTree, *, batch_size: int
) -> PyTree:
    """f(shared, x) for every x along the leading axis of `xs`, stacked.

    Where a mesh with the axis "episodes" is active (`train.mesh`) and its size divides
    the number of lanes, every device takes an equal share. On a device, at most
    `batch_size` lanes advance at once (`vmap`), group after group: side by side is best
    on an accelerator, one after the other where the lanes of one alone fill the cache.
    Lanes never mix, so the result does not depend on either choice beyond rounding.

    Raises ValueError where the mesh spans several processes and does not divide the lanes:
    then all of them would do all of the work.
    """
    lanes = jtu.tree_leaves(xs)[0].shape[0]

    def local(shared: PyTree, xs: PyTree) -> PyTree:
        count = jtu.tree_leaves(xs)[0].shape[0]
        group = group_size(count, batch_size)
        one = lambda x: f(shared, x)
        if group == count:
            return jax.vmap(one)(xs)
        return jax.lax.map(one, xs, batch_size=group if group > 1 else None)

    mesh = jax.sharding.get_abstract_mesh()
    if AXIS not in mesh.axis_names:
        return local(shared, xs)
    if lanes % (devices := mesh.shape[AXIS]):
        if devices <= jax.local_device_count():
            return local(shared, xs)
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
    )(shared, xs)


def group_size(lanes: int, batch_size: int) -> int:
    """The size of equal groups of at most `batch_size` lanes."""
    return max(d for d in range(1, max(min(batch_size, lanes), 1) + 1) if lanes % d == 0)
