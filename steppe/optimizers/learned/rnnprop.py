"""RNNProp: a coordinatewise LSTM fed with Adam-like features, its output bounded by tanh.

    m ← β₁m + (1−β₁)g,   v ← β₂v + (1−β₂)g²,   m̂, v̂ without bias
    x = ELU(W_in [m̂/(√v̂+ε), g/(√v̂+ε)] + b_in)
    u = scale · tanh(w · LSTM(x) + b),   θ ← θ + u

Lv, Jiang & Li, "Learning gradient descent: better generalization and longer
horizons", ICML 2017, with the constants of the published Open-L2O code
(β₁ = β₂ = 0.95, scale 0.01).

Departure: all coordinates of all tensors go through the network as one matrix.
"""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int

from ...core.backend import SHORT_BLOCK
from ...core.coordinatewise import AbstractCoordinatewise
from ...core.types import Key
from .. import settings
from ..settings import Block, Width, Widths
from .coordinates import Linear, LSTMState, StackedLSTM, elu, lstm_zeros, safe_sqrt, tanh

EPS = 1e-8  # added to √v̂ (published code)


class RNNPropState(eqx.Module):
    m: Float[Array, " rows"]
    v: Float[Array, " rows"]
    lstm: tuple[LSTMState, ...]


class RNNProp(AbstractCoordinatewise):
    """Lv, Jiang & Li 2017. State: 4·hidden + 2 floats a coordinate (20, 20: 82)."""

    inputs: Linear
    lstm: StackedLSTM
    head: Linear
    hidden: tuple[int, ...] = eqx.field(static=True)
    features: int = eqx.field(static=True)
    beta1: float = eqx.field(static=True)
    beta2: float = eqx.field(static=True)
    scale: float = eqx.field(static=True)
    block: int = eqx.field(static=True)

    def __init__(
        self,
        hidden: Widths = (20, 20),
        features: Width = 20,
        beta1: float = 0.95,
        beta2: float = 0.95,
        scale: float = 0.01,
        block: Block = SHORT_BLOCK,
        *,
        key: Key,
    ):
        self.hidden, self.features, self.block = tuple(hidden), features, block
        self.beta1, self.beta2, self.scale = beta1, beta2, scale
        settings.of(settings.RNNProp, self)  # raises where one is out of range
        key_in, key_lstm, key_head = jr.split(key, 3)
        self.inputs = Linear(2, features, key=key_in)
        self.lstm = StackedLSTM(features, self.hidden, key=key_lstm)
        self.head = Linear((features, *self.hidden)[-1], 1, key=key_head)

    @property
    def bound(self) -> float:
        return self.scale

    def start(self, rows: int, dtype: jnp.dtype) -> RNNPropState:
        zeros = jnp.zeros((rows,), dtype)
        return RNNPropState(zeros, zeros, tuple(lstm_zeros(h, rows, dtype) for h in self.hidden))

    def advance(
        self, g: Float[Array, " rows"], state: RNNPropState, count: Int[Array, ""]
    ) -> tuple[Float[Array, " rows"], RNNPropState]:
        tau = count.astype(g.dtype)
        m = self.beta1 * state.m + (1 - self.beta1) * g
        v = self.beta2 * state.v + (1 - self.beta2) * g**2
        root = safe_sqrt(v / (1 - self.beta2**tau)) + EPS
        m_hat = m / (1 - self.beta1**tau)
        x = elu(self.inputs(jnp.stack([m_hat / root, g / root])))
        y, lstm = self.lstm(x, state.lstm)
        return self.scale * tanh(self.head(y)[0]), RNNPropState(m, v, lstm)
