"""VGG: stages of padded 3x3 convolutions, the image halved after each.

    x → [[conv 3x3 + b → norm → ReLU] … → max-pool 2] … → flatten → W · + b (→ softmax)

Simonyan & Zisserman, ICLR 2015; the 13 convolutions of their VGG-16 are `tasks.names.SIXTEEN`. With
one linear layer behind them, as in the DM code base (§9.1), on CIFAR-10 d = 14 719 818.

Departures: batch norm (constant scale 1 and offset 0, statistics of the batch) and the "he" start
are the default, since weights N(0, 0.01²) without normalisation shrink the signal to nothing in 13
layers; `norm="none", start="published"` has them. The published code takes a softmax before the
softmax cross-entropy, which is `softmax_logits=True`; the gradient of that is small wherever the
first softmax is sure. Its last bias starts at 1 in all classes, which no softmax sees: here at 0.
"""

from collections.abc import Iterable

import equinox as eqx
import jax
from jaxtyping import Array, Float

from ...core.types import Key, Params
from .layers import (
    NORMS,
    STARTS,
    AbstractNetwork,
    check_choice,
    convolve,
    draw_layers,
    image_sizes,
    linear,
    max_pool,
    with_channels,
)


def _nested(stages: Iterable[Iterable[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(stage) for stage in stages)


class VGG(AbstractNetwork):
    """`stages`: the channels of the convolutions of each stage. Biases start at zero.

    Each stage needs an image of at least 2x2.
    """

    stages: tuple[tuple[int, ...], ...] = eqx.field(
        static=True, default=((16, 16), (32, 32), (64, 64)), converter=_nested
    )
    norm: str = eqx.field(static=True, default="batch")
    softmax_logits: bool = eqx.field(static=True, default=False)
    start: str = eqx.field(static=True, default="he")

    def __check_init__(self):
        if not all(stage and min(stage) >= 1 for stage in self.stages):
            raise ValueError(
                f"VGG: a stage must be one or more widths of at least 1, got {self.stages}."
            )
        check_choice("VGG", "norm", self.norm, NORMS)
        check_choice("VGG", "start", self.start, STARTS)

    def shapes(self, input_shape: tuple[int, ...], classes: int) -> tuple[tuple[int, ...], ...]:
        height, width, inputs = image_sizes("VGG", input_shape)
        shrink = 2 ** len(self.stages)
        if min(height, width) < shrink:
            raise ValueError(
                f"VGG: images of the shape {input_shape} are {height}x{width}, too small to halve "
                f"{len(self.stages)} times; use fewer stages, or images of at least "
                f"{shrink}x{shrink}."
            )
        shapes = []
        for outputs in (width for stage in self.stages for width in stage):
            shapes.append((3, 3, inputs, outputs))
            inputs = outputs
        return (*shapes, ((height // shrink) * (width // shrink) * inputs, classes))

    def init(self, key: Key, input_shape: tuple[int, ...], classes: int) -> Params:
        return draw_layers(key, self.shapes(input_shape, classes), self.start, biases=False)

    def apply(self, params: Params, x: Float[Array, "rows ..."]) -> Float[Array, "rows classes"]:
        *convolutions, last = params
        layers = iter(convolutions)
        x = with_channels(x)  # (rows, h, w, c)
        for stage in self.stages:
            for layer in (next(layers) for _ in stage):
                x = convolve(x, layer["w"], 1, "SAME") + layer["b"][None, None, None]
                x = jax.nn.relu(NORMS[self.norm](x))
            x = max_pool(x, 2)
        logits = linear(last, x.reshape(len(x), -1))
        return jax.nn.softmax(logits) if self.softmax_logits else logits
