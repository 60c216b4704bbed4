"""Interface of a network."""

import abc

import equinox as eqx
from jaxtyping import Array, Float

from ...core.types import Key, Params


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
