"""Coordinatewise GRU: a recurrent network that turns a scaled gradient into a step and its rate.

    v ← d v + (1 − d) g²,   d = σ(w_d · h + b_d)          v₀ = 1
    x = asinh(g / √(v + ε))
    h ← GRU layers(x, h),   (δ, z) = head(h)
    ρ ← ρ + ln 2σ(z)                                      ρ₀ = 0
    u = −η₀ e^ρ δ,   θ ← θ + u

One network for all coordinates. The rate of a coordinate is multiplied by 2σ(z) at every step:
at most doubled, kept as it is by z = 0, which is where training starts (the weights of z are
zeros). Of the package of Wichrowska et al., "Learned optimizers that scale and generalize",
ICML 2017: their hierarchical RNN without its hierarchy, a baseline for it.

Ours, where the source leaves it open or draws at random:
- The published rule draws the first rate of each coordinate from [1e-6, 1e-2]. Here η₀ is one
  trained number, the same for all: coordinates stay interchangeable and no key is needed. It
  multiplies every step instead of sitting in the first state, where truncated back-propagation
  would not see it.
- d is read from h before the step, the update has a bias, h₀ = 0, and the rate has no bound.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int

from ...core.backend import SHORT_BLOCK
from ...core.coordinatewise import AbstractCoordinatewise
from ...core.types import Key, Scalar
from ..settings import Block, Widths
from .coordinates import GRU, Linear

EPS = 1e-16  # ε under the root (as in the hierarchical RNN)
DECAY_BIAS = 3.2  # b_d at the start, d = 0.96 (as in the hierarchical RNN)


class GRUState(eqx.Module):
    h: tuple[Float[Array, "hidden rows"], ...]  # one a layer
    v: Float[Array, " rows"]
    rate: Float[Array, " rows"]  # ρ, the logarithm of the rate over η₀


class CoordinatewiseGRU(AbstractCoordinatewise):
    """Stacked GRU with a rate of its own for every coordinate. State: hidden + 2 floats each.

    - `hidden`: widths of the layers, at least one
    - `lr`: η₀ before training, by default the geometric mean of the published range; what has
      been learned is exp(`log_lr`)
    """

    layers: tuple[GRU, ...]
    head: Linear
    decay: Linear
    log_lr: Scalar
    hidden: tuple[int, ...] = eqx.field(static=True)
    lr: float = eqx.field(static=True)
    block: int = eqx.field(static=True)

    def __init__(
        self,
        hidden: Widths = (20, 20),
        lr: float = 1e-4,
        block: Block = SHORT_BLOCK,
        *,
        key: Key,
    ):
        if not hidden or min(hidden) < 1:
            raise ValueError(
                f"CoordinatewiseGRU: hidden is {tuple(hidden)}, expected the width of each layer, "
                "at least one, such as (20, 20)."
            )
        if not 0 < lr < math.inf:
            raise ValueError(f"CoordinatewiseGRU: lr must be positive and finite, got {lr}.")
        key_layers, key_head, key_decay = jr.split(key, 3)
        self.hidden, self.lr, self.block = tuple(hidden), lr, block
        self.layers = tuple(
            GRU(inputs, width, key=key)
            for inputs, width, key in zip(
                (1, *hidden[:-1]), hidden, jr.split(key_layers, len(hidden)), strict=True
            )
        )
        head = Linear(hidden[-1], 2, key=key_head)
        self.head = eqx.tree_at(lambda part: part.w, head, head.w.at[:, 1].set(0.0))
        decay = Linear(hidden[-1], 1, key=key_decay)
        self.decay = eqx.tree_at(lambda part: part.b, decay, decay.b + DECAY_BIAS)
        self.log_lr = jnp.asarray(math.log(lr), jnp.result_type(float))

    def start(self, rows: int, dtype: jnp.dtype) -> GRUState:
        h = tuple(jnp.zeros((width, rows), dtype) for width in self.hidden)
        return GRUState(h, jnp.ones((rows,), dtype), jnp.zeros((rows,), dtype))

    def advance(
        self, g: Float[Array, " rows"], state: GRUState, count: Int[Array, ""]
    ) -> tuple[Float[Array, " rows"], GRUState]:
        logit = self.decay(state.h[-1])[0]
        v = jax.nn.sigmoid(logit) * state.v + jax.nn.sigmoid(-logit) * g**2  # 1 − σ(x) = σ(−x)
        x = jnp.arcsinh(g / jnp.sqrt(v + EPS))[None]  # (1, rows)
        h = []
        for layer, before in zip(self.layers, state.h, strict=True):
            x = layer(x, before)
            h.append(x)
        delta, z = self.head(x)
        rate = state.rate + jax.nn.log_sigmoid(z) + math.log(2)
        return -jnp.exp(self.log_lr + rate) * delta, GRUState(tuple(h), v, rate)
