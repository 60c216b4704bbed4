"""Tensors side by side: one matrix of all coordinates, and sums over each tensor.

A rule that looks at whole tensors needs sums over the coordinates of each one and a way back, at
a cost, also of compilation, that does not grow with the number of tensors. Every tensor is padded
with zeros to m columns of `height` coordinates, its entry e stands at (e // m, e % m), and the
columns of all tensors stand side by side:

    x : (height, columns),   owner[j] = the tensor of column j

A sum over a tensor is a sum over rows, where the machine adds many columns at once, and then one
small product with the matrix [owner[j] = i]. Back goes the same product transposed.

The cells of the hierarchical network on these axes stand here too: a GRU with a bias from the level
above, affine maps, readouts (Wichrowska et al., "Learned optimizers that scale and generalize",
ICML 2017). Features come first; the axes after them are rows and columns of coordinates, or
tensors.
"""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from ...core.types import Key, Scalar
from .coordinates import safe_sqrt, tanh

MOST = 128  # height of a column at most; powers of two are tried downwards
PADDING = 0.25  # of the number of coordinates, at most


class Layout(eqx.Module):
    """Place of each coordinate of a tree of arrays; tensors without entries are left out."""

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
        """The entries of a tree of this layout, padded with zeros.

        One concatenation and one gather. Its transpose is `unpack`, and the other way round; JAX
        would scatter, and pad every tensor by itself.
        """
        pack = jax.custom_vjp(lambda x: self._pack(x, dtype))
        pack.defvjp(lambda x: (self._pack(x, dtype), None), lambda _, y: (self._unpack(y),))
        return pack(x)

    def unpack(self, x: Float[Array, "height columns"]) -> PyTree:
        """Inverse of `pack`: each leaf in its own shape and dtype."""
        unpack = jax.custom_vjp(self._unpack)
        unpack.defvjp(lambda x: (self._unpack(x), None), lambda _, y: (self._pack(y, x.dtype),))
        return unpack(x)

    # Without a derivative of their own: what is differentiated by one may be by JAX once more.
    def _pack(self, x: PyTree, dtype: jnp.dtype) -> Float[Array, "height columns"]:
        leaves = [jnp.ravel(leaf).astype(dtype) for leaf in jtu.tree_leaves(x)]
        flat = jnp.concatenate([jnp.zeros(1, dtype), *leaves])  # entries are counted from 1
        return flat.at[self._entries()].get(mode="promise_in_bounds")

    def _unpack(self, x: Float[Array, "height columns"]) -> PyTree:
        flat = x.ravel().at[self._places()].get(mode="promise_in_bounds", unique_indices=True)
        out, at = [], 0
        for shape, dtype in zip(self.shapes, self.dtypes, strict=True):
            size = math.prod(shape)
            out.append(flat[at : at + size].reshape(shape).astype(dtype))
            at += size
        return jtu.tree_unflatten(self.treedef, out)

    def sums(self, x: Float[Array, "... height columns"]) -> Float[Array, "... tensors"]:
        """Σ over the coordinates of each tensor."""
        return self.of_columns(jnp.sum(jnp.where(self._inside(), x, 0), -2))

    def of_columns(self, total: Float[Array, "... columns"]) -> Float[Array, "... tensors"]:
        """Σ over the columns of each tensor."""
        owner = self._owner(total.dtype)
        return jnp.matmul(total, owner, precision=jax.lax.Precision.HIGHEST)

    def inside(self) -> Bool[Array, "height columns"]:
        """Mask of the places that hold a coordinate."""
        return self._inside()

    def means(self, x: Float[Array, "... height columns"]) -> Float[Array, "... tensors"]:
        """The mean over the coordinates of each tensor."""
        sizes = jnp.asarray(self.sizes, x.dtype)
        return self.sums(x) / jnp.expand_dims(sizes, range(x.ndim - 2))

    def spread(self, x: Float[Array, "... tensors"]) -> Float[Array, "... 1 columns"]:
        """Each tensor's number over its columns."""
        owner = self._owner(x.dtype).T
        return jnp.matmul(x, owner, precision=jax.lax.Precision.HIGHEST)[..., None, :]

    def _entries(self) -> Int[np.ndarray, "height columns"]:
        """Number of the entry of the tree at each place, from 1; 0 for none."""
        each = lambda numbers: np.repeat(np.asarray(numbers, np.int32), self.widths)
        before = lambda numbers: each(np.cumsum([0, *numbers])[:-1])
        column = np.arange(self.shape[1], dtype=np.int32) - before(self.widths)
        within = np.arange(self.height, dtype=np.int32)[:, None] * each(self.widths) + column
        return np.where(within < each(self.sizes), within + before(self.sizes) + 1, 0)

    def _places(self) -> Int[np.ndarray, " n"]:
        """Place of each entry of the tree: row · columns + column."""
        entries = self._entries().ravel()
        places = np.zeros(sum(self.sizes) + 1, np.int32)
        places[entries] = np.arange(entries.size)
        return places[1:]

    def _inside(self) -> Bool[Array, "height columns"]:
        """Mask of the places that hold a coordinate."""
        return jnp.asarray(self._entries() > 0)

    def _owner(self, dtype: jnp.dtype) -> Float[Array, "columns tensors"]:
        owner = np.repeat(np.arange(len(self.sizes)), self.widths)
        return jax.nn.one_hot(jnp.asarray(owner), len(self.sizes), dtype=dtype)


def height(sizes: tuple[int, ...]) -> int:
    """The greatest power of two up to MOST that wastes few places on padding."""
    h = MOST
    while h > 1 and sum(-size % h for size in sizes) > PADDING * sum(sizes):
        h //= 2
    return h


def sigmoid(x: Array) -> Array:
    return 0.5 * (1 + tanh(0.5 * x))


def over(w: Array, x: Array) -> Array:
    """A vector or matrix w (features …) as many axes as x has, to be added to x."""
    return jnp.expand_dims(w, range(w.ndim, x.ndim))


def weights(w: Float[Array, "inputs outputs"], x: Float[Array, "inputs ..."]) -> Array:
    """wᵀ x over the first axis."""
    return jnp.einsum("kg,k...->g...", w, x)


class Affine(eqx.Module):
    w: Float[Array, "inputs outputs"]
    b: Float[Array, " outputs"]

    def __init__(self, inputs: int, outputs: int, scale: float, *, key: Key):
        self.w = jr.normal(key, (inputs, outputs)) * (scale / math.sqrt(inputs))
        self.b = jnp.zeros((outputs,))

    def __call__(self, x: Float[Array, "inputs tensors"]) -> Float[Array, "outputs tensors"]:
        return weights(self.w, x) + over(self.b, x)


class Readout(eqx.Module):
    """One number of a hidden state: w · h + b."""

    w: Float[Array, " hidden"]
    b: Scalar

    def __init__(self, hidden: int, scale: float, bias: float, *, key: Key):
        self.w = jr.normal(key, (hidden,)) * (scale / math.sqrt(hidden))
        self.b = jnp.asarray(bias, self.w.dtype)


class BiasGRU(eqx.Module):
    """A GRU whose three blocks take a bias from outside; u is the gate that keeps.

    r, u = σ(split([x, h] ᵀ W_g + b_g + β_ru)),   c = tanh([x, r ⊙ h] ᵀ W_c + b_c + β_c)
    h ← u ⊙ h + (1 − u) ⊙ c
    """

    w_gates: Float[Array, "inputs+hidden 2*hidden"]
    b_gates: Float[Array, " 2*hidden"]
    w_candidate: Float[Array, "inputs+hidden hidden"]
    b_candidate: Float[Array, " hidden"]

    def __init__(self, inputs: int, hidden: int, scale: float, gate_bias: float, *, key: Key):
        key_gates, key_candidate = jr.split(key)
        std = scale / math.sqrt(inputs + hidden)
        self.w_gates = std * jr.normal(key_gates, (inputs + hidden, 2 * hidden))
        self.b_gates = jnp.zeros((2 * hidden,)) + gate_bias
        self.w_candidate = std * jr.normal(key_candidate, (inputs + hidden, hidden))
        self.b_candidate = jnp.zeros((hidden,))

    def __call__(
        self, x: Float[Array, "inputs ..."], h: Float[Array, "hidden ..."], beta: Array | None
    ) -> Float[Array, "hidden ..."]:
        # x and h each meet their rows of both matrices: no copy of [x, h] and [x, r ⊙ h].
        q, m = len(x), len(h)
        b = over(jnp.concatenate([self.b_gates, self.b_candidate]), x)
        z = weights(jnp.concatenate([self.w_gates[:q], self.w_candidate[:q]], 1), x)
        z = z + (b if beta is None else b + beta)  # (3·hidden, …)
        # σ(z) = (1 + tanh(z/2))/2: r = (1 + t_r)/2, u = (1 + t_u)/2
        t_r, t_u = jnp.split(tanh(0.5 * (z[: 2 * m] + weights(self.w_gates[q:], h))), 2)
        c = tanh(z[2 * m :] + weights(self.w_candidate[q:], 0.5 * (1 + t_r) * h))
        return 0.5 * ((h + c) + t_u * (h - c))


def roots(x: Float[Array, "height columns"], count: int) -> Float[Array, "count height columns"]:
    """x, √x, √√x, …"""
    out = [x]
    for _ in range(count - 1):
        out.append(safe_sqrt(out[-1]))
    return jnp.stack(out)


def clip(x: Array, low: float, high: float) -> Array:
    """x within bounds, with the gradient of x itself."""
    stop = jax.lax.stop_gradient
    return stop(jnp.clip(x, low, high)) + (x - stop(x))
