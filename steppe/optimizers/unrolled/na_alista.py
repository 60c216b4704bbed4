"""NA-ALISTA: ALISTA whose steps and thresholds an LSTM chooses for each problem.

    r = b − A x,   c = Wᵀ r,   W from A by a formula (`analytic.py`)
    (γ, θ) = softplus( head( relu( mixing( cell state ))))    of an LSTM that sees ‖r‖₁ and ‖c‖₁
    x⁺ = η( x + γ c;  θ,  p_k )

All layers share the LSTM, so that the numbers do not grow with their number. It sees the two norms
less their means, over their deviations, at x = 0. η spares the largest p_k % of the entries.

Behrens, Sauder & Jung, "Neurally augmented ALISTA", ICLR 2021; code as in the repository of
HyperLISTA. Departures: means and deviations are those of 1000 vectors that the constructor draws,
not of the first batch; the head starts with γ = 1 and ALISTA's θ; the LSTM is that of this library,
with a forget bias of 1.
"""

from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int

from ...core.arguments import real
from ...core.loss import Composite
from ...core.messages import at_least
from ...core.optimizer import Fixed
from ...core.types import Key
from ..learned.coordinates import LSTM, Linear, LSTMState
from ..settings import Width
from .analytic import closed_form
from .base import (
    AbstractUnrolled,
    Formula,
    Layers,
    Matrix,
    Size,
    check_sizes,
    larger_square,
    number,
    residual,
)
from .thresholds import check_selection, check_threshold, largest, soft_except, spared_counts

DRAWN = 1000  # vectors of which the means and deviations of the norms are taken


class NAALISTA(AbstractUnrolled):
    """Behrens et al. 2021: an LSTM chooses the step and the threshold of each layer.

    - `rows`, `n`: shape of A
    - `layers`: at least 1
    - `hidden`: units of the LSTM, at least 1
    - `threshold`: of the start, θ = threshold / ‖A‖², positive
    - `p`, `p_max`: percent of the entries that layer k = 1, 2, … spares, min(p · k, p_max)
    - `density`: chance in (0, 1] that an entry of x♯ is not zero, in the vectors that are drawn
    """

    lstm: LSTM
    mixing: Linear
    head: Linear
    h: Float[Array, "hidden 1"]
    c: Float[Array, "hidden 1"]
    W: Fixed
    usual: Fixed  # means and deviations of ‖r‖₁ and ‖c‖₁ at x = 0
    rows: int = eqx.field(static=True)
    n: int = eqx.field(static=True)
    formula: ClassVar[Formula] = "dual"
    layers: int = eqx.field(static=True)
    hidden: int = eqx.field(static=True)
    threshold: float = eqx.field(static=True)
    p: float = eqx.field(static=True)
    p_max: float = eqx.field(static=True)
    density: float = eqx.field(static=True)
    per_layer: ClassVar = ()

    def __init__(
        self,
        rows: Size,
        n: Size,
        layers: Layers = 16,
        hidden: Width = 128,
        threshold: float = 0.4,
        p: float = 1.2,
        p_max: float = 13.0,
        density: float = 0.1,
        *,
        key: Key,
    ):
        me = "NAALISTA"
        check_sizes(me, layers, rows=rows, n=n)
        at_least(1, me, hidden=hidden)
        check_threshold(me, threshold)
        check_selection(me, p, p_max)
        if not threshold > 0:
            raise ValueError(f"{me}: threshold must be positive, got {threshold}.")
        if not 0 < real(f"{me}: density", density) <= 1:
            raise ValueError(f"{me}: density must be in (0, 1], got {density}.")
        self.rows, self.n, self.layers, self.hidden = rows, n, layers, hidden
        self.threshold, self.p, self.p_max, self.density = threshold, p, p_max, density
        key_lstm, key_mixing, key_head, key_h, key_c = jr.split(key, 5)
        dtype = jnp.result_type(float)
        self.lstm = LSTM(2, hidden, key=key_lstm)
        self.mixing = Linear(hidden, hidden, key=key_mixing)
        self.head = Linear(hidden, 2, key=key_head)
        self.h, self.c = jr.normal(key_h, (hidden, 1)), jr.normal(key_c, (hidden, 1))
        self.W = Fixed(jnp.zeros((rows, n), dtype))
        self.usual = Fixed(jnp.ones((2, 2), dtype))

    def started(self, A: Matrix) -> Self:
        W, rng = closed_form(A), np.random.default_rng(0)
        x = rng.standard_normal((self.n, DRAWN)) * (rng.random((self.n, DRAWN)) < self.density)
        norms = np.stack([np.abs(r).sum(axis=0) for r in (A @ x, W.T @ (A @ x))])
        usual = np.stack([norms.mean(axis=1), np.maximum(norms.std(axis=1), np.finfo(float).tiny)])
        chosen = np.array([1.0, self.threshold / larger_square(A)])
        bias = chosen + np.log(-np.expm1(-chosen))  # softplus undone
        where = lambda net: (net.W.value, net.usual.value, net.head.b)
        return eqx.tree_at(where, self, (number(W), number(usual), number(bias)))

    def start(self, x: Float[Array, " n"]) -> LSTMState:
        zeros = jnp.zeros((self.hidden, 1), x.dtype)
        return LSTMState(zeros, zeros)  # not looked at: the first layer has h and c

    def layer(
        self, k: Int[Array, ""], x: Float[Array, " n"], memory: LSTMState, loss: Composite
    ) -> tuple[Float[Array, " n"], LSTMState]:
        r = residual(loss, x)
        c = r @ self.W.value
        means, deviations = self.usual.value
        seen = (jnp.stack([jnp.sum(jnp.abs(r)), jnp.sum(jnp.abs(c))]) - means) / deviations
        first = lambda own, handed: jnp.where(k == 0, own, handed)
        state = LSTMState(first(self.h, memory.h), first(self.c, memory.c))
        _, state = self.lstm(seen[:, None], state)
        chosen = self.head(jax.nn.relu(self.mixing(state.c)))
        gamma, theta = jax.nn.softplus(chosen)[:, 0]
        z = x + gamma * c
        spared = largest(z, spared_counts(self.n, self.layers, self.p, self.p_max), k)
        return soft_except(z, theta, spared), state
