"""Small convolutional networks: a few convolutions and one linear layer, and LeNet.

    x → [conv + b → norm → activation → max-pool] … → flatten → W · + b (→ ReLU)

The ConvNets of the DM, RNNprop and L2O-Scale code bases (§9.1, §9.2):

    DM, RNNprop                             padding="VALID", strides 1 (MNIST) or 2 (CIFAR-10)
    L2O-Scale, meta-training on MNIST       channels=(8, 8), pool=1, norm="none"
    L2O-Scale, meta-training on CIFAR-10    channels=(16, 16), pool=1, norm="none"
    L2O-Scale, evaluation                   as DM with norm="constant"

all with ReLU on the logits, which is `relu_logits=True`.

LeNet, as the DM code base has it:

    x → [conv 5x5 → batch norm → sigmoid → max-pool 2] 6, 16 channels, VALID
      → flatten → [W · + b → batch norm → sigmoid] 120, 84 → W · + b

After LeCun, Bottou, Bengio & Haffner, Proc. IEEE 1998; normalisation as in §9.1: statistics of the
batch, constant scale 1. On CIFAR-10 d = 62 006.

The published code has an offset after each normalisation, 226 in all. Here they are constant zero,
as in the other published networks, unless `offsets` is set. Without them the biases before a
normalisation, which subtracts the mean, have the gradient zero.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...core.messages import at_least
from ...core.types import Key, Params
from .layers import (
    ACTIVATIONS,
    NORMS,
    PADDINGS,
    STARTS,
    AbstractNetwork,
    batch_norm,
    check_choice,
    convolve,
    draw_layers,
    image_sizes,
    linear,
    max_pool,
    with_channels,
)


class ConvNet(AbstractNetwork):
    """Convolutions with normalisation, activation and max-pooling, then one linear layer.

    One entry of `channels`, `kernels` and `strides` per convolution. Inputs are (height, width)
    or (height, width, channels). `norm="batch"` normalises each channel by mean and variance of
    the batch at hand, always, with the constant scale 1 and offset 0 of the published code: there
    are no running averages, so the logits of a row depend on its batch. `norm="constant"` divides
    by √1.001, what running averages give that nobody updates. Biases start at zero.
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
        if not len(self.channels) == len(self.kernels) == len(self.strides):
            raise ValueError(
                f"ConvNet: channels {self.channels}, kernels {self.kernels} and strides "
                f"{self.strides} differ in length; give one entry per convolution."
            )
        sizes = ("channels", "kernels", "strides", "pool")
        at_least(1, "ConvNet", **{name: getattr(self, name) for name in sizes})
        check_choice("ConvNet", "padding", self.padding, PADDINGS)
        check_choice("ConvNet", "norm", self.norm, NORMS)
        check_choice("ConvNet", "activation", self.activation, ACTIVATIONS)
        check_choice("ConvNet", "start", self.start, STARTS)

    def shapes(self, input_shape: tuple[int, ...], classes: int) -> tuple[tuple[int, ...], ...]:
        *image, inputs = image_sizes("ConvNet", input_shape)
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
        x = with_channels(x)  # (rows, h, w, c)
        for layer, stride in zip(convolutions, self.strides, strict=True):
            x = convolve(x, layer["w"], stride, self.padding) + layer["b"][None, None, None]
            x = max_pool(ACTIVATIONS[self.activation](NORMS[self.norm](x)), self.pool)
        logits = linear(last, x.reshape(len(x), -1))
        return jax.nn.relu(logits) if self.relu_logits else logits


KERNEL = 5
SMALLEST = 16  # side of an image of which one place is left: 16 → 12 → 6 → 2 → 1


class LeNet(AbstractNetwork):
    """Two convolutions, three linear layers, sigmoids.

    - `channels`, `hidden`: widths of the convolutions and of the hidden linear layers
    - `offsets`: train an offset "offset" after each normalisation, starting at zero

    The published start draws the biases like the weights, "unit" too; the others have zero biases.
    """

    channels: tuple[int, ...] = eqx.field(static=True, default=(6, 16), converter=tuple)
    hidden: tuple[int, ...] = eqx.field(static=True, default=(120, 84), converter=tuple)
    offsets: bool = eqx.field(static=True, default=False)
    start: str = eqx.field(static=True, default="published")

    def __check_init__(self):
        if len(self.channels) != 2 or len(self.hidden) != 2:
            raise ValueError(
                f"LeNet: channels and hidden must be two widths each, got {self.channels} and "
                f"{self.hidden}; use a ConvNet for another depth."
            )
        at_least(1, "LeNet", channels=self.channels, hidden=self.hidden)
        check_choice("LeNet", "start", self.start, STARTS)

    def shapes(self, input_shape: tuple[int, ...], classes: int) -> tuple[tuple[int, ...], ...]:
        height, width, inputs = image_sizes("LeNet", input_shape)
        if min(height, width) < SMALLEST:
            raise ValueError(
                f"LeNet: images of the shape {input_shape} are {height}x{width}, too small for two "
                f"5x5 convolutions and pools; use images of at least {SMALLEST}x{SMALLEST}, or a "
                "ConvNet, which pads."
            )
        places = _pooled(_pooled(height)) * _pooled(_pooled(width))
        first, second = self.channels
        one, two = self.hidden
        return (
            (KERNEL, KERNEL, inputs, first),
            (KERNEL, KERNEL, first, second),
            (places * second, one),
            (one, two),
            (two, classes),
        )

    def init(self, key: Key, input_shape: tuple[int, ...], classes: int) -> Params:
        shapes = self.shapes(input_shape, classes)
        biases = self.start in ("published", "unit")
        *normalised, last = draw_layers(key, shapes, self.start, biases=biases)
        if self.offsets:
            normalised = [layer | {"offset": jnp.zeros_like(layer["b"])} for layer in normalised]
        return (*normalised, last)

    def apply(self, params: Params, x: Float[Array, "rows ..."]) -> Float[Array, "rows classes"]:
        first, second, one, two, last = params
        x = with_channels(x)
        for layer in (first, second):
            x = convolve(x, layer["w"], 1, "VALID") + layer["b"][None, None, None]
            x = max_pool(self._squash(layer, x), 2)
        x = x.reshape(len(x), -1)
        for layer in (one, two):
            x = self._squash(layer, linear(layer, x))
        return linear(last, x)

    def _squash(self, layer: Params, x: Float[Array, "..."]) -> Float[Array, "..."]:
        x = batch_norm(x)
        if self.offsets:
            x = x + layer["offset"].reshape((1,) * (x.ndim - 1) + (-1,))
        return jax.nn.sigmoid(x)


def _pooled(side: int) -> int:
    return (side - KERNEL + 1) // 2
