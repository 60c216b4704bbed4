"""Twin-L2O: two learned rules for the two players of a game, who move in turn.

    x ← x + Φ_min(∂ₓf(x, y), ∂ᵧf(x, y)),    then at the new x    y ← y + Φ_max(∂ᵧf(x, y), ∂ₓf(x, y))

Each Φ is an LSTM with a linear head, coordinate by coordinate; it sees its own gradient and that of
the other player. Cost: two gradients a step, the second where the minimising player has moved.

Shen, Chen, Heaton, Chen, Wang & Yin, "Learning a minimax optimizer: a pilot study", ICLR 2021.
Departure: the output is multiplied by `scale`, so that an untrained rule takes small steps. Options
for what the published code does and the paper does not tell, all off by default: `memory=1e-4`, by
which the states of the LSTMs are multiplied at every step, so that nothing is remembered;
`sign_steps`, 20 % of a run in training and in test: steps that have of Φ the sign alone, and a size
by schedule; `deviation=0.01`, of the states at the start.
"""

from typing import Annotated, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int, PyTree

from ...core import tree
from ...core.arguments import real, told, whole
from ...core.optimizer import AbstractOptimizer, split_meta
from ...core.task import Problem
from ...core.types import Key, Params, Updates
from ...store.untrusted import Between, Real
from ..classic.games import game
from ..settings import Widths
from .coordinates import WIDEST, Linear, LSTMState, StackedLSTM, lstm_zeros

FIRST_SIGN, LAST_SIGN = 1e-4, 0.1  # sizes of the first and the last of `sign_steps`
Steps = Annotated[int, Between(0, 2**31)]


class Rule(eqx.Module):
    """LSTM layers and a linear head, begun as PyTorch begins them: U(−1/√units, 1/√units)."""

    lstm: StackedLSTM
    head: Linear

    def __init__(self, inputs: int, hidden: tuple[int, ...], *, key: Key):
        key_lstm, key_head, key_lstm_values, key_head_values = jr.split(key, 4)
        lstm = StackedLSTM(inputs, hidden, key=key_lstm)
        keys = jr.split(key_lstm_values, len(hidden))
        layers = zip(lstm.layers, hidden, keys, strict=True)
        self.lstm = eqx.tree_at(lambda x: x.layers, lstm, tuple(_layer(*x) for x in layers))
        head = Linear(hidden[-1], 1, key=key_head)
        self.head = _uniform(head, hidden[-1], key_head_values)

    def __call__(
        self, x: Float[Array, "inputs rows"], states: tuple[LSTMState, ...]
    ) -> tuple[Float[Array, " rows"], tuple[LSTMState, ...]]:
        h, states = self.lstm(x, states)
        return self.head(h)[0], states


def _layer(layer: eqx.Module, units: int, key: Key) -> eqx.Module:
    """The layer begun anew. It has the sum of PyTorch's two biases, and adds 1 to the forget gate
    by itself, which is taken off."""
    first, second = (_uniform(layer, units, k) for k in jr.split(key))
    forget = (jnp.arange(4 * units) // units == 2).astype(first.b_gates.dtype)
    return eqx.tree_at(lambda x: x.b_gates, first, first.b_gates + second.b_gates - forget)


def _uniform(x: PyTree, units: int, key: Key) -> PyTree:
    """A tree of the same shapes, all entries U(−1/√units, 1/√units)."""
    leaves, treedef = jtu.tree_flatten(x)
    bound = units**-0.5
    draw = lambda leaf, k: jr.uniform(k, leaf.shape, leaf.dtype, -bound, bound)
    keys = jr.split(key, len(leaves))
    return jtu.tree_unflatten(treedef, [draw(*pair) for pair in zip(leaves, keys, strict=True)])


class TwinState(eqx.Module):
    min: tuple[LSTMState, ...]
    max: tuple[LSTMState, ...]
    count: Int[Array, ""]  # steps taken


class Twin(AbstractOptimizer):
    """Shen et al. 2021. State: 2·hidden floats a layer and coordinate. Needs the `problem`, a game.

    - `hidden`: units of each layer of an LSTM, at least one layer
    - `other`: each rule sees the other player's gradient, coordinate beside coordinate; False where
      the players have different numbers of them
    - `scale`: factor of the outputs
    - `memory`, `sign_steps`, `deviation`: see the head of the file; by default without effect

    In meta-training of first order the second gradient is a constant, as the first one is: no
    player's θ is then judged by what it does to the other.
    """

    rule_min: Rule
    rule_max: Rule
    hidden: tuple[int, ...] = eqx.field(static=True)
    other: bool = eqx.field(static=True)
    scale: float = eqx.field(static=True)
    memory: float = eqx.field(static=True)
    sign_steps: int = eqx.field(static=True)
    deviation: float = eqx.field(static=True)
    extra_gradients: ClassVar[int] = 1

    def __init__(
        self,
        hidden: Widths = (50, 50),
        other: bool = True,
        scale: Real = 0.1,
        memory: Real = 1.0,
        sign_steps: Steps = 0,
        deviation: Real = 0.0,
        *,
        key: Key,
    ):
        if not isinstance(hidden, tuple | list) or not len(hidden):
            raise ValueError(
                f"Twin: hidden is {told(hidden)}, expected layers of units, such as (50, 50)."
            )
        self.hidden = tuple(whole("Twin: hidden", n, least=1, most=WIDEST) for n in hidden)
        if not isinstance(other, bool):
            raise ValueError(f"Twin: other must be True or False, got {told(other)}.")
        self.other = other
        self.scale, self.memory = real("Twin: scale", scale), real("Twin: memory", memory)
        self.sign_steps = whole("Twin: sign_steps", sign_steps, least=0, most=2**31)
        self.deviation = real("Twin: deviation", deviation)
        if self.scale <= 0 or not 0 <= self.memory <= 1 or self.deviation < 0:
            raise ValueError(
                "Twin: scale must be positive, memory lie in 0 … 1 and deviation be 0 or more, got "
                f"{self.scale}, {self.memory} and {self.deviation}."
            )
        key_min, key_max = jr.split(key)
        inputs = 2 if other else 1
        self.rule_min = Rule(inputs, self.hidden, key=key_min)
        self.rule_max = Rule(inputs, self.hidden, key=key_max)

    def init(self, params: Params, *, key: Key | None = None) -> TwinState:
        params = tree.real(params, "Twin")
        sizes = {name: tree.size(params[name]) for name in ("min", "max")}
        if self.other and sizes["min"] != sizes["max"]:
            raise ValueError(
                f"Twin: the players have {sizes['min']} and {sizes['max']} coordinates, which "
                "cannot be paired; give other=False."
            )
        dtype = self.dtype(params)
        keys = dict(zip(sizes, [None, None] if key is None else jr.split(key), strict=True))
        first = {name: self.begin(sizes[name], dtype, keys[name]) for name in sizes}
        return TwinState(first["min"], first["max"], jnp.zeros((), jnp.int32))

    def begin(self, rows: int, dtype: jnp.dtype, key: Key | None) -> tuple[LSTMState, ...]:
        """The states of one player's rows before the first step."""
        states = tuple(lstm_zeros(width, rows, dtype) for width in self.hidden)
        if not self.deviation:
            return states
        if key is None:
            raise ValueError(
                f"Twin: with deviation {self.deviation} its first state is random; give "
                "init(params, key=jax.random.key(seed))."
            )
        leaves, treedef = jtu.tree_flatten(states)
        pairs = zip(jr.split(key, len(leaves)), leaves, strict=True)
        drawn = [self.deviation * jr.normal(k, x.shape, dtype) for k, x in pairs]
        return jtu.tree_unflatten(treedef, drawn)

    def update(
        self,
        grads: Updates,
        state: TwinState,
        params: Params,
        *,
        problem: Problem | None = None,
        second_order: bool = True,
        **extra,
    ) -> tuple[Updates, TwinState]:
        loss = game("Twin", problem)
        move = lambda name, g, own: self.move(name, g, own, state.count, params)
        u_min, after_min = move("min", grads, state.min)
        there = {"min": tree.apply_updates(params["min"], u_min), "max": params["max"]}
        again = jax.grad(loss.f)(there)
        u_max, after_max = move(
            "max", again if second_order else jax.lax.stop_gradient(again), state.max
        )
        return {"min": u_min, "max": u_max}, TwinState(after_min, after_max, state.count + 1)

    def move(
        self,
        name: str,
        grads: Updates,
        states: tuple[LSTMState, ...],
        count: Int[Array, ""],
        params: Params,
    ) -> tuple[Updates, tuple[LSTMState, ...]]:
        """The update of one player, from the gradients of both, and its states after it."""
        dtype = self.dtype(params)
        other = {"min": "max", "max": "min"}[name]
        seen = (name, other) if self.other else (name,)
        x = jnp.stack([tree.ravel(grads[player], dtype)[0] for player in seen])
        with jax.numpy_dtype_promotion("standard"):  # θ may be narrower than the rows
            raw, after = (self.rule_min if name == "min" else self.rule_max)(x, states)
        after = jtu.tree_map(lambda s: self.memory * s, after) if self.memory != 1 else after
        step = self.scale * raw
        if self.sign_steps:
            sizes = jnp.linspace(FIRST_SIGN, LAST_SIGN, self.sign_steps, dtype=raw.dtype)
            size = sizes[jnp.minimum(count, self.sign_steps - 1)]
            step = jnp.where(count < self.sign_steps, size * jnp.sign(raw), step)
        return tree.unravel_like(params[name])(step), tree.cast_like(after, states)

    def dtype(self, params: Params) -> jnp.dtype:
        """The dtype of the rules: that of θ, or wider if a parameter is."""
        return tree.working_dtype((split_meta(self)[0], params))
