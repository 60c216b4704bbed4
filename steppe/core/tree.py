"""Arithmetic on pytrees of arrays, and the two tricks that the library leans on:
strong types (`strongly_typed`) and exact surrogate gradients (`with_gradient`)."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, PyTree

from .types import Params, Scalar, Updates


def add(x: PyTree, y: PyTree) -> PyTree:
    return jtu.tree_map(jnp.add, x, y)


def scale(a: float | Scalar, x: PyTree) -> PyTree:
    return jtu.tree_map(lambda leaf: a * leaf, x)


def dot(x: PyTree, y: PyTree) -> Scalar:
    """Σ xᵢ yᵢ over all leaves, at full precision, in float32 at least."""

    def leaf(a, b):
        wide = working_dtype((a, b))
        return jnp.vdot(a, b, precision=jax.lax.Precision.HIGHEST, preferred_element_type=wide)

    return sum(jtu.tree_leaves(jtu.tree_map(leaf, x, y)), start=jnp.zeros((), working_dtype(x)))


def norm(x: PyTree) -> Scalar:
    return jnp.sqrt(dot(x, x))


def working_dtype(like: PyTree) -> jnp.dtype:
    """The widest dtype of the leaves, or float32 if that is wider."""
    # Of dtypes, not of leaves: a weakly typed float64 would give way to float32.
    return jnp.result_type(jnp.float32, *(leaf.dtype for leaf in jtu.tree_leaves(like)))


def size(x: PyTree) -> int:
    """Number of coordinates over all leaves (arrays or shape structs)."""
    return sum(leaf.size for leaf in jtu.tree_leaves(x))


def select(pred: Bool[Array, ""], x: PyTree, y: PyTree) -> PyTree:
    """x where `pred` holds, else y, leaf by leaf. PRNG keys are allowed."""
    return jtu.tree_map(lambda a, b: jnp.where(pred, a, b), x, y)


def finite(x: PyTree) -> Bool[Array, ""]:
    """True if every entry of every inexact leaf is finite."""
    leaves = [leaf for leaf in jtu.tree_leaves(x) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in leaves] or [True]))


def apply_updates(params: Params, updates: Updates) -> Params:
    """params + updates, each leaf kept in its own dtype."""
    return jtu.tree_map(lambda p, u: p + u.astype(p.dtype), params, updates)


def strongly_typed(x: PyTree) -> PyTree:
    """Every array or number leaf as an array cast to its own dtype: strongly typed.

    One weakly typed leaf in an initial state costs two more compilations of a
    step function (the second call has another type than the first).
    """

    def cast(leaf):
        if not eqx.is_array_like(leaf):
            return leaf
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return leaf
        array = jnp.asarray(leaf)
        return jax.lax.convert_element_type(array, array.dtype)

    return jtu.tree_map(cast, x)


def with_gradient(value: Scalar, surrogate: Scalar) -> Scalar:
    """A scalar that has the value of `value` and the gradient of `surrogate`."""
    stop = jax.lax.stop_gradient
    return stop(value) + (surrogate - stop(surrogate))


def ravel(x: PyTree, dtype: jnp.dtype) -> tuple[Array, Callable[[Array], PyTree]]:
    """All coordinates as one vector of `dtype`, in leaf order, and the way back.

    The way back restores each leaf's shape and dtype. Unlike
    `jax.flatten_util.ravel_pytree` it accepts mixed dtypes without promotion
    rules getting a say, and an empty tree.
    """
    leaves, treedef = jtu.tree_flatten(x)
    shapes = [(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves]
    sizes = [int(jnp.size(leaf)) for leaf in leaves]
    vector = jnp.concatenate(
        [jnp.zeros((0,), dtype), *(jnp.ravel(leaf).astype(dtype) for leaf in leaves)]
    )

    def unravel(flat: Array) -> PyTree:
        out, start = [], 0
        for (shape, leaf_dtype), count in zip(shapes, sizes, strict=True):
            out.append(flat[start : start + count].reshape(shape).astype(leaf_dtype))
            start += count
        return jtu.tree_unflatten(treedef, out)

    return vector, unravel
