"""Swarm: particles that learn from each other, by attention over what each of them has seen.

Of particle i, four features in ℝⁿ:

    s₁ = ∇f(xᵢ)                        the gradient
    s₂ = β s₂ + (1 − β) ∇f(xᵢ)         its average, the momentum
    s₃ = xᵢ − the best xᵢ so far       the velocity
    s₄ = Σ_{j: fⱼ < fᵢ} wᵢⱼ (xᵢ − xⱼ) / Σⱼ wᵢⱼ,   wᵢⱼ = exp(−α ‖xᵢ − xⱼ‖²)      the attraction

mixed within a particle and between particles, and handed to an LSTM shared by all coordinates:

    cᵢ = Σ_f p_f s_f,   p = softmax over features f of  mean_d  vᵀ tanh(w_f s_fd + b_f + Uᵀ h_d)
    eⱼ = cⱼ + (1/k) Σᵣ mᵣⱼ qᵣⱼ cᵣ,   m = softmax over r of ⟨cᵣ, cⱼ⟩/n,   q ∝ exp(−‖xᵣ − xⱼ‖²/2ℓ)
    xᵢ ← xᵢ + scale · LSTM(eᵢ)

Cao, Chen, Wang & Shen, "Learning to optimize in swarms", NeurIPS 2019 (LOIS). Departures: scores
are means over coordinates d, so that one optimizer serves any dimension n (published: W s with
W ∈ ℝ^{10 × n}); each feature has its own w and b; the LSTM sees e and arcsinh e; gradients are seen
in `units`. The published code departs from its paper: its momentum and what it remembers are
constants, its velocity is zero, it compares losses the wrong way round, and attention mixes
unrelated problems. Here problems never meet.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Float

from ...core import tree
from ...core.arguments import told
from ...core.measure import check_not_negative, check_positive
from ...core.messages import at_least
from ...core.optimizer import AbstractOptimizer, split_meta
from ...core.task import Problem
from ...core.types import Key, Params, Updates
from ..particles import check_particles, each, like_rows, rows
from ..settings import Width, Widths
from .coordinates import (
    Linear,
    LSTMState,
    StackedLSTM,
    lstm_zeros,
    parts_and_layers,
    tanh,
    truncated_normal,
)

FEATURES = ("gradient", "momentum", "velocity", "attraction")
Feature = Literal["gradient", "momentum", "velocity", "attraction"]


class Attention(eqx.Module):
    """Scores of features, by what they are at a coordinate and what the LSTM remembers there."""

    w: Float[Array, "features width"]
    b: Float[Array, "features width"]
    u: Float[Array, "hidden width"]
    v: Float[Array, " width"]

    def __init__(self, features: int, hidden: int, width: int, *, key: Key):
        key_w, key_u = jr.split(key)
        self.w = truncated_normal(key_w, (features, width), 1)
        self.b = jnp.zeros((features, width))
        self.u = truncated_normal(key_u, (hidden, width), hidden)
        self.v = jnp.ones((width,)) / width

    def __call__(
        self, s: Float[Array, "features k n"], h: Float[Array, "hidden k n"]
    ) -> Float[Array, "features k"]:
        """Shares of the features of each particle, which add up to 1."""
        known = jnp.einsum("hw,hkn->wkn", self.u, h)
        own = (
            self.w[:, :, None, None] * s[:, None] + self.b[:, :, None, None]
        )  # (features, width, k, n)
        scores = jnp.einsum("w,fwkn->fk", self.v, tanh(own + known[None])) / s.shape[-1]
        return jax.nn.softmax(scores, axis=0)


class Means(eqx.Module):
    """Means over the run so far, of each coordinate of each particle."""

    count: Float[Array, ""]
    g: Float[Array, "k n"]
    x: Float[Array, "k n"]

    def after(self, g: Float[Array, "k n"], x: Float[Array, "k n"]) -> "Means":
        count = self.count + 1
        return Means(count, self.g + (g - self.g) / count, self.x + (x - self.x) / count)


class SwarmState(eqx.Module):
    lstm: tuple[LSTMState, ...]  # rows: coordinates of all particles
    momentum: Float[Array, "k n"]
    best: Float[Array, "k n"]  # place of each particle where its loss was least
    values: Float[Array, " k"]  # the loss there
    means: Means | None  # where they are used


class Swarm(AbstractOptimizer):
    """Cao et al. 2019. State: 4·hidden floats a coordinate and two more.

    Needs a `Stacked` loss of two particles at least, such as that of `Population`.

    - `hidden`: units of each layer of the LSTM, at least one layer
    - `use`: features, of "gradient", "momentum", "velocity", "attraction". The first two are those
      of a particle alone, the others of what it has seen and of its neighbours
    - `between`: particles see each other's mixture
    - `beyond`: the LSTM also sees each feature of its coordinate, and two more: the mean gradient
      ḡ so far, and x − x̄, the way from the mean place. Of all it chooses factors, and the sum is
      added to the move: a place such as x̄ − ḡ/2, the minimum of a bowl of curvature 2 under any
      ripples that cancel in the mean, is within reach. Ours
    - `scale`: factor of the output
    - `units`: gradients are divided by it
    - `beta`, `alpha`, `length`: β, α and ℓ above
    - `width`: of the hidden layer of the scores
    """

    attention: Attention
    lstm: StackedLSTM
    head: Linear
    hidden: tuple[Width, ...] = eqx.field(static=True)
    use: tuple[Feature, ...] = eqx.field(static=True)
    between: bool = eqx.field(static=True)
    beyond: bool = eqx.field(static=True)
    scale: float = eqx.field(static=True)
    units: float = eqx.field(static=True)
    beta: float = eqx.field(static=True)
    alpha: float = eqx.field(static=True)
    length: float = eqx.field(static=True)
    width: int = eqx.field(static=True)

    def __init__(
        self,
        hidden: Widths = (20, 20),
        use: tuple[Feature, ...] = FEATURES,
        between: bool = True,
        beyond: bool = False,
        scale: float = 1.0,
        units: float = 1.0,
        beta: float = 0.9,
        alpha: float = 1.0,
        length: float = 1.0,
        width: int = 10,
        *,
        key: Key,
    ):
        self.use, self.hidden = parts_and_layers("Swarm", use, FEATURES, hidden)
        self.between, self.beyond = between, beyond
        self.scale, self.units, self.beta = scale, units, beta
        self.alpha, self.length, self.width = alpha, length, width
        at_least(1, "Swarm", width=width)
        check_positive("Swarm", "scale", scale, "It is a factor of the output.")
        check_positive("Swarm", "units", units, "Gradients are divided by it.")
        check_positive("Swarm", "length", length, "It is the reach of attention.")
        check_not_negative("Swarm", "alpha", alpha, "0 attracts from everywhere alike.")
        if not 0 <= beta < 1:
            raise ValueError(f"Swarm: beta must be in [0, 1), got {told(beta)}.")
        key_attention, key_lstm, key_head = jr.split(key, 3)
        features, last = len(self.use), self.hidden[-1]
        self.attention = Attention(features, last, width, key=key_attention)
        more = features + 2 if beyond else 0
        self.lstm = StackedLSTM(2 + more, self.hidden, key=key_lstm)
        head = Linear(last, 1 + more, key=key_head)
        # All factors are 0 before training.
        self.head = eqx.tree_at(lambda h: h.w, head, head.w.at[:, 1:].set(0))

    def init(self, params: Params, *, key: Key | None = None) -> SwarmState:
        params = tree.real(params, "Swarm")
        k, dtype = check_particles(params, "Swarm"), self.dtype(params)
        x = rows(params, dtype)
        states = tuple(lstm_zeros(width, x.size, dtype) for width in self.hidden)
        zeros = jnp.zeros_like(x)
        means = Means(jnp.zeros((), dtype), zeros, zeros) if self.beyond else None
        return SwarmState(states, zeros, x, jnp.full((k,), jnp.inf, dtype), means)

    def update(
        self,
        grads: Updates,
        state: SwarmState,
        params: Params,
        *,
        problem: Problem | None = None,
        **extra,
    ) -> tuple[Updates, SwarmState]:
        dtype = self.dtype(params)
        f = each(problem, params, "Swarm").astype(dtype)
        x, g = rows(params, dtype), rows(grads, dtype)
        if not x.size:
            return jtu.tree_map(jnp.zeros_like, params), state
        with jax.numpy_dtype_promotion("standard"):  # θ may be narrower than the state
            m = self.beta * state.momentum + (1 - self.beta) * g
            better = f < state.values
            best = jnp.where(better[:, None], x, state.best)
            values = jnp.where(better, f, state.values)
            means = None if state.means is None else state.means.after(g, x)
            s = self.features(g, m, x, best, f)
            move, lstm = self.move(s, x, f, means, state.lstm)
        after = SwarmState(lstm, m, best, values, means)
        return like_rows(move, params), tree.cast_like(after, state)

    def features(
        self,
        g: Float[Array, "k n"],
        m: Float[Array, "k n"],
        x: Float[Array, "k n"],
        best: Float[Array, "k n"],
        f: Float[Array, " k"],
    ) -> Float[Array, "features k n"]:
        """Those in `use`, gradients in `units`."""
        known = {
            "gradient": lambda: g / self.units,
            "momentum": lambda: m / self.units,
            "velocity": lambda: x - best,
            "attraction": lambda: attraction(x, f, self.alpha),
        }
        return jnp.stack([known[name]() for name in self.use])

    def move(
        self,
        s: Float[Array, "features k n"],
        x: Float[Array, "k n"],
        f: Float[Array, " k"],
        means: Means | None,
        states: tuple[LSTMState, ...],
    ) -> tuple[Float[Array, "k n"], tuple[LSTMState, ...]]:
        """The moves of all particles, and the states of the LSTM after them."""
        h = states[-1].h.reshape(-1, *x.shape)
        e = jnp.einsum("fk,fkn->kn", self.attention(s, h), s)
        if self.between:
            e = e + shared(e, x, jnp.isfinite(f), self.length) / len(x)
        more = [] if means is None else [*s, means.g / self.units, x - means.x]
        seen = jnp.stack([e, jnp.arcsinh(e), *map(jnp.arcsinh, more)])
        y, states = self.lstm(seen.reshape(len(seen), -1), states)
        own, *factors = self.head(y).reshape(-1, *x.shape)
        for a, z in zip(factors, more, strict=True):
            own = own + a * z
        return self.scale * own, states

    def dtype(self, params: Params) -> jnp.dtype:
        """The dtype of θ, or that of a wider parameter; float32 at least."""
        return tree.working_dtype((split_meta(self)[0], params))


def squares(x: Float[Array, "k n"]) -> tuple[Float[Array, "k k n"], Float[Array, "k k"]]:
    """xᵢ − xⱼ and ‖xᵢ − xⱼ‖²."""
    apart = x[:, None] - x[None]
    return apart, jnp.sum(apart**2, -1)


def attraction(x: Float[Array, "k n"], f: Float[Array, " k"], alpha: float) -> Float[Array, "k n"]:
    """s₄: away from particles of less loss, the nearer the more; 0 for the best.

    The sum below the line is over all particles that are not lost, i itself with weight 1.
    """
    known = jnp.isfinite(f)
    apart, d2 = squares(jnp.where(known[:, None], x, 0))
    w = jnp.where(known[None], jnp.exp(-alpha * d2), 0)  # (i, j)
    w = jnp.where(jnp.eye(len(x), dtype=bool), 1, w)
    lower = f[None] < f[:, None]
    return jnp.einsum("ij,ijn->in", jnp.where(lower, w, 0), apart) / w.sum(1, keepdims=True)


def shared(
    c: Float[Array, "k n"], x: Float[Array, "k n"], known: Bool[Array, " k"], length: float
) -> Float[Array, "k n"]:
    """Σᵣ mᵣⱼ qᵣⱼ cᵣ of the particles that are not lost."""
    one = known[:, None]
    c, (_, d2) = jnp.where(one, c, 0), squares(jnp.where(one, x, 0))
    column = lambda score: jax.nn.softmax(jnp.where(one, score, -jnp.inf), axis=0)  # over r
    m, q = column(c @ c.T / c.shape[-1]), column(-d2 / (2 * length))
    return (m * q).T @ c
