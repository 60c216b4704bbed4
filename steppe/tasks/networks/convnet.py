"""A few convolutions and one linear layer.

    x → [conv + b → norm → activation → max-pool] … → flatten → W · + b (→ ReLU)

The ConvNets of the DM, RNNprop and L2O-Scale code bases (§9.1, §9.2):

    DM, RNNprop                             padding="VALID", strides 1 (MNIST) or 2 (CIFAR-10)
    L2O-Scale, meta-training on MNIST       channels=(8, 8), pool=1, norm="none"
    L2O-Scale, meta-training on CIFAR-10    channels=(16, 16), pool=1, norm="none"
    L2O-Scale, evaluation                   as DM with norm="constant"

all with ReLU on the logits, which is `relu_logits=True`.
"""

import math

import equinox as eqx
import jax
from jaxtyping import Array, Float

from ...core.messages import at_least
from ...core.types import Key, Params
from .layers import (
    ACTIVATIONS,
    NORMS,
    PADDINGS,
    STARTS,
    check_choice,
    convolve,
    draw_layers,
    image_sizes,
    linear,
    max_pool,
    with_channels,
)
from .network import AbstractNetwork


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
