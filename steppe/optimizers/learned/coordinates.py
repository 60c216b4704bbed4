"""Parts that coordinatewise learned optimizers share: input features and recurrent cells.

Shapes put features first and rows (coordinates) last, see `core/coordinatewise.py`.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from ...core.arguments import told, whole
from ...core.types import Key

WIDEST = 2**16  # units of a layer, as in files (`settings.Width`)
EPSILON = 1.1920929e-07  # float32 machine epsilon, also in float64 (published code)


def log_and_sign(g: Float[Array, " rows"], p: float) -> Float[Array, "2 rows"]:
    """(max(ln(|g| + ε)/p, −1), clip(g·eᵖ, −1, 1)): size and direction of a gradient.

    Andrychowicz et al. 2016, appendix A, in the clamped form of the published code.
    """
    size = jnp.maximum(jnp.log(jnp.abs(g) + EPSILON) / p, -1.0)
    sign = jnp.clip(g * jnp.exp(jnp.asarray(p, g.dtype)), -1.0, 1.0)
    return jnp.stack([size, sign])


def truncated_normal(key: Key, shape: tuple[int, ...], fan_in: int) -> Array:
    """N(0, 1/fan_in) cut at two standard deviations (sonnet 1.11's default)."""
    return jr.truncated_normal(key, -2.0, 2.0, shape) / jnp.sqrt(1.0 * fan_in)


# tanh(x)/x ≈ P(x²)/Q(x²) on |x| ≤ 8.7 with relative error 1.5e-8, a quarter of float32's epsilon;
# lowest power first. Fitted in float64 by iteratively reweighted least squares (Lawson).
TANH_CLIP = 8.7  # tanh is 1 beyond, in float32
TANH_P = (9.9999998516e-01, 1.3400466878e-01, 3.5187443396e-03, 2.0993840396e-05, 1.3897645475e-08)
TANH_Q = (1.0, 4.6733787110e-01, 2.5964894943e-02, 3.3236486105e-04, 7.9965324881e-07)


@jax.custom_jvp
def tanh(x: Array) -> Array:
    """tanh, in float32 as a rational function: as exact as XLA's on a CPU, and half its time."""
    if x.dtype != jnp.float32:
        return jnp.tanh(x)
    x = jnp.clip(x, -TANH_CLIP, TANH_CLIP)
    y = x * x
    p, q = TANH_P[-1], TANH_Q[-1]
    for a, b in zip(TANH_P[-2::-1], TANH_Q[-2::-1], strict=True):
        p, q = y * p + a, y * q + b
    return jnp.clip(x * p / q, -1.0, 1.0)


@tanh.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    t = tanh(*primals)
    return t, tangents[0] * (1 - t * t)


def elu(x: Array) -> Array:
    """x above 0, eˣ − 1 below, by eˣ − 1 = 2t/(1 − t) with t = tanh(x/2): `tanh` is fast."""
    t = tanh(0.5 * jnp.minimum(x, 0))
    return jnp.where(x > 0, x, 2 * t / (1 - t))


def safe_sqrt(x: Array) -> Array:
    """√x whose derivative at 0 is 0 instead of infinite (second-order mode, dead coordinates)."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)


def without_nan(raw: Array) -> Array:
    """Rows of the network, 0 for what is no number."""
    return jnp.where(jnp.isnan(raw), jnp.zeros_like(raw), raw)


def parts_and_layers(
    owner: str, use: object, known: tuple[str, ...], hidden: object
) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """Parts of a scheme and units of layers as tuples, or a sentence."""
    for name, given in (("use", use), ("hidden", hidden)):
        if not isinstance(given, tuple | list):
            raise ValueError(f"{owner}: {name} must be a tuple, got {told(given)}.")
    use, hidden = tuple(use), tuple(hidden)  # pyright: ignore[reportArgumentType]
    if unknown := [part for part in use if part not in known]:
        raise ValueError(f"{owner}: use has {told(unknown[0])}, expected parts of {known}.")
    if not use or len(set(use)) < len(use):
        raise ValueError(f"{owner}: use is {use}, expected some of {known}, each once.")
    if not hidden:
        raise ValueError(f"{owner}: hidden is (), expected layers of units, such as (20, 20).")
    return use, tuple(whole(f"{owner}: hidden", n, least=1, most=WIDEST) for n in hidden)


class Linear(eqx.Module):
    """w ᵀ x + b on every row."""

    w: Float[Array, "inputs outputs"]
    b: Float[Array, " outputs"]

    def __init__(self, inputs: int, outputs: int, *, key: Key):
        self.w = truncated_normal(key, (inputs, outputs), inputs)
        self.b = jnp.zeros((outputs,))

    def __call__(self, x: Float[Array, "inputs rows"]) -> Float[Array, "outputs rows"]:
        return self.w.T @ x + self.b[:, None]


class LSTM(eqx.Module):
    """One LSTM layer, gates in the order i, j, f, o, forget bias +1 added at run time.

    i, j, f, o = split([x, h] ᵀ W + b)
    c ← σ(f + 1) ⊙ c + σ(i) ⊙ tanh(j),   h ← σ(o) ⊙ tanh(c)
    """

    w_gates: Float[Array, "inputs+hidden 4*hidden"]
    b_gates: Float[Array, " 4*hidden"]

    def __init__(self, inputs: int, hidden: int, *, key: Key):
        key_w, key_b = jr.split(key)
        self.w_gates = truncated_normal(key_w, (inputs + hidden, 4 * hidden), inputs + hidden)
        self.b_gates = truncated_normal(key_b, (4 * hidden,), inputs + hidden)

    def __call__(
        self, x: Float[Array, "inputs rows"], state: "LSTMState"
    ) -> tuple[Float[Array, "hidden rows"], "LSTMState"]:
        # σ(z) = (1 + tanh(z/2))/2, so one tanh over all gates serves, after halving i, f, o.
        hidden = state.h.shape[0]
        forget = (jnp.arange(4 * hidden) // hidden == 2).astype(x.dtype)
        half = jnp.where(jnp.arange(4 * hidden) // hidden == 1, 1.0, 0.5).astype(x.dtype)
        w = self.w_gates * half[None]
        b = (self.b_gates.astype(x.dtype) + forget) * half
        z = jnp.einsum("kg,kr->gr", w, jnp.concatenate([x, state.h]))
        gates = tanh(z + b[:, None])
        i, j, f, o = jnp.split(gates, 4)
        c = 0.5 * ((1 + f) * state.c + (1 + i) * j)
        h = 0.5 * (1 + o) * tanh(c)
        return h, LSTMState(h, c)


class LSTMState(eqx.Module):
    h: Float[Array, "hidden rows"]
    c: Float[Array, "hidden rows"]


def lstm_zeros(hidden: int, rows: int, dtype: jnp.dtype) -> LSTMState:
    return LSTMState(jnp.zeros((hidden, rows), dtype), jnp.zeros((hidden, rows), dtype))


class StackedLSTM(eqx.Module):
    """LSTM layers one on the other, no skip connections."""

    layers: tuple[LSTM, ...]

    def __init__(self, inputs: int, hidden: tuple[int, ...], *, key: Key):
        widths = (inputs, *hidden)
        keys = jr.split(key, max(len(hidden), 1))
        self.layers = tuple(LSTM(widths[i], width, key=keys[i]) for i, width in enumerate(hidden))

    def __call__(
        self, x: Float[Array, "inputs rows"], states: tuple[LSTMState, ...]
    ) -> tuple[Float[Array, "hidden rows"], tuple[LSTMState, ...]]:
        after = []
        for layer, state in zip(self.layers, states, strict=True):
            x, state = layer(x, state)
            after.append(state)
        return x, tuple(after)


class GRU(eqx.Module):
    """One GRU layer; u is the gate that keeps (Cho et al., EMNLP 2014).

    r, u = σ(split([x, h] ᵀ W_g + b_g)),   c = tanh([x, r ⊙ h] ᵀ W_c + b_c)
    h ← u ⊙ h + (1 − u) ⊙ c

    The gates start with bias 1, which is 0.73 open (TensorFlow's GRUCell).
    """

    w_gates: Float[Array, "inputs+hidden 2*hidden"]
    b_gates: Float[Array, " 2*hidden"]
    w_candidate: Float[Array, "inputs+hidden hidden"]
    b_candidate: Float[Array, " hidden"]

    def __init__(self, inputs: int, hidden: int, *, key: Key):
        key_gates, key_candidate = jr.split(key)
        fan_in = inputs + hidden
        self.w_gates = truncated_normal(key_gates, (fan_in, 2 * hidden), fan_in)
        self.b_gates = jnp.ones((2 * hidden,))
        self.w_candidate = truncated_normal(key_candidate, (fan_in, hidden), fan_in)
        self.b_candidate = jnp.zeros((hidden,))

    def __call__(
        self, x: Float[Array, "inputs rows"], h: Float[Array, "hidden rows"]
    ) -> Float[Array, "hidden rows"]:
        # σ(z) = (1 + tanh(z/2))/2: r = (1 + t_r)/2, u = (1 + t_u)/2
        z = jnp.einsum("kg,kr->gr", self.w_gates, jnp.concatenate([x, h]))
        t_r, t_u = jnp.split(tanh(0.5 * (z + self.b_gates[:, None])), 2)
        reset = 0.5 * (1 + t_r) * h
        c = jnp.einsum("kc,kr->cr", self.w_candidate, jnp.concatenate([x, reset]))
        c = tanh(c + self.b_candidate[:, None])
        return 0.5 * ((h + c) + t_u * (h - c))
