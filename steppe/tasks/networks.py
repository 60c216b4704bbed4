"""The small networks that `Classify` trains: value objects that draw parameters and apply them.

    MLP       x → flatten → [W · + b → activation] … → W · + b
    ConvNet   x → [conv + b → norm → activation → max-pool] … → flatten → W · + b (→ ReLU)

The sizes of the DM and RNNprop code base (flatness-l2o.md §9.1), with the number of parameters:

    mnist          MLP()                                                         15 910
    mnist_relu     MLP(activation="relu")                                        15 910
    mnist_deeper   MLP(hidden=(20, 20))                                          16 330
    mnist_conv     ConvNet(padding="VALID", relu_logits=True)                    18 122
    cifar_conv     ConvNet(padding="VALID", strides=(2, 2), relu_logits=True)    13 610

Departure: logits are linear unless `relu_logits` is set. With ReLU on the logits the gradient is
exactly zero once all logits are ≤ 0, and the loss stays at ln(classes) for ever.
"""

import abc
import itertools
import math
from collections.abc import Iterable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from ..core.types import Key, Params

ACTIVATIONS = {"sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu, "tanh": jnp.tanh}
STARTS = {  # name: standard deviation of the weights, from their fan_in
    "published": lambda fan_in: 0.01,
    "unit": lambda fan_in: 1.0,
    "lecun": lambda fan_in: math.sqrt(1 / fan_in),
    "he": lambda fan_in: math.sqrt(2 / fan_in),
}
NORMS = ("batch", "none")
PADDINGS = ("SAME", "VALID")
BATCH_NORM_EPS = 1e-3  # the published code, §9.1


class AbstractNetwork(eqx.Module):
    """A network family: the same object draws parameters and applies them. Holds no arrays.

    Parameters are one dict {"w": (…, inputs, outputs), "b": (outputs,)} per layer, in a tuple.

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


class MLP(AbstractNetwork):
    """A fully connected network; `hidden=()` is softmax regression.

    The published start draws the biases like the weights, "unit" too; the others have zero biases.
    """

    hidden: tuple[int, ...] = eqx.field(static=True, default=(20,), converter=tuple)
    activation: str = eqx.field(static=True, default="sigmoid")
    start: str = eqx.field(static=True, default="published")

    def __check_init__(self):
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"MLP: widths in hidden must be at least 1, got {self.hidden}.")
        check_choice("MLP", "activation", self.activation, ACTIVATIONS)
        check_choice("MLP", "start", self.start, STARTS)

    def shapes(self, input_shape: tuple[int, ...], classes: int) -> tuple[tuple[int, ...], ...]:
        widths = (math.prod(input_shape), *self.hidden, classes)
        return tuple(itertools.pairwise(widths))

    def init(self, key: Key, input_shape: tuple[int, ...], classes: int) -> Params:
        shapes = self.shapes(input_shape, classes)
        return draw_layers(key, shapes, self.start, biases=self.start in ("published", "unit"))

    def apply(self, params: Params, x: Float[Array, "rows ..."]) -> Float[Array, "rows classes"]:
        *hidden, last = params
        x = x.reshape(len(x), -1)  # (rows, inputs)
        for layer in hidden:
            x = ACTIVATIONS[self.activation](x @ layer["w"] + layer["b"][None])
        return x @ last["w"] + last["b"][None]


class ConvNet(AbstractNetwork):
    """Convolutions with normalisation, activation and max-pooling, then one linear layer.

    One entry of `channels`, `kernels` and `strides` per convolution. Inputs are (height, width)
    or (height, width, channels). `norm="batch"` normalises each channel by mean and variance of
    the batch at hand, always, with the constant scale 1 and offset 0 of the published code: there
    are no running averages, so the logits of a row depend on its batch. Biases start at zero.
    """

    channels: tuple[int, ...] = eqx.field(static=True, default=(16, 32), converter=tuple)
    kernels: tuple[int, ...] = eqx.field(static=True, default=(3, 5), converter=tuple)
    strides: tuple[int, ...] = eqx.field(static=True, default=(1, 1), converter=tuple)
    padding: str = eqx.field(static=True, default="SAME")
    pool: int = eqx.field(static=True, default=2)
    norm: str = eqx.field(static=True, default="batch")
    activation: str = eqx.field(static=True, default="relu")
    relu_logits: bool = eqx.field(static=True, default=False)
    start: str = eqx.field(static=True, default="published")

    def __check_init__(self):
        sizes = (*self.channels, *self.kernels, *self.strides, self.pool)
        if not len(self.channels) == len(self.kernels) == len(self.strides):
            raise ValueError(
                f"ConvNet: channels {self.channels}, kernels {self.kernels} and strides "
                f"{self.strides} differ in length; give one entry per convolution."
            )
        if any(size < 1 for size in sizes):
            raise ValueError(f"ConvNet: sizes must be at least 1, got {self}.")
        check_choice("ConvNet", "padding", self.padding, PADDINGS)
        check_choice("ConvNet", "norm", self.norm, NORMS)
        check_choice("ConvNet", "activation", self.activation, ACTIVATIONS)
        check_choice("ConvNet", "start", self.start, STARTS)

    def shapes(self, input_shape: tuple[int, ...], classes: int) -> tuple[tuple[int, ...], ...]:
        if len(input_shape) not in (2, 3):
            raise ValueError(
                f"ConvNet: inputs have the shape {input_shape}, expected images of the shape "
                "(height, width) or (height, width, channels); use an MLP for other rows."
            )
        *image, inputs = (*input_shape, 1)[:3]
        shapes = []
        for i, (outputs, k, stride) in enumerate(
            zip(self.channels, self.kernels, self.strides, strict=True), start=1
        ):
            shapes.append((k, k, inputs, outputs))
            trim = k - 1 if self.padding == "VALID" else 0
            after = [-(-(side - trim) // stride) // self.pool for side in image]
            if min(after) < 1:
                raise ValueError(
                    f"ConvNet: images of the shape {input_shape} are {image[0]}x{image[1]} before "
                    f"convolution {i}, too small for kernel {k}, stride {stride}, padding "
                    f"{self.padding} and pool {self.pool}; use fewer convolutions, a smaller "
                    'kernel or pool, or padding="SAME".'
                )
            image, inputs = after, outputs
        return (*shapes, (math.prod(image) * inputs, classes))

    def init(self, key: Key, input_shape: tuple[int, ...], classes: int) -> Params:
        return draw_layers(key, self.shapes(input_shape, classes), self.start, biases=False)

    def apply(self, params: Params, x: Float[Array, "rows ..."]) -> Float[Array, "rows classes"]:
        *convolutions, last = params
        x = x if x.ndim == 4 else x[..., None]  # (rows, h, w, c)
        for layer, stride in zip(convolutions, self.strides, strict=True):
            x = convolve(x, layer["w"], stride, self.padding) + layer["b"][None, None, None]
            x = batch_norm(x) if self.norm == "batch" else x
            x = max_pool(ACTIVATIONS[self.activation](x), self.pool)
        logits = x.reshape(len(x), -1) @ last["w"] + last["b"][None]
        return jax.nn.relu(logits) if self.relu_logits else logits


def convolve(
    x: Float[Array, "rows h w inputs"],
    w: Float[Array, "k k inputs outputs"],
    stride: int,
    padding: str,
) -> Float[Array, "rows h2 w2 outputs"]:
    """Cross-correlation, as everywhere in deep learning."""
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, w, (stride, stride), padding, dimension_numbers=layout)


def batch_norm(x: Float[Array, "rows h w c"]) -> Float[Array, "rows h w c"]:
    """(x − mean) / √(variance + ε) for each channel, over rows and places."""
    centred = x - jnp.mean(x, axis=(0, 1, 2), keepdims=True)
    variance = jnp.mean(centred**2, axis=(0, 1, 2), keepdims=True)
    return centred * jax.lax.rsqrt(variance + BATCH_NORM_EPS)


def max_pool(x: Float[Array, "rows h w c"], size: int) -> Float[Array, "rows h2 w2 c"]:
    """The maximum of each `size` x `size` block; what is left over at the far edges is dropped."""
    rows, h, w, c = x.shape[0], x.shape[1] // size, x.shape[2] // size, x.shape[3]
    x = x[:, : h * size, : w * size].reshape(rows, h, size, w, size, c)
    return x.max(axis=(2, 4))


def draw_layers(
    key: Key, shapes: tuple[tuple[int, ...], ...], start: str, *, biases: bool
) -> Params:
    """{"w", "b"} for each weight shape; biases from the law of the weights, or zero."""

    def layer(key: Key, shape: tuple[int, ...]) -> Params:
        key_w, key_b = jr.split(key)
        deviation = STARTS[start](math.prod(shape[:-1]))
        b = deviation * jr.normal(key_b, shape[-1:]) if biases else jnp.zeros(shape[-1:])
        return {"w": deviation * jr.normal(key_w, shape), "b": b}

    keys = jr.split(key, len(shapes))
    return tuple(layer(key, shape) for key, shape in zip(keys, shapes, strict=True))


def check_choice(kind: str, name: str, value: str, choices: Iterable[str]) -> None:
    if value not in choices:
        raise ValueError(f"{kind}: {name} must be one of {', '.join(choices)}, got {value!r}.")
