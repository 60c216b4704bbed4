"""Families of problems to certify solvers on. Each draws its problems itself: an `AbstractRun`.

    lasso            ½‖D z − y‖² + λ‖z‖₁, ISTA or FISTA from 0                 residual ‖T(z) − z‖
    quadratic        ½ zᵀP z + cᵀz, gradient steps from 0 or a learned start   the same
    sparse_coding    find z* from y = D z* + noise, ALISTA with learned        NMSE in dB
                     steps and thresholds, or ISTA
    deblur           ½‖B x − y‖² + λ 1ᵀx over 0 ≤ x ≤ 1, MNIST digits,         residual of the
                     the iteration of OSQP                                     iterate
    kalman           Σ ‖w_t‖² + μ Σ huber(‖v_t‖), a path seen with outliers,   residual of the
                     ADMM                                                      iterate
    sine             fit A sin(x − φ) to ten points, gradient steps from       largest error at
                     learned weights or random ones                            a hundred others

Laws and sizes are those of the companion code of "Data-Driven Performance Guarantees for Classical
and Learned Optimizers" (Sambharya & Stellato, 2024), sparse codes at a quarter of its size.
Departures: ALISTA's matrix has unit products with the *columns* of D; NMSE is 10 log₁₀; the largest
error has absolute values; the Kalman problem is solved in the inputs w by plain ADMM, not in SCS's
embedding.
"""

import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from ...certificates import FixedPoint, Metric

LAMBDA = 0.1
NMSE = Metric("NMSE", "10 log₁₀ (‖z_k − z*‖² / ‖z*‖²), z* the code that y was made of", "dB", True)


# Sparse codes.


def dictionary(m: int, n: int, seed: int = 42) -> Float[np.ndarray, "m n"]:
    """Gaussian, with columns of length 1."""
    D = np.random.default_rng(seed).standard_normal((m, n))
    return D / np.linalg.norm(D, axis=0)


def code(D: Array, key: jax.Array) -> tuple[Array, Array]:
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

    sample = lambda key: code(D, key)[1]
    zero = lambda y: jnp.zeros(n, D.dtype)
    if method == "ista":
        return FixedPoint(sample, zero, T, name="ISTA")

    def step(state: tuple, y: Array) -> tuple:
        z, w, t = state
        new = T(w, y)
        t_new = (1 + jnp.sqrt(1 + 4 * t * t)) / 2
        return new, new + (t - 1) / t_new * (new - z), t_new

    return FixedPoint(
        sample,
        lambda y: (zero(y), zero(y), jnp.ones((), D.dtype)),
        step,
        error=lambda state, y: jnp.linalg.norm(T(state[0], y) - state[0]),
        metric=Metric("residual", "‖T(z_k) − z_k‖₂ of the ISTA map T, z_k after k steps"),
        name="FISTA",
    )


def analytic(D: Float[np.ndarray, "m n"]) -> Float[np.ndarray, "m n"]:
    """ALISTA's W: least ‖Wᵀ D‖ with w_iᵀ d_i = 1 for every column i. In closed form
    w_i = S⁻¹ d_i / d_iᵀ S⁻¹ d_i, S = D Dᵀ."""
    S = np.linalg.solve(D @ D.T, D)
    return S / np.sum(S * D, axis=0)


def alista(D: Array, W: Array, weights: Array, y: Array) -> Float[Array, "layers+1 n"]:
    """All iterates; `weights` (layers, 2): step and threshold of each layer."""

    def layer(z: Array, w: Array) -> tuple[Array, Array]:
        new = shrink(z - w[0] * W.T @ (D @ z - y), w[1])
        return new, new

    zero = jnp.zeros(D.shape[1], D.dtype)
    return jnp.concatenate([zero[None], jax.lax.scan(layer, zero, weights)[1]])


def decibel(z: Array, best: Array) -> Array:
    return 20 * jnp.log10(jnp.linalg.norm(z - best) / jnp.linalg.norm(best))


def sparse_coding(weights: Array | None, m: int = 64, n: int = 128) -> FixedPoint:
    """ALISTA with these steps and thresholds (layers, 2), or without any ISTA."""
    host = dictionary(m, n)
    L = float(np.linalg.norm(host, 2) ** 2)
    D, W = jnp.asarray(host), jnp.asarray(analytic(host))

    def step(state: tuple, task: tuple) -> tuple:
        (z, k), (_, y) = state, task
        if weights is None:
            return shrink(z - D.T @ (D @ z - y) / L, LAMBDA / L), k + 1
        now = weights[jnp.minimum(k, len(weights) - 1)]
        return shrink(z - now[0] * W.T @ (D @ z - y), now[1]), k + 1

    return FixedPoint(
        lambda key: code(D, key),
        lambda task: (jnp.zeros(n, D.dtype), jnp.zeros((), jnp.int32)),
        step,
        error=lambda state, task: decibel(state[0], task[0]),
        metric=NMSE,
        name="ISTA" if weights is None else f"ALISTA, {len(weights)} learned layers",
    )


# Quadratic problems.

P = np.concatenate([np.full(10, 100.0), np.ones(10)])
SCALE = np.concatenate([np.full(10, 1e5), np.full(10, 10.0)])  # c is uniform in ±SCALE


def quadratic(start=None) -> FixedPoint:
    """Gradient steps of 1/100 from `start(c / SCALE)`, or from 0."""
    p, scale = jnp.asarray(P), jnp.asarray(SCALE)
    zero = lambda c: jnp.zeros_like(c)
    return FixedPoint(
        lambda key: scale * jr.uniform(key, (20,), p.dtype, -1, 1),
        zero if start is None else lambda c: start(c / scale),
        lambda z, c: z - (p * z + c) / 100,
        name="gradient steps" + (" from a learned start" if start else ""),
    )


# Images.


def blur(width: int = 8, size: int = 28) -> Float[np.ndarray, "size size"]:
    """Symmetric Toeplitz, with 1/width up to ⌈(width − 1)/2⌉ off the diagonal."""
    off = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    return (off <= math.ceil((width - 1) / 2)) / width


def deblur(
    images: Float[np.ndarray, "count 28 28"], rho: float = 1.0, sigma: float = 1.0
) -> FixedPoint:
    """Problems are a random image, blurred, with noise of 0.001. Iterates are (x, y, w).

    P = (R ⊗ R)ᵀ(R ⊗ R) is diagonal in the products of the eigenvectors of RᵀR, so that a linear
    system is solved by four products of 28 × 28 matrices.
    """
    R = blur()
    values, vectors = np.linalg.eigh(R.T @ R)
    R, V, pictures = (jnp.asarray(x) for x in (R, vectors, images))
    denominator = jnp.asarray(np.outer(values, values) + sigma + rho)

    def sample(key: jax.Array) -> Array:
        key_which, key_noise = jr.split(key)
        x = pictures[jr.randint(key_which, (), 0, len(pictures))]
        return R @ x @ R.T + 0.001 * jr.normal(key_noise, x.shape, x.dtype)

    def step(z: tuple, seen: Array) -> tuple:
        x, y, w = z
        c = -(R.T @ seen @ R) + 1e-4
        rhs = sigma * x - c + rho * w - y
        new = V @ ((V.T @ rhs @ V) / denominator) @ V.T
        nu = rho * (new - w) + y
        middle = w + (nu - y) / rho
        kept = jnp.clip(middle + y / rho, 0, 1)
        return new, y + rho * (middle - kept), kept

    zero = lambda seen: (jnp.zeros_like(seen),) * 3
    return FixedPoint(sample, zero, step, name="OSQP's iteration")


# A path seen with outliers.


def motion(T: int = 50, dt: float = 0.5, drag: float = 0.05) -> Float[np.ndarray, "2T 2T"]:
    """M: positions at times 1 … T from inputs at 0 … T − 1, both times 2, at rest at first."""
    eye, slow = np.eye(2), 1 - drag * dt
    A = np.block([[eye, (1 - drag * dt / 2) * dt * eye], [0 * eye, slow * eye]])
    B = np.vstack([dt**2 / 2 * eye, dt * eye])
    M = np.zeros((2 * T, 2 * T))
    for t in range(T):
        reached = B
        for later in range(t, T):
            M[2 * later : 2 * later + 2, 2 * t : 2 * t + 2] = reached[:2]
            reached = A @ reached
    return M


def kalman(T: int = 50, mu: float = 2.0, width: float = 2.0, rho: float = 1.0) -> FixedPoint:
    """ADMM on min ‖w‖² + Σ φ(s_t), s = y − M w, φ = μ huber of the length: v² up to `width`, then
    width (2|v| − width). Iterates are (s, u), u the scaled multipliers."""
    host = motion(T)
    M = jnp.asarray(host)
    solve = jnp.asarray(np.linalg.solve(2 * np.eye(2 * T) + rho * host.T @ host, rho * host.T))

    def sample(key: jax.Array) -> Array:
        key_w, key_v, key_which, key_far = jr.split(key, 4)
        normal = lambda key, size: size * jr.normal(key, (T, 2), M.dtype)
        outlier = jr.bernoulli(key_which, 0.1, (T, 1))
        v = jnp.where(outlier, normal(key_far, 0.5), normal(key_v, 0.1))
        return M @ normal(key_w, 0.1).ravel() + v.ravel()

    def prox(v: Array) -> Array:
        """Proximal map of φ/ρ, point by point in the plane."""
        points = v.reshape(T, 2)
        r = jnp.linalg.norm(points, axis=1, keepdims=True)
        inside = rho / (rho + 2 * mu)  # while the result is shorter than `width`
        outside = 1 - 2 * mu * width / (rho * jnp.maximum(r, 1e-30))
        return (jnp.where(r * inside <= width, inside, outside) * points).ravel()

    def step(z: tuple, y: Array) -> tuple:
        s, u = z
        w = solve @ (y - s - u)
        s_new = prox(y - M @ w - u)
        return s_new, u + s_new - (y - M @ w)

    zero = lambda y: (jnp.zeros_like(y), jnp.zeros_like(y))
    return FixedPoint(sample, zero, step, name="ADMM")


# Curves.


def network(key: jax.Array, widths: tuple[int, ...] = (1, 40, 40, 1)) -> list[tuple[Array, Array]]:
    keys = jr.split(key, len(widths) - 1)
    return [
        (jr.normal(k, (i, o)) * jnp.sqrt(2 / i), jnp.zeros(o))
        for k, i, o in zip(keys, widths[:-1], widths[1:], strict=True)
    ]


def predict(weights: list, x: Float[Array, " points"]) -> Float[Array, " points"]:
    x = x[:, None]
    for i, (W, b) in enumerate(weights):
        x = (jax.nn.relu(x) if i else x) @ W + b[None]
    return x[:, 0]


def curve(key: jax.Array) -> tuple[Array, Array]:
    """(x, y) of 110 points: ten to fit, then a hundred to be judged by."""
    key_a, key_p, key_x = jr.split(key, 3)
    amplitude, phase = (
        jr.uniform(key_a, (), minval=0.1, maxval=5),
        jr.uniform(key_p, (), maxval=math.pi),
    )
    x = jr.uniform(key_x, (110,), minval=-5, maxval=5)
    return x, amplitude * jnp.sin(x - phase)


def adapted(weights: list, task: tuple[Array, Array], rate: float = 0.01) -> list:
    x, y = task
    squares = lambda weights: jnp.mean((predict(weights, x[:10]) - y[:10]) ** 2)
    return jax.tree.map(lambda w, g: w - rate * g, weights, jax.grad(squares)(weights))


def sine(weights: list, name: str) -> FixedPoint:
    return FixedPoint(
        curve,
        lambda task: weights,
        adapted,
        error=lambda w, task: jnp.max(jnp.abs(predict(w, task[0][10:]) - task[1][10:])),
        metric=Metric("largest error", "max |ŷ − y| over a hundred points that were not fitted"),
        name=name,
    )
