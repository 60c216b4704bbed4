"""Families of problems to certify solvers on, as `AbstractRun`s: each draws its problems itself.

    lasso(method)    ½‖D z − y‖² + λ‖z‖₁, ISTA or FISTA from 0    residual ‖T(z) − z‖

Sizes and laws are those of the companion code of "Data-Driven Performance Guarantees for Classical
and Learned Optimizers" (Sambharya & Stellato, 2024) where not said otherwise.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from steppe.certificates import FixedPoint, Metric

LAMBDA = 0.1


def dictionary(m: int, n: int, seed: int = 42) -> Float[np.ndarray, "m n"]:
    """Gaussian, with columns of length 1."""
    D = np.random.default_rng(seed).standard_normal((m, n))
    return D / np.linalg.norm(D, axis=0)


def codes(D: Array, key: jax.Array) -> tuple[Array, Array]:
    """A sparse code z* and y = D z* + noise of 1 % of the spread of z*."""
    m, n = D.shape
    key_where, key_what, key_noise = jr.split(key, 3)
    z = jr.bernoulli(key_where, 0.1, (n,)) * jr.normal(key_what, (n,), D.dtype)
    return z, D @ z + 0.01 * jnp.std(z) * jr.normal(key_noise, (m,), D.dtype)


def shrink(z: Array, by: Array | float) -> Array:
    return jnp.sign(z) * jnp.maximum(jnp.abs(z) - by, 0)


def lasso(method: str, m: int = 64, n: int = 128) -> FixedPoint:
    """`method`: "ista" or "fista"."""
    host = dictionary(m, n)
    L = float(np.linalg.norm(host, 2) ** 2)
    D = jnp.asarray(host)

    def T(z: Array, y: Array) -> Array:
        return shrink(z - D.T @ (D @ z - y) / L, LAMBDA / L)

    def sample(key: jax.Array) -> Array:
        return codes(D, key)[1]

    start = lambda y: jnp.zeros(n, D.dtype)
    if method == "ista":
        return FixedPoint(sample, start, T, name="ISTA")

    def step(state: tuple, y: Array) -> tuple:
        z, w, t = state
        new = T(w, y)
        t_new = (1 + jnp.sqrt(1 + 4 * t * t)) / 2
        return new, new + (t - 1) / t_new * (new - z), t_new

    return FixedPoint(
        sample,
        lambda y: (start(y), start(y), jnp.ones((), D.dtype)),
        step,
        error=lambda state, y: jnp.linalg.norm(T(state[0], y) - state[0]),
        metric=Metric("residual", "‖T(z_k) − z_k‖₂ of the ISTA map T, z_k after k steps"),
        name="FISTA",
    )
