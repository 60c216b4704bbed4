"""Slow answers: Hessians in closed form, traces and eigenvalues of whole matrices, differences.

    f(x) = ½ xᵀAx + Σ_j exp(b_jᵀx)         H(x) = A + Σ_j exp(b_jᵀx) b_j b_jᵀ

in n = 5 unknowns, kept as a tree. A is indefinite unless shifted; H varies with x in
directions that do not commute with it. NumPy throughout, except for `loss` itself.
"""

import itertools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

N = 5


class Surface:
    """f above. `shift` is added to the diagonal of A."""

    def __init__(self, seed: int = 0, shift: float = 0.0):
        rng = np.random.default_rng(seed)
        A = rng.normal(size=(N, N))
        self.A = (A + A.T) / 2 + shift * np.eye(N)
        self.B = 0.7 * rng.normal(size=(3, N))
        self.x = 0.5 * rng.normal(size=N)

    def loss(self, params: dict):
        x = jnp.concatenate([params["b"][None], params["w"].ravel()])
        A, B = jnp.asarray(self.A, x.dtype), jnp.asarray(self.B, x.dtype)
        return 0.5 * x @ A @ x + jnp.sum(jnp.exp(B @ x))

    def gradient(self, x: np.ndarray) -> np.ndarray:
        return self.A @ x + self.B.T @ np.exp(self.B @ x)

    def hessian(self, x: np.ndarray) -> np.ndarray:
        return self.A + (self.B.T * np.exp(self.B @ x)) @ self.B

    def hessian_slope(self, x: np.ndarray, i: int) -> np.ndarray:
        """∂H/∂x_i"""
        return (self.B.T * (np.exp(self.B @ x) * self.B[:, i])) @ self.B


def as_tree(x: np.ndarray, dtype=jnp.float64) -> dict:
    x = jnp.asarray(x, dtype)
    return {"b": x[0], "w": x[1:].reshape(2, 2)}


def as_vector(params: dict) -> np.ndarray:
    return np.concatenate([np.ravel(params["b"]), np.ravel(params["w"])])


def differences(f: Callable[[np.ndarray], float], x: np.ndarray, h: float = 1e-5) -> np.ndarray:
    """∇f by central differences."""
    steps = h * np.eye(len(x))
    return np.array([(f(x + e) - f(x - e)) / (2 * h) for e in steps])


def of_matrix(f: Callable[[np.ndarray], np.ndarray], H: np.ndarray) -> np.ndarray:
    """f(H) for a function of the eigenvalues."""
    values, vectors = np.linalg.eigh(H)
    return (vectors * f(values)) @ vectors.T


def lanczos(H: np.ndarray, v: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(Q with k orthonormal columns, QᵀHQ): the powers H^j v, orthonormalised one by one."""
    Q = np.zeros((len(v), 0))
    q = v
    for _ in range(k):
        for _ in range(3):
            q = q - Q @ (Q.T @ q)
        Q = np.column_stack([Q, q / np.linalg.norm(q)])
        q = H @ Q[:, -1]
    return Q, Q.T @ H @ Q


def all_signs(n: int) -> np.ndarray:
    """All 2ⁿ vectors of signs, one a row."""
    return np.array(list(itertools.product([-1.0, 1.0], repeat=n)))


def random_symmetric(seed: int, n: int) -> np.ndarray:
    A = np.random.default_rng(seed).normal(size=(n, n))
    return (A + A.T) / 2


def rotated(eigenvalues, seed: int = 0) -> np.ndarray:
    """A symmetric matrix of these eigenvalues with random eigenvectors."""
    n = len(eigenvalues)
    Q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))
    return (Q * np.asarray(eigenvalues)) @ Q.T
