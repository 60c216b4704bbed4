"""One cell in the manner of NAS-Bench-201, as the DM code base has it.

    n₀ = CBR(x)     a = CBR(n₀)     n₁ = CBR(n₀)     b = CBR(n₁)
    n₂ = mean₃ₓ₃(n₁) + a            n₃ = n₂ + b + n₀
    logits = W · mean over places of n₃ + b (→ ReLU)

CBR(x) = ReLU(batch norm(conv 3x3(x) + b)), padded. On CIFAR-10 d = 7 578 (§9.1). The search space
is Dong & Yang, "NAS-Bench-201", ICLR 2020. Batch norm takes the statistics of the batch, with
constant scale 1 and offset 0: the biases before it have the gradient zero.
"""

import equinox as eqx
import jax
from jaxtyping import Array, Float

from ...core.messages import at_least
from ...core.types import Key, Params
from .layers import (
    STARTS,
    AbstractNetwork,
    average_pool,
    batch_norm,
    check_choice,
    convolve,
    draw_layers,
    image_sizes,
    linear,
    with_channels,
)


class NASCell(AbstractNetwork):
    """Four padded convolutions of `channels` channels, with sums; any image fits.

    The mean over 3x3 places is over fewer at the edges. Biases start at zero.
    """

    channels: int = eqx.field(static=True, default=16)
    relu_logits: bool = eqx.field(static=True, default=False)
    start: str = eqx.field(static=True, default="published")

    def __check_init__(self):
        at_least(1, "NASCell", channels=self.channels)
        check_choice("NASCell", "start", self.start, STARTS)

    def shapes(self, input_shape: tuple[int, ...], classes: int) -> tuple[tuple[int, ...], ...]:
        _, _, inputs = image_sizes("NASCell", input_shape)
        c = self.channels
        return ((3, 3, inputs, c), *[(3, 3, c, c)] * 3, (c, classes))

    def init(self, key: Key, input_shape: tuple[int, ...], classes: int) -> Params:
        return draw_layers(key, self.shapes(input_shape, classes), self.start, biases=False)

    def apply(self, params: Params, x: Float[Array, "rows ..."]) -> Float[Array, "rows classes"]:
        p0, pa, p1, pb, last = params
        n0 = _cbr(p0, with_channels(x))  # (rows, h, w, channels)
        a, n1 = _cbr(pa, n0), _cbr(p1, n0)
        b = _cbr(pb, n1)
        n2 = average_pool(n1, 3) + a
        n3 = n2 + b + n0
        logits = linear(last, n3.mean(axis=(1, 2)))
        return jax.nn.relu(logits) if self.relu_logits else logits


def _cbr(layer: Params, x: Float[Array, "rows h w c"]) -> Float[Array, "rows h w c2"]:
    return jax.nn.relu(
        batch_norm(convolve(x, layer["w"], 1, "SAME") + layer["b"][None, None, None])
    )
