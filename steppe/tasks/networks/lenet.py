"""LeNet, as the DM code base has it.

    x → [conv 5x5 → batch norm → sigmoid → max-pool 2] 6, 16 channels, VALID
      → flatten → [W · + b → batch norm → sigmoid] 120, 84 → W · + b

After LeCun, Bottou, Bengio & Haffner, Proc. IEEE 1998; normalisation as in §9.1: statistics of the
batch, constant scale 1. On CIFAR-10 d = 62 006.

The published code has an offset after each normalisation, 226 in all. Here they are constant zero,
as in the other published networks, unless `offsets` is set. Without them the biases before a
normalisation, which subtracts the mean, have the gradient zero.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...core.messages import at_least
from ...core.types import Key, Params
from .layers import (
    STARTS,
    batch_norm,
    check_choice,
    convolve,
    draw_layers,
    image_sizes,
    linear,
    max_pool,
    with_channels,
)
from .network import AbstractNetwork

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
