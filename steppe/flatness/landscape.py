"""Slices of a loss: along a line, over a plane, in directions that respect scale.

    line:  f(θ + a d)        plane:  f(θ + a d₁ + b d₂)

Random directions are normalised filter by filter, d_j ← d_j ‖θ_j‖ / ‖d_j‖: a network that
computes the same with larger weights in one layer and smaller ones in the next would
otherwise look flatter or sharper than it is. Li, Xu, Taylor, Studer & Goldstein, "Visualizing the
loss landscape of neural nets", NeurIPS 2018.

The rule by tensor: with two or more axes, each output unit (one index of `output_axis`: a
column of a matrix (inputs, outputs), a filter of a kernel (height, width, inputs, outputs)) is
normalised alone; with fewer (biases, scales of norm layers) the direction is zero, as in the
source, or with `vectors="whole"` is normalised as a whole.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, PyTree

from ..core import tree
from ..core.measure import check_count
from ..core.types import Key, Params, Scalar
from .hutchinson import normal_like, shift
from .products import check_loss, real


def filter_direction(
    params: Params,
    *,
    output_axis: int = -1,
    vectors: Literal["zero", "whole"] = "zero",
    key: Key,
) -> Params:
    """A Gaussian direction with the norm of `params` in each output unit of each tensor.

    - `params`: the point, any tree of floats
    - `output_axis`: axis of the output units
    - `vectors`: "zero" or "whole", for tensors of fewer than two axes, see above
    - `key`: of the draw
    """
    if vectors not in ("zero", "whole"):
        raise ValueError(
            f"filter_direction: vectors is {vectors!r}, expected one of ('zero', 'whole')."
        )
    if vectors == "zero" and all(jnp.ndim(p) < 2 for p in jtu.tree_leaves(params)):
        raise ValueError(
            "filter_direction: no tensor of `params` has two or more axes, so the direction "
            'would be zero everywhere. Use vectors="whole".'
        )

    def normalised(p, d):
        if p.ndim < 2 and vectors == "zero":
            return jnp.zeros_like(p)
        axis = tuple(range(p.ndim))
        if p.ndim >= 2:
            axis = tuple(i for i in axis if i != output_axis % p.ndim)

        def length(x):
            s = tree.power_of_two(jnp.max(jnp.abs(x), axis=axis, keepdims=True, initial=0))
            return jnp.sqrt(jnp.sum((x / s) ** 2, axis=axis, keepdims=True)) * s

        return d * (length(p) / length(d))

    params = real(params)
    return jtu.tree_map(normalised, params, normal_like(key, params))


def line(
    loss: Callable[[Params], Scalar],
    params: Params,
    direction: Params,
    offsets: Float[Array, " points"],
    *,
    together: int = 1,
) -> Float[Array, " points"]:
    """The loss f(θ + a·direction) along a line.

    - `loss`: params → one real number
    - `params`: θ, any tree of floats
    - `direction`: a tree like `params`
    - `offsets`: the a, (points,)
    - `together`: number of points worked on at once
    """
    params = real(params)
    _check_direction("line", params, direction)
    offsets, loss = _axis("line", offsets), check_loss(loss)
    return _each(lambda a: loss(shift(params, a, direction)), offsets, together)


def plane(
    loss: Callable[[Params], Scalar],
    params: Params,
    first: Params,
    second: Params,
    a: Float[Array, " rows"],
    b: Float[Array, " columns"],
    *,
    together: int = 1,
) -> Float[Array, "rows columns"]:
    """The loss f(θ + aᵢ·first + bⱼ·second) over a plane, as entry (i, j).

    For a contour plot with `first` to the right, transpose.

    - `loss`: params → one real number
    - `params`: θ, any tree of floats
    - `first`, `second`: any two directions, trees like `params`
    - `a`: offsets along `first`, (rows,)
    - `b`: offsets along `second`, (columns,)
    - `together`: number of points worked on at once
    """
    params = real(params)
    _check_direction("plane", params, first)
    _check_direction("plane", params, second)
    a, b = jnp.meshgrid(_axis("plane", a), _axis("plane", b), indexing="ij")
    loss = check_loss(loss)
    at = lambda ab: loss(shift(shift(params, ab[0], first), ab[1], second))
    return _each(at, (a.ravel(), b.ravel()), together).reshape(a.shape)


def _each(f: Callable[[PyTree], Scalar], xs: PyTree, together: int) -> Float[Array, " points"]:
    check_count("A slice", "together", together)
    return jax.lax.map(f, xs, batch_size=None if together == 1 else together)


def _axis(owner: str, offsets: Float[Array, " points"]) -> Float[Array, " points"]:
    offsets = jnp.asarray(offsets)
    if offsets.ndim != 1:
        raise ValueError(
            f"{owner}: offsets are a vector of distances, got an array of shape {offsets.shape}. "
            "Use for example jnp.linspace(-1, 1, 21)."
        )
    return offsets


def _check_direction(owner: str, params: Params, direction: Params) -> None:
    shapes = lambda x: jtu.tree_map(jnp.shape, x)
    if shapes(params) != shapes(direction):
        raise ValueError(
            f"{owner}: a direction must have the structure and shapes of params, "
            f"{shapes(params)}, got {shapes(direction)}."
        )
