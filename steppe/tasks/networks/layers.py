"""Parts of the networks: convolution, normalisations, pools, laws of the weights.

Images are (rows, height, width, channels), kernels (height, width, inputs, outputs).
"""

import abc
import functools
import math
from collections.abc import Iterable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from ...core.backend import PATCHES, on_cpu
from ...core.types import Key, Params

BATCH_NORM_EPS = 1e-3  # the published code, §9.1
GROUP_NORM_EPS = 1e-5  # Wu & He, ECCV 2018


def convolve(
    x: Float[Array, "rows h w inputs"],
    w: Float[Array, "k k inputs outputs"],
    stride: int,
    padding: str,
) -> Float[Array, "rows h2 w2 outputs"]:
    """Cross-correlation, as everywhere in deep learning.

    On a processor by patches: what the kernel sees at each place, times the kernel as a matrix.
    XLA's own convolution is 7 to 14 times slower there, with its gradient and inside a loop.
    """
    if not on_cpu():
        layout = ("NHWC", "HWIO", "NHWC")
        strides = (stride, stride)
        return jax.lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=layout)
    return by_patches(x, w, stride, padding)


def by_patches(
    x: Float[Array, "rows h w inputs"],
    w: Float[Array, "k k inputs outputs"],
    stride: int,
    padding: str,
    most: int = PATCHES,
) -> Float[Array, "rows h2 w2 outputs"]:
    """`convolve`, all of the kernel in one product, or line by line beyond `most` numbers."""
    k = len(w)
    pads = jax.lax.padtype_to_pads(x.shape[1:3], (k, k), (stride, stride), padding)
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    rows, *sides, inputs = x.shape
    height, width = ((side - k) // stride + 1 for side in sides)
    lines = k if rows * height * width * k * k * inputs <= most else 1

    def seen(i: int, j: int) -> Array:
        """Inputs of entry (i, j) of the kernel at each place."""
        stop = (rows, i + (height - 1) * stride + 1, j + (width - 1) * stride + 1, inputs)
        return jax.lax.slice(x, (0, i, j, 0), stop, (1, stride, stride, 1))

    parts = []
    for first in range(0, k, lines):
        own = [seen(i, j) for i in range(first, first + lines) for j in range(k)]
        parts.append(jnp.concatenate(own, -1) @ w[first : first + lines].reshape(-1, w.shape[-1]))
    return sum(parts[1:], parts[0])


def batch_norm(x: Float[Array, "rows *places c"]) -> Float[Array, "rows *places c"]:
    """(x − mean) / √(variance + ε) for each channel, over rows and places."""
    axes = tuple(range(x.ndim - 1))
    centred = x - jnp.mean(x, axis=axes, keepdims=True)
    variance = jnp.mean(centred**2, axis=axes, keepdims=True)
    return centred * jax.lax.rsqrt(variance + BATCH_NORM_EPS)


def constant_norm(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """x / √(1 + ε): batch norm by running averages that stay at mean 0 and variance 1."""
    return x / math.sqrt(1 + BATCH_NORM_EPS)


def group_norm(x: Float[Array, "rows h w c"], groups: int) -> Float[Array, "rows h w c"]:
    """(x − mean) / √(variance + ε) for each row and group of neighbouring channels.

    Wu & He, "Group normalization", ECCV 2018, equations 1, 2 and 7.
    """
    rows, h, w, c = x.shape
    split = x.reshape(rows, h, w, groups, c // groups)
    centred = split - jnp.mean(split, axis=(1, 2, 4), keepdims=True)
    variance = jnp.mean(centred**2, axis=(1, 2, 4), keepdims=True)
    return (centred * jax.lax.rsqrt(variance + GROUP_NORM_EPS)).reshape(x.shape)


def max_pool(x: Float[Array, "rows h w c"], size: int) -> Float[Array, "rows h2 w2 c"]:
    """The maximum of each `size` x `size` block; what is left over at the far edges is dropped.

    The gradient goes to one place of each block. A NaN makes its block NaN.
    """
    rows, h, w, c = x.shape[0], x.shape[1] // size, x.shape[2] // size, x.shape[3]
    x = x[:, : h * size, : w * size].reshape(rows, h, size, w, size, c)
    x = functools.reduce(larger, (x[:, :, i] for i in range(size)))  # (rows, h, w, size, c)
    return functools.reduce(larger, (x[:, :, :, i] for i in range(size)))


def larger(a: Float[Array, "..."], b: Float[Array, "..."]) -> Float[Array, "..."]:
    # Not jnp.max: its gradient asks which entries equal the maximum. A compiler that computes them
    # twice, once rounded otherwise, finds none, and XLA for CPU did (optimization levels 0 to 2).
    return jnp.where((a >= b) | jnp.isnan(a), a, b)


def average_pool(x: Float[Array, "rows h w c"], size: int) -> Float[Array, "rows h w c"]:
    """The mean over the `size` x `size` places around each one, `size` odd; at edges over fewer."""

    def window_sum(x: Float[Array, "rows h w c"]) -> Float[Array, "rows h w c"]:
        zero = np.zeros((), x.dtype)  # a constant: of a traced one JAX knows no derivative
        return jax.lax.reduce_window(x, zero, jax.lax.add, (1, size, size, 1), (1,) * 4, "SAME")

    return window_sum(x) / window_sum(jnp.ones_like(x[:1, ..., :1]))


ACTIVATIONS = {"sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu, "tanh": jnp.tanh}
NORMS = {"batch": batch_norm, "constant": constant_norm, "none": lambda x: x}
PADDINGS = ("SAME", "VALID")
STARTS = {  # name: standard deviation of the weights, from their fan_in
    "published": lambda fan_in: 0.01,
    "unit": lambda fan_in: 1.0,
    "lecun": lambda fan_in: math.sqrt(1 / fan_in),
    "he": lambda fan_in: math.sqrt(2 / fan_in),
}


def draw_layers(
    key: Key, shapes: tuple[tuple[int, ...], ...], start: str, *, biases: bool
) -> tuple[dict[str, Array], ...]:
    """{"w", "b"} for each weight shape; biases from the law of the weights, or zero."""

    def layer(key: Key, shape: tuple[int, ...]) -> dict[str, Array]:
        key_w, key_b = jr.split(key)
        deviation = STARTS[start](math.prod(shape[:-1]))
        b = deviation * jr.normal(key_b, shape[-1:]) if biases else jnp.zeros(shape[-1:])
        return {"w": deviation * jr.normal(key_w, shape), "b": b}

    keys = jr.split(key, len(shapes))
    return tuple(layer(key, shape) for key, shape in zip(keys, shapes, strict=True))


def linear(layer: Params, x: Float[Array, "rows inputs"]) -> Float[Array, "rows outputs"]:
    return x @ layer["w"] + layer["b"][None]


def with_channels(x: Float[Array, "rows h w *c"]) -> Float[Array, "rows h w c"]:
    """Grey images get a channel axis."""
    return x if x.ndim == 4 else x[..., None]


def image_sizes(kind: str, input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(height, width, channels); refuses what is no image."""
    if len(input_shape) not in (2, 3):
        raise ValueError(
            f"{kind}: inputs have the shape {input_shape}, expected images of the shape "
            "(height, width) or (height, width, channels); use an MLP for other rows."
        )
    height, width, channels = (*input_shape, 1)[:3]
    return height, width, channels


def check_choice(kind: str, name: str, value: str, choices: Iterable[str]) -> None:
    if value not in choices:
        raise ValueError(f"{kind}: {name} must be one of {', '.join(choices)}, got {value!r}.")


class AbstractNetwork(eqx.Module):
    """A network family: the same object draws parameters and applies them. Holds no arrays.

    Parameters are one dict {"w": (…, inputs, outputs), "b": (outputs,)} per layer, in a tuple;
    a network may add entries of the shape (outputs,).

    `start` is the law of the weights: "published" N(0, 0.01²), "unit" N(0, 1) (meta-training of
    L2O-Scale, §9.2), "lecun" N(0, 1/fan_in), "he" N(0, 2/fan_in).
    """

    @abc.abstractmethod
    def shapes(self, input_shape: tuple[int, ...], classes: int) -> tuple[tuple[int, ...], ...]:
        """The shape of each layer's weights: (…, inputs, outputs)."""

    @abc.abstractmethod
    def init(self, key: Key, input_shape: tuple[int, ...], classes: int) -> Params:
        """Draw parameters for inputs of `input_shape` (without the batch axis)."""

    @abc.abstractmethod
    def apply(self, params: Params, x: Float[Array, "rows ..."]) -> Float[Array, "rows classes"]:
        """The logits of a batch."""
