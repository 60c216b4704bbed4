"""ResNet for small images, without running statistics.

    stem    x ← ReLU(GN(conv 3x3(x)))
    block   x ← ReLU(GN(conv(ReLU(GN(conv(x))))) + shortcut(x))
    end     logits = W · mean over places of x + b

He, Zhang, Ren & Sun, CVPR 2016, section 4.2: three stages of 16, 32, 64 channels with `blocks`
blocks each, 6 · blocks + 2 layers; the first block of the later stages halves the image by stride
2, and its shortcut takes every second place and adds zero channels (their option A).
On CIFAR-10 d = 75 290 for blocks=1, 269 722 for blocks=3, which is ResNet-20.

Departure: group norm (Wu & He, ECCV 2018) in place of batch norm, with the same trained scale and
offset. The logits of a row then do not depend on its batch, nothing is averaged over steps, and
the loss is a mean over rows, as curvature by rows wants it.
"""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...core.messages import at_least
from ...core.types import Key, Params
from .layers import (
    STARTS,
    AbstractNetwork,
    check_choice,
    convolve,
    draw_layers,
    group_norm,
    image_sizes,
    linear,
    with_channels,
)


class ResNet(AbstractNetwork):
    """Residual blocks of two 3x3 convolutions, `blocks` in each of the stages of `widths`.

    `groups` divides the channels of every width for normalisation. A convolution is
    {"w", "scale", "b"}: scale · norm(w ∗ x) + b, scale from one, b from zero. Any image fits.
    """

    widths: tuple[int, ...] = eqx.field(static=True, default=(16, 32, 64), converter=tuple)
    blocks: int = eqx.field(static=True, default=1)
    groups: int = eqx.field(static=True, default=4)
    start: str = eqx.field(static=True, default="he")

    def __check_init__(self):
        if not self.widths:
            raise ValueError("ResNet: widths are empty; give one width a stage.")
        at_least(1, "ResNet", widths=self.widths, blocks=self.blocks, groups=self.groups)
        if any(after < before for before, after in itertools.pairwise(self.widths)):
            raise ValueError(
                f"ResNet: widths {self.widths} shrink, but a shortcut can only add channels; "
                "give them in ascending order."
            )
        if any(width % self.groups for width in self.widths):
            raise ValueError(
                f"ResNet: groups={self.groups} does not divide all widths {self.widths}; use a "
                "common divisor."
            )
        check_choice("ResNet", "start", self.start, STARTS)

    def shapes(self, input_shape: tuple[int, ...], classes: int) -> tuple[tuple[int, ...], ...]:
        _, _, inputs = image_sizes("ResNet", input_shape)
        each = [self.widths[0], *(w for w in self.widths for _ in range(2 * self.blocks))]
        convolutions = [(3, 3, *ends) for ends in itertools.pairwise([inputs, *each])]
        return (*convolutions, (each[-1], classes))

    def init(self, key: Key, input_shape: tuple[int, ...], classes: int) -> Params:
        shapes = self.shapes(input_shape, classes)
        *convolutions, last = draw_layers(key, shapes, self.start, biases=False)
        scaled = (layer | {"scale": jnp.ones_like(layer["b"])} for layer in convolutions)
        return (*scaled, last)

    def apply(self, params: Params, x: Float[Array, "rows ..."]) -> Float[Array, "rows classes"]:
        stem, *inner, last = params
        x = jax.nn.relu(self._normalised(stem, with_channels(x), 1))  # (rows, h, w, c)
        for i in range(0, len(inner), 2):
            first, second = inner[i : i + 2]
            stride = 2 if i and i % (2 * self.blocks) == 0 else 1
            y = jax.nn.relu(self._normalised(first, x, stride))
            y = self._normalised(second, y, 1)
            new = y.shape[-1] - x.shape[-1]
            shortcut = jnp.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (0, new)))
            x = jax.nn.relu(y + shortcut)
        return linear(last, x.mean(axis=(1, 2)))

    def _normalised(
        self, layer: Params, x: Float[Array, "rows h w c"], stride: int
    ) -> Float[Array, "rows h2 w2 c2"]:
        x = group_norm(convolve(x, layer["w"], stride, "SAME"), self.groups)
        return layer["scale"][None, None, None] * x + layer["b"][None, None, None]
