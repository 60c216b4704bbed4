"""L2O-DM: a coordinatewise two-layer LSTM on the logarithm and sign of the gradient.

    u = scale · (w · LSTM(LogAndSign(g)) + b),   θ ← θ + u

Andrychowicz et al., "Learning to learn by gradient descent by gradient descent",
NeurIPS 2016, with the constants of the published Open-L2O code (p = 5, scale 0.01;
the paper's text has p = 10, scale 0.1).

Departure: all coordinates of all tensors go through the network as one matrix.
"""

from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int

from ...core.backend import SHORT_BLOCK
from ...core.coordinatewise import AbstractCoordinatewise
from ...core.types import Key
from .. import settings
from ..settings import Block, Widths
from .coordinates import Linear, LSTMState, StackedLSTM, log_and_sign, lstm_zeros


class DM(AbstractCoordinatewise):
    """Andrychowicz et al. 2016. State: 4·hidden floats a coordinate (20, 20: 80).

    `preprocess="none"` with `scale=1.0` is the published set-up for the synthetic
    problems (quadratic, LASSO, Rastrigin).

    A random network may begin by climbing, and kill all units of a ReLU network before it has
    learned anything: their gradient is zero, and so is what it could learn from. With `zero_head`
    it begins by standing still, and the first meta-step is downhill.
    """

    lstm: StackedLSTM
    head: Linear
    hidden: tuple[int, ...] = eqx.field(static=True)
    preprocess: Literal["log_and_sign", "none"] = eqx.field(static=True)
    p: float = eqx.field(static=True)
    scale: float = eqx.field(static=True)
    block: int = eqx.field(static=True)
    zero_head: bool = eqx.field(static=True)

    def __init__(
        self,
        hidden: Widths = (20, 20),
        preprocess: Literal["log_and_sign", "none"] = "log_and_sign",
        p: float = 5.0,
        scale: float = 0.01,
        block: Block = SHORT_BLOCK,
        zero_head: bool = False,
        *,
        key: Key,
    ):
        self.hidden, self.preprocess = tuple(hidden), preprocess
        self.p, self.scale, self.block, self.zero_head = p, scale, block, zero_head
        inputs = settings.of(settings.DM, self).features
        key_lstm, key_head = jr.split(key)
        self.lstm = StackedLSTM(inputs, self.hidden, key=key_lstm)
        head = Linear((inputs, *self.hidden)[-1], 1, key=key_head)
        self.head = jtu.tree_map(jnp.zeros_like, head) if zero_head else head

    def start(self, rows: int, dtype: jnp.dtype) -> tuple[LSTMState, ...]:
        return tuple(lstm_zeros(width, rows, dtype) for width in self.hidden)

    def advance(
        self, g: Float[Array, " rows"], state: tuple[LSTMState, ...], count: Int[Array, ""]
    ) -> tuple[Float[Array, " rows"], tuple[LSTMState, ...]]:
        x = log_and_sign(g, self.p) if self.preprocess == "log_and_sign" else g[None]
        y, state = self.lstm(x, state)
        return self.scale * self.head(y)[0], state
