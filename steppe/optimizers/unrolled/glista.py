"""GLISTA: LISTA-CPSS with gates that make up for what soft thresholds take away.

    u = 1 + a_k g(D_k |x|)                                           gain of small entries
    x̃ = η( u x + W_kᵀ (b − A (u x));  θ_k, p_k ),   c = 1 where the threshold made an entry smaller
    o = 1 − ā_k θ_{k−1} c_{k−1} / (|x̃ − x| + 0.1)                    overshoot
    x⁺ = o x̃ + (1 − o) x

    g       relu       relu(1 − relu(z))
            inverse    0.2 / (0.001 + z)
            exp        e^{−z}
            sigmoid    1 / (1 + e^{z})
            none       0

In the first layer θ₁ stands for θ₀ c₀. η spares the largest p_k % of the entries, `thresholds.py`.

Wu, Guo, Li & Zhang, "Sparse coding with gated learned ISTA", ICLR 2020, coupled form. A layer has
one threshold, as in Open-L2O; the overshoot looks at the previous one as the authors' code does,
where Open-L2O looks at that of the same layer.
"""

from typing import ClassVar, Literal, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ...core.arguments import real
from ...core.loss import Composite
from .base import (
    AbstractUnrolled,
    Layers,
    Matrix,
    Size,
    check_sizes,
    larger_square,
    number,
    residual,
)
from .thresholds import check_selection, check_threshold, largest, soft_except, spared_counts

Vector = Float[Array, " n"]
Gate = Literal["relu", "inverse", "exp", "sigmoid", "none"]
GATES = {
    "relu": lambda z: jax.nn.relu(1 - jax.nn.relu(z)),
    "inverse": lambda z: 0.2 / (0.001 + z),
    "exp": lambda z: jnp.exp(-z),
    "sigmoid": lambda z: jax.nn.sigmoid(-z),
    "none": jnp.zeros_like,
}
SOFTEST = 0.1  # added to the move that the overshoot divides by, as published


class GLISTA(AbstractUnrolled):
    """Wu et al. 2020: a matrix, a threshold, two strengths and n scales for each layer.

    - `rows`, `n`: shape of A
    - `layers`: at least 1
    - `threshold`: of the start, θ = threshold / ‖A‖², not negative
    - `p`, `p_max`: percent of the entries that layer k = 1, 2, … spares, min(p · k, p_max)
    - `gate`: g of the gain; "relu" suits noise, "none" with overshoot 1 the lack of it
    - `gain`, `overshoot`: a and ā of the start
    - `weights`: of the start. "A/L": as published; "A": better after short training, layer by layer
    """

    W: Float[Array, "layers rows n"]
    thresholds: Float[Array, " layers"]
    gains: Float[Array, " layers"]
    overshoots: Float[Array, " layers"]
    scales: Float[Array, "layers n"]
    rows: int = eqx.field(static=True)
    n: int = eqx.field(static=True)
    layers: int = eqx.field(static=True)
    threshold: float = eqx.field(static=True)
    p: float = eqx.field(static=True)
    p_max: float = eqx.field(static=True)
    gate: Gate = eqx.field(static=True)
    gain: float = eqx.field(static=True)
    overshoot: float = eqx.field(static=True)
    weights: Literal["A/L", "A"] = eqx.field(static=True)
    per_layer: ClassVar = ("W", "thresholds", "gains", "overshoots", "scales")

    def __init__(
        self,
        rows: Size,
        n: Size,
        layers: Layers = 16,
        threshold: float = 0.4,
        p: float = 1.2,
        p_max: float = 13.0,
        gate: Gate = "relu",
        gain: float = 5.0,
        overshoot: float = 5.0,
        weights: Literal["A/L", "A"] = "A/L",
    ):
        me = "GLISTA"
        check_sizes(me, layers, rows=rows, n=n, each="rows·n")
        check_threshold(me, threshold)
        check_selection(me, p, p_max)
        for name, strength in {"gain": gain, "overshoot": overshoot}.items():
            real(f"{me}: {name}", strength)
        if gate not in GATES:
            raise ValueError(f"{me}: gate is {gate!r}, expected one of {tuple(GATES)}.")
        if weights not in ("A/L", "A"):
            raise ValueError(f"{me}: weights is {weights!r}, expected 'A/L' or 'A'.")
        self.rows, self.n, self.layers, self.threshold = rows, n, layers, threshold
        self.p, self.p_max, self.weights = p, p_max, weights
        self.gate, self.gain, self.overshoot = gate, gain, overshoot
        dtype = jnp.result_type(float)
        self.W = jnp.zeros((layers, rows, n), dtype)
        self.thresholds = jnp.zeros((layers,), dtype)
        self.gains = jnp.full((layers,), gain, dtype)
        self.overshoots = jnp.full((layers,), overshoot, dtype)
        self.scales = jnp.ones((layers, n), dtype)

    def started(self, A: Matrix) -> Self:
        L = larger_square(A)
        W = jnp.broadcast_to(number(A / L if self.weights == "A/L" else A), self.W.shape)
        thresholds = jnp.full_like(self.thresholds, self.threshold / L)
        return eqx.tree_at(lambda net: (net.W, net.thresholds), self, (W, thresholds))

    def start(self, x: Vector) -> Vector:
        return jnp.zeros_like(x)  # not looked at: the first layer has its own θ

    def layer(
        self, k: Int[Array, ""], x: Vector, memory: Vector, loss: Composite
    ) -> tuple[Vector, Vector]:
        theta = self.thresholds
        taken = jnp.where(k == 0, theta, memory)  # θ_{k−1} c_{k−1}
        ux = x * (1 + self.gains * GATES[self.gate](self.scales * jnp.abs(x)))
        z = ux + residual(loss, ux) @ self.W
        spared = largest(z, spared_counts(self.n, self.layers, self.p, self.p_max), k)
        found = soft_except(z, theta, spared)
        o = 1 - self.overshoots * taken / (jnp.abs(found - x) + SOFTEST)
        shrunk = ~(spared & (jnp.abs(z) > theta))
        return o * found + (1 - o) * x, jnp.where(shrunk, theta, 0)
