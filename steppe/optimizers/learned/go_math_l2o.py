"""GoMathL2O: Math-L2O that sees gradients alone, in units of those at the start.

With v an average of past moves, and R, Q, B diagonal:

    x⁺ = prox_R( x − R ∇f(x) − Q v − b₁ )
    v⁺ = B v + (1 − B) (x − x⁺ − b₁) − b₂

The diagonals come from one LSTM shared by all coordinates. It sees ∇f(x) and the two ends of the
subdifferential of the regularizer at x, each divided by its length at the first step: what it sees
does not depend on where the problem lies, nor on its units.

    R = base · 2σ(r),  Q = 2σ(q),  B = σ(b),  b₁, b₂ as they come,  base = 0.9999 / L

What is not in `use` is R = base, Q = 0, B = 0, b₁ = b₂ = 0: without all it is ISTA.

Song, Lin, Wang & Xu, "Towards robust learning to optimize with theoretical guarantees", CVPR 2024.
Departures from its code: Q starts near 0, and not at 1, from where runs diverge; with
`monotone=True` the proof of `math_l2o.py` holds, as a step from v = 0 is the one that it is about.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array, Float

from ...core import tree
from ...core.loss import Composite
from ...core.optimizer import AbstractOptimizer, split_meta
from ...core.regularizer import (
    L1,
    AbstractRegularizer,
    ElasticNet,
    InUnits,
    Translated,
    Zero,
    moved,
)
from ...core.task import Problem
from ...core.types import Key, Params, Updates
from ..classic.proximal import MARGIN, check_separable, composite, difference, unless_it_rises
from ..settings import Width
from .coordinates import (
    Linear,
    LSTMState,
    StackedLSTM,
    lstm_zeros,
    parts_and_layers,
    safe_sqrt,
    tanh,
    without_nan,
)

PARTS = ("r", "q", "b", "b1", "b2")
STILL = -5.0  # of the head of q before training: Q = 0.013
Part = Literal["r", "q", "b", "b1", "b2"]


class GoMathL2OState(eqx.Module):
    v: Params
    sizes: Float[Array, "3 1"]  # lengths that what is seen is divided by; 0: not seen yet
    lstm: tuple[LSTMState, ...]


class GoMathL2O(AbstractOptimizer):
    """Song et al. 2024. State: v and 4·hidden floats a coordinate.

    - `use`: the parts that are learned, of "r", "q", "b", "b1", "b2"
    - `hidden`: units of each layer of the LSTM, at least one layer
    - `monotone`: no step raises the objective, whatever θ is; not with b1 or b2
    - `live`: meta-gradients also go through what the network sees, as published
    """

    lstm: StackedLSTM
    mixing: Linear
    heads: Linear
    use: tuple[Part, ...] = eqx.field(static=True)
    hidden: tuple[Width, ...] = eqx.field(static=True)
    monotone: bool = eqx.field(static=True)
    live: bool = eqx.field(static=True)

    def __init__(
        self,
        use: tuple[Part, ...] = ("r", "q", "b"),
        hidden: tuple[Width, ...] = (20, 20),
        monotone: bool = False,
        live: bool = True,
        *,
        key: Key,
    ):
        self.use, self.hidden = parts_and_layers("GoMathL2O", use, PARTS, hidden)
        self.monotone, self.live = monotone, live
        if monotone and not {"r", "q", "b"}.issuperset(self.use):
            raise ValueError("GoMathL2O: monotone=True is proven for the parts r, q and b alone.")
        key_lstm, key_mixing, key_heads = jr.split(key, 3)
        self.lstm = StackedLSTM(3, self.hidden, key=key_lstm)
        self.mixing = Linear(self.hidden[-1], self.hidden[-1], key=key_mixing)
        heads = Linear(self.hidden[-1], len(self.use), key=key_heads)
        still = jnp.array([STILL if part == "q" else 0.0 for part in self.use])
        self.heads = eqx.tree_at(lambda heads: heads.b, heads, still)

    def init(self, params: Params, *, key: Key | None = None) -> GoMathL2OState:
        params = tree.real(params, "GoMathL2O")
        n, dtype = tree.size(params), self.dtype(params)
        states = tuple(lstm_zeros(width, n, dtype) for width in self.hidden)
        still = jtu.tree_map(jnp.zeros_like, params)
        return GoMathL2OState(still, jnp.zeros((3, 1), dtype), states)

    def update(
        self,
        grads: Updates,
        state: GoMathL2OState,
        params: Params,
        *,
        problem: Problem | None = None,
        **extra,
    ) -> tuple[Updates, GoMathL2OState]:
        loss = composite("GoMathL2O", problem)
        check_separable("GoMathL2O", loss)
        gradient = jax.grad(loss.smooth)(params)
        dtype = self.dtype(params)
        ends = subdifferential(loss.regularizer, params)
        seen = jnp.stack([tree.ravel(x, dtype)[0] for x in (gradient, *ends)])
        seen = seen if self.live else jax.lax.stop_gradient(seen)
        now = safe_sqrt(jnp.sum(seen**2, axis=1, keepdims=True))
        sizes = jnp.where(state.sizes > 0, state.sizes, now)
        seen = seen / jnp.where(sizes > 0, sizes, jnp.ones_like(sizes))
        how, lstm = self.rows(loss, seen, state.lstm)
        unravel = tree.unravel_like(params)
        zero = jtu.tree_map(jnp.zeros_like, params)
        R, Q, B, b1, b2 = (unravel(how[part]) if part in how else zero for part in PARTS)
        inner = jtu.tree_map(
            lambda x, r, g, q, v, b: x - r * g - q * v - b, params, R, gradient, Q, state.v, b1
        )
        move = difference(loss.regularizer.prox(inner, R), params)
        v = jtu.tree_map(
            lambda b, v, m, one, two: b * v + (1 - b) * (-m - one) - two, B, state.v, move, b1, b2
        )
        if self.monotone:
            move, v = unless_it_rises(loss, params, move, v)
        return move, GoMathL2OState(v, sizes, lstm)

    def dtype(self, params: Params) -> jnp.dtype:
        """The dtype of the network: that of θ, or wider if a parameter is."""
        return tree.working_dtype((split_meta(self)[0], params))

    def rows(
        self, loss: Composite, seen: Float[Array, "3 n"], states: tuple[LSTMState, ...]
    ) -> tuple[dict[str, Array], tuple[LSTMState, ...]]:
        """The diagonals by name as rows (n,), and the states of the LSTM after them."""
        with jax.numpy_dtype_promotion("standard"):  # θ may be narrower than the rows
            h, after = self.lstm(seen, states)
            raw = self.heads(jax.nn.relu(self.mixing(h)))
        if self.monotone:
            raw = without_nan(raw)
        base = MARGIN / jnp.asarray(loss.lipschitz, raw.dtype)
        found: dict[str, Array] = {"r": jnp.full(raw.shape[1:], base)}
        for part, row in zip(self.use, raw, strict=True):
            gate = 1 + tanh(0.5 * row)  # 2σ(row)
            found[part] = {"r": base * gate, "q": gate, "b": 0.5 * gate, "b1": row, "b2": row}[part]
        return found, tree.cast_like(after, states)


def subdifferential(r: AbstractRegularizer, x: Params) -> tuple[Params, Params]:
    """The lower and the upper end of ∂r at x, trees like x."""
    if isinstance(r, Zero):
        zero = jtu.tree_map(jnp.zeros_like, x)
        return zero, zero
    if isinstance(r, Translated):
        return subdifferential(r.base, moved(x, r.shift))
    if isinstance(r, InUnits):
        ends = subdifferential(r.base, jtu.tree_map(jnp.multiply, r.c, x))
        low, high = (jtu.tree_map(jnp.multiply, r.c, end) for end in ends)
        return low, high
    if not isinstance(r, L1 | ElasticNet):
        raise TypeError(
            f"GoMathL2O knows the subdifferential of L1 and ElasticNet, got {type(r).__name__}; "
            "take MathL2O, which asks for the proximal map alone."
        )
    l1, l2 = (r.weight, 0.0) if isinstance(r, L1) else (r.l1, r.l2)

    def end(side: int) -> Params:
        sign = lambda x: jnp.where(x == 0, jnp.full_like(x, side), jnp.sign(x))
        return jtu.tree_map(lambda x: l1 * sign(x) + l2 * x, x)

    return end(-1), end(1)
