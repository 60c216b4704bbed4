"""L2O-DM: a coordinatewise two-layer LSTM on the logarithm and sign of the gradient.

    u = scale · (w · LSTM(LogAndSign(g)) + b),   θ ← θ + u

Andrychowicz et al., "Learning to learn by gradient descent by gradient descent",
NeurIPS 2016, with the constants of the published Open-L2O code (p = 5, scale 0.01;
the paper's text has p = 10, scale 0.1). Features of time and a learned weight decay,
off by default, are ours: `extras.py`.

Departure: all coordinates of all tensors go through the network as one matrix.
"""

from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int

from ...core.backend import SHORT_BLOCK
from ...core.coordinatewise import AbstractCoordinatewise, Inputs
from ...core.types import Key
from .. import settings
from ..settings import Block, Horizon, TimeScales, Widths
from .coordinates import Linear, LSTMState, StackedLSTM, log_and_sign, lstm_zeros
from .extras import decay, decay_head, gradients_and_params, with_time


class DM(AbstractCoordinatewise):
    """Andrychowicz et al. 2016. State: 4·hidden floats a coordinate (20, 20: 80).

    `preprocess="none"` with `scale=1.0` is the published set-up for the synthetic
    problems (quadratic, LASSO, Rastrigin).

    A random network may begin by climbing, and kill all units of a ReLU network before it has
    learned anything: their gradient is zero, and so is what it could learn from. With `zero_head`
    it begins by standing still (with a weight decay, by half of that), and the first meta-step is
    downhill.

    - `time_scales`: τ of the features of time, in steps, such as (10, 100, 1000); (): none
    - `horizon`: T of the feature t/T, in steps; None: the rule is not told
    - `weight_decay`: largest share of a parameter that a step takes away besides, such as 1e-3; the
      share is learned. 0: none
    """

    lstm: StackedLSTM
    head: Linear
    decay_head: Linear | None
    hidden: tuple[int, ...] = eqx.field(static=True)
    preprocess: Literal["log_and_sign", "none"] = eqx.field(static=True)
    p: float = eqx.field(static=True)
    scale: float = eqx.field(static=True)
    block: int = eqx.field(static=True)
    zero_head: bool = eqx.field(static=True)
    time_scales: tuple[float, ...] = eqx.field(static=True)
    horizon: int | None = eqx.field(static=True)
    weight_decay: float = eqx.field(static=True)

    def __init__(
        self,
        hidden: Widths = (20, 20),
        preprocess: Literal["log_and_sign", "none"] = "log_and_sign",
        p: float = 5.0,
        scale: float = 0.01,
        block: Block = SHORT_BLOCK,
        zero_head: bool = False,
        time_scales: TimeScales = (),
        horizon: Horizon = None,
        weight_decay: float = 0.0,
        *,
        key: Key,
    ):
        self.hidden, self.preprocess = tuple(hidden), preprocess
        self.p, self.scale, self.block, self.zero_head = p, scale, block, zero_head
        self.time_scales, self.horizon = tuple(time_scales), horizon
        self.weight_decay = weight_decay
        inputs = settings.of(settings.DM, self).features
        key_lstm, key_head = jr.split(key)
        self.lstm = StackedLSTM(inputs, self.hidden, key=key_lstm)
        width = (inputs, *self.hidden)[-1]
        head = Linear(width, 1, key=key_head)
        self.head = jtu.tree_map(jnp.zeros_like, head) if zero_head else head
        of_decay = {"zero": zero_head, "key": jr.fold_in(key_head, 1)}
        self.decay_head = decay_head(width, weight_decay, **of_decay)

    @property
    def asks(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return ("params",) if self.weight_decay else ()

    def start(self, rows: int, dtype: jnp.dtype) -> tuple[LSTMState, ...]:
        return tuple(lstm_zeros(width, rows, dtype) for width in self.hidden)

    def advance(
        self, inputs: Inputs, state: tuple[LSTMState, ...], count: Int[Array, ""]
    ) -> tuple[Float[Array, " rows"], tuple[LSTMState, ...]]:
        g, params = gradients_and_params(inputs)
        x = log_and_sign(g, self.p) if self.preprocess == "log_and_sign" else g[None]
        y, state = self.lstm(with_time(x, count, self.time_scales, self.horizon), state)
        u = self.scale * self.head(y)[0]
        if self.decay_head is not None and params is not None:
            u = u - decay(self.decay_head, y, self.weight_decay, params)
        return u, state
