"""Cells of the hierarchical RNN: a GRU with a bias from the level above, affine maps, readouts.

Wichrowska et al., "Learned optimizers that scale and generalize", ICML 2017. Features come first;
the axes after them are rows and columns of coordinates, or tensors.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from ...core.types import Key, Scalar
from .coordinates import safe_sqrt, tanh


def sigmoid(x: Array) -> Array:
    return 0.5 * (1 + tanh(0.5 * x))


def over(w: Array, x: Array) -> Array:
    """A vector or matrix w (features …) as many axes as x has, to be added to x."""
    return jnp.expand_dims(w, range(w.ndim, x.ndim))


def weights(w: Float[Array, "inputs outputs"], x: Float[Array, "inputs ..."]) -> Array:
    """wᵀ x over the first axis."""
    return jnp.einsum("kg,k...->g...", w, x)


class Affine(eqx.Module):
    w: Float[Array, "inputs outputs"]
    b: Float[Array, " outputs"]

    def __init__(self, inputs: int, outputs: int, scale: float, *, key: Key):
        self.w = jr.normal(key, (inputs, outputs)) * (scale / math.sqrt(inputs))
        self.b = jnp.zeros((outputs,))

    def __call__(self, x: Float[Array, "inputs tensors"]) -> Float[Array, "outputs tensors"]:
        return weights(self.w, x) + over(self.b, x)


class Readout(eqx.Module):
    """One number of a hidden state: w · h + b."""

    w: Float[Array, " hidden"]
    b: Scalar

    def __init__(self, hidden: int, scale: float, bias: float, *, key: Key):
        self.w = jr.normal(key, (hidden,)) * (scale / math.sqrt(hidden))
        self.b = jnp.asarray(bias, self.w.dtype)


class BiasGRU(eqx.Module):
    """A GRU whose three blocks take a bias from outside; u is the gate that keeps.

    r, u = σ(split([x, h] ᵀ W_g + b_g + β_ru)),   c = tanh([x, r ⊙ h] ᵀ W_c + b_c + β_c)
    h ← u ⊙ h + (1 − u) ⊙ c
    """

    w_gates: Float[Array, "inputs+hidden 2*hidden"]
    b_gates: Float[Array, " 2*hidden"]
    w_candidate: Float[Array, "inputs+hidden hidden"]
    b_candidate: Float[Array, " hidden"]

    def __init__(self, inputs: int, hidden: int, scale: float, gate_bias: float, *, key: Key):
        key_gates, key_candidate = jr.split(key)
        std = scale / math.sqrt(inputs + hidden)
        self.w_gates = std * jr.normal(key_gates, (inputs + hidden, 2 * hidden))
        self.b_gates = jnp.zeros((2 * hidden,)) + gate_bias
        self.w_candidate = std * jr.normal(key_candidate, (inputs + hidden, hidden))
        self.b_candidate = jnp.zeros((hidden,))

    def __call__(
        self, x: Float[Array, "inputs ..."], h: Float[Array, "hidden ..."], beta: Array | None
    ) -> Float[Array, "hidden ..."]:
        # x and h each meet their rows of both matrices: no copy of [x, h] and [x, r ⊙ h].
        q, m = len(x), len(h)
        b = over(jnp.concatenate([self.b_gates, self.b_candidate]), x)
        z = weights(jnp.concatenate([self.w_gates[:q], self.w_candidate[:q]], 1), x)
        z = z + (b if beta is None else b + beta)  # (3·hidden, …)
        # σ(z) = (1 + tanh(z/2))/2: r = (1 + t_r)/2, u = (1 + t_u)/2
        t_r, t_u = jnp.split(tanh(0.5 * (z[: 2 * m] + weights(self.w_gates[q:], h))), 2)
        c = tanh(z[2 * m :] + weights(self.w_candidate[q:], 0.5 * (1 + t_r) * h))
        return 0.5 * ((h + c) + t_u * (h - c))


def roots(x: Float[Array, "height columns"], count: int) -> Float[Array, "count height columns"]:
    """x, √x, √√x, …"""
    out = [x]
    for _ in range(count - 1):
        out.append(safe_sqrt(out[-1]))
    return jnp.stack(out)


def clip(x: Array, low: float, high: float) -> Array:
    """x within bounds, with the gradient of x itself."""
    stop = jax.lax.stop_gradient
    return stop(jnp.clip(x, low, high)) + (x - stop(x))
