"""Arithmetic on pytrees of arrays, and the two tricks that the library leans on:
strong types (`strongly_typed`) and exact surrogate gradients (`with_gradient`).

Norms and squares are taken of entries over a power of two near the largest one (`magnitude`).
Then no square leaves the range of its dtype on the way, at any scale of the entries; and since
such a factor is exact, no bit of a result changes.
"""

import functools
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, PyTree

from .types import Params, Scalar, Updates


def add(x: PyTree, y: PyTree) -> PyTree:
    return jtu.tree_map(jnp.add, x, y)


def scale(a: float | Scalar, x: PyTree) -> PyTree:
    return jtu.tree_map(lambda leaf: a * leaf, x)


def dot(x: PyTree, y: PyTree) -> Scalar:
    """Σ xᵢ yᵢ over all leaves, at full precision, in float32 at least."""

    total = working_dtype((x, y))

    def leaf(a, b):
        wide = working_dtype((a, b))
        if jnp.result_type(a) != jnp.result_type(b):
            a, b = jnp.asarray(a, wide), jnp.asarray(b, wide)
        exact = jax.lax.Precision.HIGHEST
        return jnp.vdot(a, b, precision=exact, preferred_element_type=wide).astype(total)

    return sum(jtu.tree_leaves(jtu.tree_map(leaf, x, y)), start=jnp.zeros((), total))


def norm(x: PyTree) -> Scalar:
    """‖x‖ over all leaves, at any scale of x; its derivative at 0 is 0."""
    square, s = scaled_square(x)
    zero = square == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, square))) * s


@jax.custom_jvp
def squared_norm(x: PyTree) -> Scalar:
    """‖x‖² over all leaves: ∞ or 0 only where ‖x‖² itself is out of the range of its dtype."""
    square, s = scaled_square(x)
    return square * s * s


@squared_norm.defjvp
def _(primals: tuple[PyTree], tangents: tuple[PyTree]) -> tuple[Scalar, Scalar]:
    # 2⟨x, ẋ⟩ is in range where ‖x‖² may not be.
    return squared_norm(*primals), 2 * dot(*primals, *tangents)


def scaled_square(x: PyTree) -> tuple[Scalar, Scalar]:
    """(q, s) with ‖x‖² = q s², s a power of two, q between ¼ and 2n; q = 0 for x = 0."""
    s = magnitude(x)
    y = jtu.tree_map(lambda leaf: jnp.asarray(leaf, s.dtype) / s, x)
    return dot(y, y), s


def magnitude(x: PyTree) -> Scalar:
    """The power of two nearest to the largest |entry|, see `power_of_two`."""
    dtype, leaves = working_dtype(x), jax.lax.stop_gradient(jtu.tree_leaves(x))
    tops = [jnp.max(jnp.abs(jnp.asarray(leaf, dtype)), initial=0) for leaf in leaves]
    return power_of_two(functools.reduce(jnp.maximum, tops, jnp.zeros((), dtype)))


def power_of_two(x: Array) -> Array:
    """The power of two nearest to each entry x ≥ 0, a constant under differentiation.

    Where x, or 1/x, has none in its dtype (0, denormal numbers, ∞): the nearest that has.
    """
    limits = jnp.finfo(x.dtype)
    p = jax.lax.reduce_precision(jax.lax.stop_gradient(x), limits.nexp, 0)
    return jnp.clip(p, limits.tiny, 1 / limits.tiny)


def working_dtype(like: PyTree) -> jnp.dtype:
    """The widest dtype of the leaves, or float32 if that is wider."""
    # Of dtypes, not of leaves: a weakly typed float64 would give way to float32.
    return widest(jnp.float32, *(jnp.result_type(leaf) for leaf in jtu.tree_leaves(like)))


def promoting(f: Callable) -> Callable:
    """f, with JAX's usual promotion inside also where the user has set `numpy_dtype_promotion`.

    For arithmetic that mixes dtypes on purpose and casts its result. No function of the user's
    may be called in it: promotion there is for the user to forbid.
    """

    @functools.wraps(f)
    def run(*args, **kwargs):
        with jax.numpy_dtype_promotion("standard"):
            return f(*args, **kwargs)

    return run


@promoting
def rescale(a: float | Scalar, x: PyTree) -> PyTree:
    """a · x, leaf by leaf in its own dtype, whatever that of a."""
    return jtu.tree_map(lambda leaf: (a * leaf).astype(leaf.dtype), x)


def widest(*dtypes: DTypeLike) -> jnp.dtype:
    """The dtype that JAX promotes these to, also where the user has forbidden promotion."""
    return promoting(jnp.result_type)(*dtypes)


def size(x: PyTree) -> int:
    """Number of coordinates over all leaves (arrays, numbers or shape structs)."""
    return sum(math.prod(jnp.shape(leaf)) for leaf in jtu.tree_leaves(x))


REAL = tuple(jnp.dtype(x) for x in (jnp.bfloat16, jnp.float16, jnp.float32, jnp.float64))


def real(x: PyTree, owner: str, what: str = "params") -> PyTree:
    """The tree with every leaf a JAX array of floats; Python's and NumPy's floats become one.

    - `x`: a tree of arrays and numbers
    - `owner`, `what`: who asks for it and what it is, for the sentence of the ValueError that
      any other leaf raises: complex or whole numbers, truth values, functions, PRNG keys
    """
    leaves, treedef = jtu.tree_flatten(x)
    dtypes = [_float_dtype(leaf) for leaf in leaves]
    bad = [dtype is None for dtype in dtypes]
    if any(bad):
        path, leaf = jtu.tree_leaves_with_path(x)[bad.index(True)]
        raise ValueError(_not_real(leaf, owner, what, jtu.keystr(path)))
    arrays = (jax.Array, jax.ShapeDtypeStruct)
    made = [
        leaf if isinstance(leaf, arrays) else jnp.asarray(leaf, jnp.result_type(leaf))
        for leaf in leaves
    ]
    return jtu.tree_unflatten(treedef, made)


def _float_dtype(leaf: object) -> np.dtype | None:
    """The dtype of an array or number if it is one of `REAL`."""
    dtype = getattr(leaf, "dtype", np.dtype(float) if isinstance(leaf, float) else None)
    return dtype if isinstance(dtype, np.dtype) and dtype in REAL else None


def _not_real(leaf: object, owner: str, what: str, where: str) -> str:
    dtype = getattr(leaf, "dtype", None)
    name = getattr(leaf, "__name__", "") if callable(leaf) else f"{leaf!r:.40}"
    found = f"the {type(leaf).__name__} {name}" if dtype is None else str(dtype)
    said = f"{owner}: {what} has {' '.join(found.split())} at {where or 'its root'}, expected "
    if "complex" in found.split("(")[0]:
        return (
            f"{said}real numbers: give real and imaginary part as two arrays, or wrap the "
            "transformation in `optax.contrib.split_real_and_imaginary`."
        )
    number = isinstance(leaf, int) or "int" in str(dtype)
    return (
        f"{said}{', '.join(map(str, REAL[:-1]))} or {REAL[-1]}: "
        f"{'give 1.0 for 1, or ' if number else ''}"
        f"leave it out by `eqx.filter({what}, eqx.is_inexact_array)`."
    )


def select(pred: Bool[Array, ""], x: PyTree, y: PyTree) -> PyTree:
    """x where `pred` holds, else y, leaf by leaf. PRNG keys are allowed."""
    return jtu.tree_map(lambda a, b: jnp.where(pred, a, b), x, y)


def finite(x: PyTree) -> Bool[Array, ""]:
    """True if every entry of every inexact leaf is finite."""
    # 0 · x is NaN where x is not finite, and a CPU adds up numbers faster than truth values.
    leaves = [leaf for leaf in jtu.tree_leaves(x) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    zeros = [jnp.sum(0 * jnp.asarray(leaf)) for leaf in leaves]
    return jnp.all(jnp.array([jnp.isfinite(zero) for zero in zeros] or [True]))


def cast(x: PyTree, dtype: jnp.dtype) -> PyTree:
    """The floats of a tree of arrays in one dtype, all else as it is."""
    floats = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.floating)
    return jtu.tree_map(lambda leaf: leaf.astype(dtype) if floats(leaf) else leaf, x)


def cast_like(x: PyTree, like: PyTree) -> PyTree:
    """The leaves of `x` in the dtypes of `like`, strongly typed. PRNG keys are left alone."""

    def cast(leaf, target):
        if jnp.issubdtype(target.dtype, jax.dtypes.prng_key):
            return leaf
        return jax.lax.convert_element_type(leaf, target.dtype)

    return jtu.tree_map(cast, x, like)


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


@promoting
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
    parts = [jnp.ravel(leaf).astype(dtype) for leaf in jtu.tree_leaves(x)]
    return jnp.concatenate([jnp.zeros((0,), dtype), *parts]), unravel_like(x)


def unravel_like(like: PyTree) -> Callable[[Array], PyTree]:
    """The way from a vector of all coordinates to a tree like `like`, see `ravel`."""
    leaves, treedef = jtu.tree_flatten(like)
    shapes = [(jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves]

    def unravel(flat: Array) -> PyTree:
        out, start = [], 0
        for shape, dtype in shapes:
            count = math.prod(shape)
            out.append(flat[start : start + count].reshape(shape).astype(dtype))
            start += count
        return jtu.tree_unflatten(treedef, out)

    return unravel
