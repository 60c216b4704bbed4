"""E5: the estimators of curvature, on a loss whose Hessian is known.

f(θ) = ½ θᵀAθ + Σ θᵢ³/6,    H(θ) = A + diag(θ),    ∂H/∂θᵢ = eᵢeᵢᵀ
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from ...core.measure import AbstractMeasure
from ...core.types import Key
from ...flatness import slq
from ...flatness.hessian import HessianTrace, LogDet, TopEigenvalue
from ...flatness.products import FlatProduct, hvp
from .oracle import generator
from .row import Row, equal, within

TITLE = "Estimators of curvature are right on average"
GAMMA, N = 1.0, 5
EXACT, CLOSE = {"relative": 1e-10}, {"relative": 1e-6}  # but for rounding; for differences


def rows(key: Key) -> list[Row]:
    key_draw, key_trace, key_top, key_log_det = jr.split(key, 4)
    rng = generator(key_draw)
    W = rng.normal(size=(N, N))
    A, theta = W @ W.T / N, rng.uniform(0, 1, N)
    H = A + np.diag(theta)
    loss = lambda w: 0.5 * w @ jnp.asarray(A) @ w + jnp.sum(w**3) / 6
    product = lambda v: hvp(loss, jnp.asarray(theta), v)
    V = 2.0 * (np.arange(2**N)[:, None] >> np.arange(N) & 1) - 1  # all vectors of signs
    vHv = np.sum(V * np.asarray(jax.jit(jax.vmap(product))(jnp.asarray(V))), axis=1)
    variance = 2 * (np.sum(H**2) - np.sum(np.diag(H) ** 2))

    def many(measure: AbstractMeasure, key: Key, *, slope: bool, count: int = 4000) -> np.ndarray:
        """The measure, or its slope, for `count` keys."""
        one = lambda w, key: measure(loss, w, key=key)
        seen = jax.vmap(jax.grad(one) if slope else one, in_axes=(None, 0))
        return np.asarray(jax.jit(seen)(jnp.asarray(theta), jr.split(key, count)))

    traces = many(HessianTrace(), key_trace, slope=False)
    slope = many(TopEigenvalue(products=N), key_top, slope=True, count=1)
    slopes = many(LogDet(GAMMA, k=N), key_log_det, slope=True)
    inverse = np.linalg.inv(H + GAMMA * np.eye(N))
    return [
        equal(
            "E5.1", "the mean of vᵀHv over all signs v is tr H", vHv.mean(), np.trace(H), **EXACT
        ),
        equal("E5.2", "its variance is 2(‖H‖² − Σ Hᵢᵢ²)", vHv.var(), variance, **EXACT),
        within("E5.3", "Hutchinson finds tr H, 4000 keys", traces, np.trace(H)),
        _quadrature(H, product, V),
        equal("E5.5", "∂λ_max is that of dense eigenvalues", slope, _top_slope(A, theta), **CLOSE),
        within("E5.6", "∂ᵢ ½ ln det(I+H/γ) is ½ (H+γI)⁻¹ᵢᵢ", slopes, np.diag(inverse) / 2),
    ]


def _quadrature(H: np.ndarray, product: FlatProduct, V: np.ndarray) -> Row:
    """vᵀ ψ(H) v for ψ = ½ ln(1 + ·/γ) and every v."""
    psi = lambda x: jnp.log1p(x / GAMMA) / 2
    seen = jax.jit(jax.vmap(lambda v: slq.probe(product, v, N).quadratic(psi)))(jnp.asarray(V))
    lam, U = np.linalg.eigh(H)
    exact = np.sum((V @ U) ** 2 * np.log1p(lam / GAMMA) / 2, axis=1)
    return equal("E5.4", "Lanczos quadrature is exact for k = d", seen, exact, **EXACT)


def _top_slope(A: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """By central differences: (1, N)."""
    top = lambda w: np.linalg.eigvalsh(A + np.diag(w))[-1]
    return np.array([[(top(theta + e) - top(theta - e)) / 2e-5 for e in 1e-5 * np.eye(N)]])
