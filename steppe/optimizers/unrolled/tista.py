"""TISTA: each layer estimates its own error, and takes the mean of x given that.

    r = x + γ_k Wᵀ (b − A x),    W = (A⁺)ᵀ
    v² = max( (‖b − A x‖² − rows σ²) / tr(AᵀA),  10⁻⁹ )                    of the error x − x♯
    τ² = (v²/n) (n + (γ² − 2γ) rows) + γ² σ² tr(WᵀW) / n                    of the error r − x♯
    x⁺ = E[ x♯ | r ],  r given x♯ ~ N(x♯, τ²),  x♯ ~ Bernoulli(p) · N(0, α²)

    E[ x♯ | r ] = r α²/s² · sigmoid( ln p/(1−p) + ½ ln τ²/s² + ½ r² α² / (τ² s²) ),  s² = α² + τ²

Ito, Takabe & Wadayama, "Trainable ISTA for sparse signal recovery", IEEE Trans. Signal Processing
2019. Only the steps γ are trained there; Open-L2O trains W, p and α² of each layer, too, and begins
with W = A, for which the formula of τ² does not hold: ours begins with the pseudo-inverse.

Departures: the published code divides two Gaussians, 0/0 where τ² is small; the sigmoid has no
such place. Trained are ln p/(1−p) and ln α², so that p stays in (0, 1) and α² positive.
"""

import math
from typing import ClassVar, Literal, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ...core.arguments import real
from ...core.loss import Composite
from ...core.measure import check_not_negative, check_positive
from ...core.optimizer import Fixed
from ...core.types import Scalar
from .base import AbstractUnrolled, Formula, Layers, Matrix, Size, check_sizes, number, residual

LEAST_ERROR = 1e-9  # v², as published
LEAST_NOISE = 1e-12  # τ², which is 0 for a square A without noise and γ = 1


class TISTA(AbstractUnrolled):
    """Ito et al. 2019: a step for each layer, or Open-L2O's with all numbers of each layer.

    - `rows`, `n`: shape of A
    - `layers`: at least 1
    - `density`: p, the chance in (0, 1) that an entry of x♯ is not zero
    - `variance`: α² of those that are not, positive
    - `noise`: σ², the variance of the noise of an entry of b, not negative
    - `train`: "steps", or "all": W, p and α² of each layer, too
    """

    steps: Float[Array, " layers"]
    W: Fixed | Float[Array, "layers rows n"]
    log_odds: Fixed | Float[Array, " layers"]
    log_variance: Fixed | Float[Array, " layers"]
    traces: Fixed  # of AᵀA and WᵀW
    rows: int = eqx.field(static=True)
    n: int = eqx.field(static=True)
    formula: ClassVar[Formula] = "inverse"
    layers: int = eqx.field(static=True)
    density: float = eqx.field(static=True)
    variance: float = eqx.field(static=True)
    noise: float = eqx.field(static=True)
    train: Literal["steps", "all"] = eqx.field(static=True)

    def __init__(
        self,
        rows: Size,
        n: Size,
        layers: Layers = 16,
        density: float = 0.1,
        variance: float = 1.0,
        noise: float = 0.0,
        train: Literal["steps", "all"] = "steps",
    ):
        me = "TISTA"
        check_sizes(me, layers, rows=rows, n=n, each="rows·n" if train == "all" else "")
        if not 0 < real(f"{me}: density", density) < 1:
            raise ValueError(
                f"{me}: density must be in (0, 1), got {density}; it is the chance that an entry "
                "of x is not zero."
            )
        check_positive(me, "variance", variance, "It is that of the entries that are not zero.")
        check_not_negative(me, "noise", noise, "It is the variance σ² of the noise of b.")
        if train not in ("steps", "all"):
            raise ValueError(f"{me}: train is {train!r}, expected 'steps' or 'all'.")
        self.rows, self.n, self.layers = rows, n, layers
        self.density, self.variance, self.noise, self.train = density, variance, noise, train
        learned = (lambda x: x) if train == "all" else Fixed
        dtype = jnp.result_type(float)
        self.steps = jnp.ones((layers,), dtype)
        self.W = learned(jnp.zeros((layers,) * (train == "all") + (rows, n), dtype))
        self.log_odds = learned(jnp.full((layers,), math.log(density / (1 - density)), dtype))
        self.log_variance = learned(jnp.full((layers,), math.log(variance), dtype))
        self.traces = Fixed(jnp.ones((2,), dtype))

    def started(self, A: Matrix) -> Self:
        W = np.linalg.pinv(A).T
        where = lambda net: (net.W.value if self.train == "steps" else net.W, net.traces.value)
        shape = where(self)[0].shape
        found = jnp.broadcast_to(number(W), shape), number(np.array([np.sum(A**2), np.sum(W**2)]))
        return eqx.tree_at(where, self, found)

    @property
    def per_layer(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        shared = () if self.train == "all" else ("W",)
        return tuple(n for n in ("steps", "W", "log_odds", "log_variance") if n not in shared)

    def start(self, x: Float[Array, " n"]) -> tuple[()]:
        return ()

    def layer(
        self, k: Int[Array, ""], x: Float[Array, " n"], memory: tuple[()], loss: Composite
    ) -> tuple[Float[Array, " n"], tuple[()]]:
        left = residual(loss, x)
        W, log_odds, log_variance = (
            part.value if isinstance(part, Fixed) else part
            for part in (self.W, self.log_odds, self.log_variance)
        )
        r = x + self.steps * (left @ W)
        tau2 = self.noise_after(self.steps, jnp.sum(left**2))
        return posterior_mean(r, tau2, log_odds, jnp.exp(log_variance)), ()

    def noise_after(self, gamma: Scalar, square: Scalar) -> Scalar:
        """τ² of a step γ from an x of the residual ‖b − Ax‖²."""
        energy, inverse = self.traces.value
        v2 = jnp.maximum((square - self.rows * self.noise) / energy, LEAST_ERROR)
        signal = v2 / self.n * (self.n + (gamma**2 - 2 * gamma) * self.rows)
        return jnp.maximum(signal + gamma**2 * self.noise * inverse / self.n, LEAST_NOISE)


def posterior_mean(
    r: Float[Array, " n"],
    tau2: float | Scalar,
    log_odds: float | Scalar,
    variance: float | Scalar,
) -> Float[Array, " n"]:
    """E[x | r] for r ~ N(x, τ²) and x ~ Bernoulli(p) · N(0, variance).

    - `tau2`: τ², positive
    - `log_odds`: ln p/(1 − p)
    """
    both = variance + tau2
    evidence = log_odds + jnp.log(tau2 / both) / 2 + r**2 * (variance / both / tau2) / 2
    return r * (variance / both) * jax.nn.sigmoid(evidence)
