"""A small MLP on momentum at several time scales, its step normalised over each tensor.

    m_k ← β_k m_k + (1−β_k) g,   v ← β v + (1−β) g²,   m̂_k, v̂ without bias
    x = [g, m̂_k, g/√v̂, m̂_k/√v̂, θ],  each over its root mean square over the tensor
    z = [tanh(t/τ − 1), cos(g, m̂_k), ln ‖g‖/‖√v̂‖, ln rms θ, ln n]        a tensor of n numbers
    d = a·x + MLP(x, z),   ℓ = w·z + b,   λ = bound · σ(w'·z + b')
    θ ← θ − scale · e^(3 tanh(ℓ/3)) · d/rms(d) − λ θ

The MLP has two layers of a few units, the state is 4 numbers a coordinate: a step costs a small
part of that of an LSTM. All that the network sees is free of the scale of the loss, and what it
gives is a direction: how far a tensor moves is said by ℓ, which knows of time, so that the rule
has a schedule. An untrained rule steps along Adam's direction, since the shortcut a begins at
m̂_1/√v̂. It steps shorter in large tensors, as n^(−1/4), as the weights of square matrices do at the
start of a training; and shorter as gradients vanish, as ‖g‖/‖√v̂‖, as Adam does.

In the manner of Metz, Freeman, Harrison, Maheswaranathan & Sohl-Dickstein, "Practical tradeoffs
between memory, compute, and performance in learned optimizers", CoLLAs 2022 (features, their
normalisation, two layers of a few units), and of "Celo2", arXiv 2602.19142 (a normalised step with
decoupled decay). Ours: no factored second moments, the shortcut, rate and decay by tensor.
"""

import math
from typing import Annotated

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int

from ...core import tree
from ...core.optimizer import AbstractOptimizer, split_meta
from ...core.types import Key, Params, Updates
from ...store.untrusted import Length, Real
from .. import settings
from ..settings import TimeScales, Units
from .coordinates import Linear, tanh, truncated_normal
from .tensors import Layout, over, sigmoid, weights

EPS = 1e-24  # added to mean squares under roots and logarithms
MANY = 2**15  # coordinates from which layers are sums, not products
LIMIT = 1e15  # of |g| and |θ| as the network sees them, so that no square is infinite
LOGS = 0.1  # of logarithms, so that they are about 1
SHRINK, USUAL = 0.25, 1000.0  # before training e^ℓ is (n / usual)^(−shrink) ‖g‖/‖√v̂‖
RANGE = 3.0  # largest |ln| of a rate over `scale`


class SmallMLPState(eqx.Module):
    """State, arrays (height, columns) as in `Layout`."""

    count: Int[Array, ""]
    m: tuple[Float[Array, "height columns"], ...]  # m_k
    v: Float[Array, "height columns"]


class SmallMLP(AbstractOptimizer):
    """A small MLP, see the head of this file. State: 4 floats a coordinate.

    - `hidden`: units of its two layers
    - `betas`: β_k of the averages of gradients, in [0, 1); the rule begins with the first
    - `beta`: β of the average of squares, in [0, 1)
    - `time_scales`: τ, in steps
    - `scale`: root mean square of the first step of a tensor of 1000 numbers before training,
      besides the decay
    - `weight_decay`: largest share of a parameter that a step takes away besides; 0: none
    """

    shortcut: Float[Array, " features"]  # a
    first: Linear
    of_tensor: Float[Array, "tensor_features hidden"]
    second: Linear
    head: Linear
    read_rate: Linear
    read_decay: Linear | None
    hidden: tuple[int, int] = eqx.field(static=True)
    betas: tuple[float, ...] = eqx.field(static=True)
    beta: float = eqx.field(static=True)
    time_scales: tuple[float, ...] = eqx.field(static=True)
    scale: float = eqx.field(static=True)
    weight_decay: float = eqx.field(static=True)

    def __init__(
        self,
        hidden: tuple[Units, Units] = (8, 8),
        betas: Annotated[tuple[Real, ...], Length(16)] = (0.9, 0.99, 0.999),
        beta: float = 0.999,
        time_scales: TimeScales = (10.0, 100.0, 1000.0, 10000.0),
        scale: float = 0.01,
        weight_decay: float = 0.0,
        *,
        key: Key,
    ):
        self.hidden, self.betas, self.beta = (hidden[0], hidden[1]), tuple(betas), beta
        self.time_scales, self.scale = tuple(time_scales), scale
        self.weight_decay = weight_decay
        known = settings.of(settings.SmallMLP, self)  # raises where one is out of range
        key_first, key_tensor, key_second, key_head = jr.split(key, 4)
        seen, about = known.features, known.tensor_features
        adam = 2 + len(self.betas)  # m̂_1/√v̂, after g, every m̂_k and g/√v̂
        self.shortcut = jnp.zeros((seen,)).at[adam].set(1.0)
        self.first = Linear(seen, hidden[0], key=key_first)
        self.of_tensor = truncated_normal(key_tensor, (about, hidden[0]), about)
        self.second = Linear(hidden[0], hidden[1], key=key_second)
        head = Linear(hidden[1], 1, key=key_head)
        self.head = eqx.tree_at(lambda h: h.w, head, 0.1 * head.w)  # the shortcut counts at first
        still = jtu.tree_map(jnp.zeros_like, Linear(about, 1, key=key))
        w = still.w.at[-1].set(-SHRINK / LOGS).at[-3].set(1 / LOGS)  # of ln n, ln ‖g‖/‖√v̂‖
        b = still.b + SHRINK * math.log(USUAL)
        self.read_rate = eqx.tree_at(lambda linear: (linear.w, linear.b), still, (w, b))
        self.read_decay = still if weight_decay else None

    def init(self, params: Params, *, key: Key | None = None) -> SmallMLPState:
        params = tree.real(params, "SmallMLP")
        layout, dtype = Layout(params), self.dtype(params)
        *m, v = [jnp.zeros(layout.shape, dtype) for _ in (*self.betas, self.beta)]
        return SmallMLPState(jnp.zeros((), jnp.int32), tuple(m), v)

    def update(
        self, grads: Updates, state: SmallMLPState, params: Params, **extra
    ) -> tuple[Updates, SmallMLPState]:
        if params is None:
            raise ValueError("SmallMLP looks at the parameters: give update(grads, state, params).")
        layout, dtype, count = Layout(params), self.dtype(params), state.count + 1
        if not layout.sizes:
            return params, eqx.tree_at(lambda s: s.count, state, count)
        with jax.numpy_dtype_promotion("standard"):  # θ may be narrower than the state
            g, theta = layout.pack(grads, dtype), layout.pack(params, dtype)
            g = jnp.clip(g, -LIMIT, LIMIT)
            u, m, v = self.advance(g, theta, state, layout)
        return layout.unpack(u), tree.cast_like(SmallMLPState(count, m, v), state)

    def advance(
        self, g: Array, theta: Array, state: SmallMLPState, layout: Layout
    ) -> tuple[Array, tuple[Array, ...], Array]:
        """Updates to be added, m and v after the step; arrays as `Layout` packs them."""
        count, sizes = (state.count + 1).astype(g.dtype), jnp.asarray(layout.sizes, g.dtype)
        mean = lambda x: layout.of_columns(jnp.stack([jnp.sum(y, 0) for y in x])) / sizes[None]
        m = tuple(b * old + (1 - b) * g for b, old in zip(self.betas, state.m, strict=True))
        v = self.beta * state.v + (1 - self.beta) * g**2
        m_hat = [x / (1 - b**count) for b, x in zip(self.betas, m, strict=True)]
        v_hat = v / (1 - self.beta**count)
        plain, root = [g, *m_hat], jnp.sqrt(v_hat + EPS)
        x = [*plain, *(y / root for y in plain), jnp.clip(theta, -LIMIT, LIMIT)]

        # Features are 0 where there is no coordinate, d is not.
        square = mean([y * y for y in x])  # (features, tensors)
        rms = jnp.sqrt(square + EPS)
        aligned = mean([g * y for y in m_hat]) / (rms[:1] * rms[1 : 1 + len(m_hat)])
        z = self.about(aligned, mean([v_hat]), square, state.count, layout)
        x = [y * size for y, size in zip(x, layout.spread(1 / rms), strict=True)]
        bias = layout.spread(weights(self.of_tensor, z) + over(self.first.b, z))
        d = jnp.where(layout.inside(), self.direction(x, list(bias)), 0)
        rate = jnp.exp(RANGE * tanh(self.read_rate(z)[0] / RANGE))
        moved = square[len(m_hat)] / (square[len(m_hat)] + EPS)  # 0 without gradients
        size = rate * moved / jnp.sqrt(mean([d * d])[0] + EPS)
        u = layout.spread(-self.scale * size) * d
        if self.read_decay is not None:
            share = self.weight_decay * sigmoid(self.read_decay(z)[0])
            u = u - layout.spread(share) * theta
        return u, m, v

    def about(
        self, aligned: Array, usual: Array, square: Array, taken: Int[Array, ""], layout: Layout
    ) -> Float[Array, "tensor_features tensors"]:
        """z of every tensor.

        - `aligned`: cos(g, m̂_k)
        - `usual`: mean of v̂
        - `square`: mean squares of the features of coordinates
        - `taken`: steps so far
        """
        t = taken.astype(jnp.promote_types(square.dtype, jnp.float32))
        time = jnp.tanh(t / jnp.asarray(self.time_scales, t.dtype) - 1).astype(square.dtype)
        time = jnp.broadcast_to(time[:, None], (len(time), len(layout.sizes)))
        log = lambda square: 0.5 * jnp.log(square + EPS)
        size = jnp.log(jnp.asarray(layout.sizes, square.dtype))[None]
        logs = [log(square[:1]) - log(usual), log(square[-1:]), size]
        return jnp.concatenate([time, aligned, *(LOGS * x for x in logs)])

    def direction(self, x: list[Array], bias: list[Array]) -> Float[Array, "height columns"]:
        """d of every coordinate.

        - `x`: features, over their size
        - `bias`: of the units of the first layer, (1, columns) each
        """
        h = [jax.nn.relu(y + b) for y, b in zip(mixed(self.first.w, x), bias, strict=True)]
        h = [
            jax.nn.relu(y + b) for y, b in zip(mixed(self.second.w, h), self.second.b, strict=True)
        ]
        [short], [out] = mixed(self.shortcut[:, None], x), mixed(self.head.w, h)
        return short + out + self.head.b[0]

    def dtype(self, params: Params) -> jnp.dtype:
        """The dtype of θ, or that of a wider parameter; float32 at least."""
        return tree.working_dtype((split_meta(self)[0], params))


def mixed(w: Float[Array, "inputs outputs"], x: list[Array]) -> list[Array]:
    """wᵀ x, an array a feature.

    Of many coordinates sums, which become one loop over memory for all layers: a million numbers
    through 9-8-8-1 units take 3 ms on a core, by products 10. Of few products, which compile sooner
    and are faster to differentiate.
    """
    if x[0].size < MANY:
        return list(weights(w, jnp.stack(x)))
    columns = ([w[k, j] * y for k, y in enumerate(x)] for j in range(w.shape[1]))
    return [sum(column[1:], start=column[0]) for column in columns]
