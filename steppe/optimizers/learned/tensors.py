"""Tensors side by side: one matrix of all coordinates, and sums over each tensor.

A rule that looks at whole tensors needs sums over the coordinates of each one and a way back, at
a cost, also of compilation, that does not grow with the number of tensors. Every tensor is padded
with zeros to m columns of `height` coordinates, its entry e stands at (e // m, e % m), and the
columns of all tensors stand side by side:

    x : (height, columns),   owner[j] = the tensor of column j

A sum over a tensor is a sum over rows, where the machine adds many columns at once, and then one
small product with the matrix [owner[j] = i]. Back goes the same product transposed.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

MOST = 128  # height of a column at most; powers of two are tried downwards
PADDING = 0.25  # of the number of coordinates, at most


class Layout(eqx.Module):
    """Where each coordinate of a tree of arrays stands. Tensors without entries are none."""

    treedef: Any = eqx.field(static=True)
    shapes: tuple[tuple[int, ...], ...] = eqx.field(static=True)  # of all leaves
    dtypes: tuple[jnp.dtype, ...] = eqx.field(static=True)
    sizes: tuple[int, ...] = eqx.field(static=True)  # of the tensors: leaves that have entries
    height: int = eqx.field(static=True)

    def __init__(self, like: PyTree):
        leaves, self.treedef = jtu.tree_flatten(like)
        self.shapes = tuple(jnp.shape(leaf) for leaf in leaves)
        self.dtypes = tuple(jnp.result_type(leaf) for leaf in leaves)
        self.sizes = tuple(size for size in map(jnp.size, leaves) if size)
        self.height = height(self.sizes)

    @property
    def shape(self) -> tuple[int, int]:
        return self.height, sum(self.widths)

    @property
    def widths(self) -> tuple[int, ...]:
        """Columns of each tensor."""
        return tuple(-(-size // self.height) for size in self.sizes)

    def pack(self, x: PyTree, dtype: jnp.dtype) -> Float[Array, "height columns"]:
        """The entries of a tree of this layout, padded with zeros."""
        leaves = [jnp.ravel(leaf).astype(dtype) for leaf in jtu.tree_leaves(x) if leaf.size]
        columns = [
            jnp.pad(leaf, (0, self.height * width - leaf.size)).reshape(self.height, width)
            for leaf, width in zip(leaves, self.widths, strict=True)
        ]
        return jnp.concatenate([jnp.zeros((self.height, 0), dtype), *columns], 1)

    def unpack(self, x: Float[Array, "height columns"]) -> PyTree:
        """Inverse of `pack`: each leaf in its own shape and dtype."""
        out, at, widths = [], 0, iter(self.widths)
        for shape, dtype in zip(self.shapes, self.dtypes, strict=True):
            size = int(np.prod(shape))
            width = next(widths) if size else 0
            out.append(x[:, at : at + width].ravel()[:size].reshape(shape).astype(dtype))
            at += width
        return jtu.tree_unflatten(self.treedef, out)

    def sums(self, x: Float[Array, "... height columns"]) -> Float[Array, "... tensors"]:
        """Σ over the coordinates of each tensor."""
        total = jnp.sum(jnp.where(self._inside(), x, 0), -2)  # (…, columns)
        return jnp.matmul(total, self._owner(x.dtype), precision=jax.lax.Precision.HIGHEST)

    def means(self, x: Float[Array, "... height columns"]) -> Float[Array, "... tensors"]:
        """The mean over the coordinates of each tensor."""
        sizes = jnp.asarray(self.sizes, x.dtype)
        return self.sums(x) / jnp.expand_dims(sizes, range(x.ndim - 2))

    def spread(self, x: Float[Array, "... tensors"]) -> Float[Array, "... 1 columns"]:
        """Each tensor's number over its columns."""
        owner = self._owner(x.dtype).T
        return jnp.matmul(x, owner, precision=jax.lax.Precision.HIGHEST)[..., None, :]

    def _inside(self) -> Bool[Array, "height columns"]:
        """Which places hold a coordinate."""
        each = lambda numbers: np.repeat(np.asarray(numbers, int), self.widths)
        first = np.cumsum([0, *self.widths])[:-1]
        column = np.arange(self.shape[1]) - each(first)
        rows = -(-(each(self.sizes) - column) // each(self.widths))  # coordinates in each column
        return jnp.arange(self.height)[:, None] < jnp.asarray(rows)[None]

    def _owner(self, dtype: jnp.dtype) -> Float[Array, "columns tensors"]:
        owner = np.repeat(np.arange(len(self.sizes)), self.widths)
        return jax.nn.one_hot(jnp.asarray(owner), len(self.sizes), dtype=dtype)


def height(sizes: tuple[int, ...]) -> int:
    """The greatest power of two up to MOST that wastes few places on padding."""
    h = MOST
    while h > 1 and sum(-size % h for size in sizes) > PADDING * sum(sizes):
        h //= 2
    return h
