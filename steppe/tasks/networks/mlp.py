"""The multilayer perceptron.

    x → flatten → [W · + b → activation] … → W · + b

With one hidden layer of 20 sigmoids the meta-training task of Andrychowicz et al., NeurIPS 2016,
section 3.2.
"""

import itertools
import math

import equinox as eqx
from jaxtyping import Array, Float

from ...core.messages import at_least
from ...core.types import Key, Params
from .layers import ACTIVATIONS, STARTS, AbstractNetwork, check_choice, draw_layers, linear


class MLP(AbstractNetwork):
    """A fully connected network; `hidden=()` is softmax regression.

    The published start draws the biases like the weights, "unit" too; the others have zero biases.
    """

    hidden: tuple[int, ...] = eqx.field(static=True, default=(20,), converter=tuple)
    activation: str = eqx.field(static=True, default="sigmoid")
    start: str = eqx.field(static=True, default="published")

    def __check_init__(self):
        at_least(1, "MLP", hidden=self.hidden)
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
            x = ACTIVATIONS[self.activation](linear(layer, x))
        return linear(last, x)
