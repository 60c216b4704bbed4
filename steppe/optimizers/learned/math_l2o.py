"""Math-L2O: a network that chooses the matrices of a convergent scheme, not the update itself.

For smooth + regularizer, with y ahead of x and P, A, B diagonal:

    x⁺ = prox_P( B (y − P ∇f(y)) + (1 − B) (x − P ∇f(x)) + b₁ )
    y⁺ = x⁺ + A (x⁺ − x) + b₂

Every rule that comes to a minimiser from everywhere can be written so (the structure is necessary,
not sufficient). The diagonals come from one LSTM shared by all coordinates, from (∇f(y), y):

    P = base · 2σ(p),  A = 2σ(a),  B = 2σ(b),  b₁, b₂ as they come,  base = 0.9999 / L

What is not in `use` is P = base, A = 0, B = 1, b₁ = b₂ = 0. So P = 1/L and A = 0 is ISTA, and
A = (t − 1)/t⁺ is FISTA.

Liu, Chen, Wang, Yin & Cai, "Towards constituting mathematical structures for learning to optimize",
ICML 2023. Departures from its code: L is that of the loss; b₁ and b₂ are not squashed like B;
states start at zero, so that runs can be repeated.

**A proof that the rule carries.** Let A = 0 and 0 < P < 2/L. Then x⁺ minimises
r(u) + ∇f(x)ᵀ(u − x) + ½ (u − x)ᵀP⁻¹(u − x), which is P⁻¹-strongly convex, so that with d = x⁺ − x

    r(x⁺) + ∇f(x)ᵀd ≤ r(x) − dᵀP⁻¹d,    f(x⁺) ≤ f(x) + ∇f(x)ᵀd + (L/2) ‖d‖²
    f(x⁺) + r(x⁺) ≤ f(x) + r(x) − dᵀ(P⁻¹ − L/2) d

and the objective falls for every θ, trained or not: 0 ≤ 2σ ≤ 2 in floating point too, so that
P ≤ 1.9998 / L. `monotone=True` keeps this with momentum. The objective is taken where the step
leads, in the numbers in which the parameters are kept. A step to where it is higher, or no number,
is not taken, and the momentum is forgotten: the next step is one of the proof. Rows that are no
number, as those of a θ with a NaN, are read as 0: P = 0.9999 / L. So it never rises, whatever θ,
the loss, the precision; where the loss is as it is told, with L, every other step falls.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array

from ...core import tree
from ...core.loss import Composite
from ...core.optimizer import AbstractOptimizer, split_meta
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
    tanh,
    without_nan,
)

PARTS = ("p", "a", "b", "b1", "b2")
Part = Literal["p", "a", "b", "b1", "b2"]


class Coefficients(eqx.Module):
    """The diagonals of one step, each a tree like the parameters or None: the plain value."""

    P: Params
    A: Params | None = None
    B: Params | None = None
    b1: Params | None = None
    b2: Params | None = None


class MathL2OState(eqx.Module):
    ahead: Params  # y − x
    lstm: tuple[LSTMState, ...]


class MathL2O(AbstractOptimizer):
    """Liu et al. 2023. State: y and 4·hidden floats a coordinate.

    - `use`: the parts that are learned, of "p", "a", "b", "b1", "b2"
    - `hidden`: units of each layer of the LSTM, at least one layer
    - `monotone`: no step raises the objective, whatever θ is; not with b, b1 or b2
    - `live`: meta-gradients also go through what the network sees. As published, they do not
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
        use: tuple[Part, ...] = ("p", "a"),
        hidden: tuple[Width, ...] = (20, 20),
        monotone: bool = False,
        live: bool = False,
        *,
        key: Key,
    ):
        self.use, self.hidden = parts_and_layers("MathL2O", use, PARTS, hidden)
        self.monotone, self.live = monotone, live
        if monotone and not {"p", "a"}.issuperset(self.use):
            raise ValueError("MathL2O: monotone=True is proven for the parts p and a alone.")
        key_lstm, key_mixing, key_heads = jr.split(key, 3)
        self.lstm = StackedLSTM(2, self.hidden, key=key_lstm)
        self.mixing = Linear(self.hidden[-1], self.hidden[-1], key=key_mixing)
        self.heads = Linear(self.hidden[-1], len(self.use), key=key_heads)

    @property
    def extra_gradients(self) -> int:
        """∇f(y) takes the place of the gradient at x, unless both are used."""
        return int("b" in self.use)

    def init(self, params: Params, *, key: Key | None = None) -> MathL2OState:
        params = tree.real(params, "MathL2O")
        n, dtype = tree.size(params), self.dtype(params)
        states = tuple(lstm_zeros(width, n, dtype) for width in self.hidden)
        return MathL2OState(jtu.tree_map(jnp.zeros_like, params), states)

    def update(
        self,
        grads: Updates,
        state: MathL2OState,
        params: Params,
        *,
        problem: Problem | None = None,
        **extra,
    ) -> tuple[Updates, MathL2OState]:
        loss = composite("MathL2O", problem)
        if "p" in self.use:
            check_separable("MathL2O", loss)
        y = tree.add(params, state.ahead)
        gradient = jax.grad(loss.smooth)(y)
        found, states = self.coefficients(loss, y, gradient, state.lstm)
        after, ahead = structured_step(loss, params, y, gradient, found)
        move = difference(after, params)
        if self.monotone:
            move, ahead = unless_it_rises(loss, params, move, ahead)
        return move, MathL2OState(ahead, states)

    def dtype(self, params: Params) -> jnp.dtype:
        """The dtype of the network: that of θ, or wider if a parameter is."""
        return tree.working_dtype((split_meta(self)[0], params))

    def coefficients(
        self, loss: Composite, y: Params, gradient: Params, states: tuple[LSTMState, ...]
    ) -> tuple[Coefficients, tuple[LSTMState, ...]]:
        """The diagonals, and the states of the LSTM after them."""
        dtype = self.dtype(y)
        seen = jnp.stack([tree.ravel(x, dtype)[0] for x in (gradient, y)])
        seen = seen if self.live else jax.lax.stop_gradient(seen)
        unravel = tree.unravel_like(y)
        with jax.numpy_dtype_promotion("standard"):  # θ may be narrower than the rows
            h, after = self.lstm(seen, states)
            raw = self.heads(jax.nn.relu(self.mixing(h)))
        if self.monotone:
            raw = without_nan(raw)
        base = MARGIN / jnp.asarray(loss.lipschitz, dtype)
        found: dict[str, Array] = {"P": jnp.full(raw.shape[1:], base)}
        for part, row in zip(self.use, raw, strict=True):
            gate = 1 + tanh(0.5 * row)  # 2σ(row)
            name = part.upper() if part in ("p", "a", "b") else part
            found[name] = base * gate if part == "p" else gate if part in ("a", "b") else row
        diagonals = {name: unravel(row) for name, row in found.items()}
        return Coefficients(**diagonals), tree.cast_like(after, states)


def structured_step(
    loss: Composite, x: Params, y: Params, gradient: Params, how: Coefficients
) -> tuple[Params, Params]:
    """x⁺ and y⁺ − x⁺ of the scheme above.

    - `x`, `y`: the point and the one ahead of it, trees like the parameters
    - `gradient`: ∇f(y)
    - `how`: the diagonals
    """
    inner = jtu.tree_map(lambda y, p, g: y - p * g, y, how.P, gradient)
    if how.B is not None:
        plain = jtu.tree_map(lambda x, p, g: x - p * g, x, how.P, jax.grad(loss.smooth)(x))
        inner = jtu.tree_map(lambda b, i, j: b * i + (1 - b) * j, how.B, inner, plain)
    if how.b1 is not None:
        inner = tree.add(inner, how.b1)
    after = loss.regularizer.prox(inner, how.P)
    move = difference(after, x)
    ahead = jtu.tree_map(jnp.zeros_like, x)
    if how.A is not None:
        ahead = jtu.tree_map(jnp.multiply, how.A, move)
    if how.b2 is not None:
        ahead = tree.add(ahead, how.b2)
    return after, ahead
