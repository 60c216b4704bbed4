"""RNNProp: a coordinatewise LSTM fed with Adam-like features, its output bounded by tanh.

    m ← β₁m + (1−β₁)g,   v ← β₂v + (1−β₂)g²,   m̂, v̂ without bias
    x = ELU(W_in [m̂/(√v̂+ε), g/(√v̂+ε)] + b_in)
    u = scale · tanh(w · LSTM(x) + b),   θ ← θ + u

Lv, Jiang & Li, "Learning gradient descent: better generalization and longer
horizons", ICML 2017, with the constants of the published Open-L2O code
(β₁ = β₂ = 0.95, scale 0.01). Features of time and a learned weight decay, off by
default, are ours: `extras.py`.

Departure: all coordinates of all tensors go through the network as one matrix.
"""

import math

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int

from ...core.backend import SHORT_BLOCK
from ...core.coordinatewise import AbstractCoordinatewise, Inputs
from ...core.types import Key
from .. import settings
from ..settings import Block, Horizon, TimeScales, Width, Widths
from .coordinates import Linear, LSTMState, StackedLSTM, elu, lstm_zeros, safe_sqrt, tanh
from .extras import decay, decay_head, gradients_and_params, with_time

EPS = 1e-8  # added to √v̂ (published code)


class RNNPropState(eqx.Module):
    m: Float[Array, " rows"]
    v: Float[Array, " rows"]
    lstm: tuple[LSTMState, ...]


class RNNProp(AbstractCoordinatewise):
    """Lv, Jiang & Li 2017. State: 4·hidden + 2 floats a coordinate (20, 20: 82).

    - `time_scales`: τ of the features of time, in steps, such as (10, 100, 1000); (): none
    - `horizon`: T of the feature t/T, in steps; None: the rule is not told
    - `weight_decay`: largest share of a parameter that a step takes away besides, such as 1e-3; the
      share is learned. 0: none
    """

    inputs: Linear
    lstm: StackedLSTM
    head: Linear
    decay_head: Linear | None
    hidden: tuple[int, ...] = eqx.field(static=True)
    features: int = eqx.field(static=True)
    beta1: float = eqx.field(static=True)
    beta2: float = eqx.field(static=True)
    scale: float = eqx.field(static=True)
    block: int = eqx.field(static=True)
    time_scales: tuple[float, ...] = eqx.field(static=True)
    horizon: int | None = eqx.field(static=True)
    weight_decay: float = eqx.field(static=True)

    def __init__(
        self,
        hidden: Widths = (20, 20),
        features: Width = 20,
        beta1: float = 0.95,
        beta2: float = 0.95,
        scale: float = 0.01,
        block: Block = SHORT_BLOCK,
        time_scales: TimeScales = (),
        horizon: Horizon = None,
        weight_decay: float = 0.0,
        *,
        key: Key,
    ):
        self.hidden, self.features, self.block = tuple(hidden), features, block
        self.beta1, self.beta2, self.scale = beta1, beta2, scale
        self.time_scales, self.horizon = tuple(time_scales), horizon
        self.weight_decay = weight_decay
        known = settings.of(settings.RNNProp, self)  # raises where one is out of range
        key_in, key_lstm, key_head = jr.split(key, 3)
        self.inputs = Linear(2 + settings.times(known), features, key=key_in)
        self.lstm = StackedLSTM(features, self.hidden, key=key_lstm)
        width = (features, *self.hidden)[-1]
        self.head = Linear(width, 1, key=key_head)
        self.decay_head = decay_head(width, weight_decay, key=jr.fold_in(key_head, 1))

    @property
    def asks(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return ("params",) if self.weight_decay else ()

    @property
    def bound(self) -> float:
        return math.inf if self.weight_decay else self.scale

    def start(self, rows: int, dtype: jnp.dtype) -> RNNPropState:
        zeros = jnp.zeros((rows,), dtype)
        return RNNPropState(zeros, zeros, tuple(lstm_zeros(h, rows, dtype) for h in self.hidden))

    def advance(
        self, inputs: Inputs, state: RNNPropState, count: Int[Array, ""]
    ) -> tuple[Float[Array, " rows"], RNNPropState]:
        g, params = gradients_and_params(inputs)
        tau = count.astype(g.dtype)
        m = self.beta1 * state.m + (1 - self.beta1) * g
        v = self.beta2 * state.v + (1 - self.beta2) * g**2
        root = safe_sqrt(v / (1 - self.beta2**tau)) + EPS
        m_hat = m / (1 - self.beta1**tau)
        seen = with_time(jnp.stack([m_hat / root, g / root]), count, self.time_scales, self.horizon)
        y, lstm = self.lstm(elu(self.inputs(seen)), state.lstm)
        u = self.scale * tanh(self.head(y)[0])
        if self.decay_head is not None and params is not None:
            u = u - decay(self.decay_head, y, self.weight_decay, params)
        return u, RNNPropState(m, v, lstm)
