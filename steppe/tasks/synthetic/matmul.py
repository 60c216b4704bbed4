"""Find a way to multiply n x n matrices with k multiplications, as Strassen did (n = 2, k = 7).

An algorithm is given by A, B (n², k) and C (k, n²): with vec(·) a row vector,

    vec(ab) = (vec(a) A ∘ vec(b) B) C        for all a, b

It is enough that this holds for the n⁴ pairs of matrices with a single 1. With P (n⁴, k) the
products of such pairs, P_{(i,j)} = A_i ∘ B_j, and T (n⁴, n²) the right answers, C is best found by
least squares, and what remains is the loss:

    f(A, B) = min_C ‖P C − T‖² = ‖P (PᵀP)⁻¹ Pᵀ T − T‖²,   PᵀP = AᵀA ∘ BᵀB

f ≥ 0, and 0 if and only if (A, B) is an exact algorithm. For n = 2 there is one with k ≥ 7 and none
below; for n = 3 one is known with k ≥ 23. From the training problems of Wichrowska et al., ICML
2017: n = 2 with k = 5 … 8, n = 3 with k = 19 … 24. Columns of A and B start on the unit sphere.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from ...core.messages import at_least
from ...core.task import AbstractFormula
from ...core.types import Key, Scalar


class Matmul(AbstractFormula):
    """The params are (A, B), each (n², k), with n² ≤ k ≤ n³.

    Where PᵀP is singular the value is not defined, and not finite.
    """

    n: int = eqx.field(static=True, default=2)
    k: int = eqx.field(static=True, default=7)

    def __check_init__(self):
        at_least(2, "Matmul", n=self.n)
        at_least(1, "Matmul", k=self.k)
        if not self.n**2 <= self.k <= self.n**3:
            raise ValueError(
                f"Matmul: k is {self.k}, expected n² ≤ k ≤ n³, from {self.n**2} to {self.n**3} "
                f"multiplications for matrices of size {self.n}."
            )

    def sample(self, key: Key) -> tuple[()]:
        return ()

    def init(self, instance: tuple[()], key: Key) -> tuple[Array, Array]:
        def factor(key: Key) -> Float[Array, "n*n k"]:
            z = jr.normal(key, (self.n**2, self.k))
            return z / jnp.linalg.norm(z, axis=0, keepdims=True)

        key_A, key_B = jr.split(key)
        return factor(key_A), factor(key_B)

    def loss(
        self, instance: tuple[()], batch: tuple[()], key: Key
    ) -> Callable[[tuple[Array, Array]], Scalar]:
        def f(params: tuple[Array, Array]) -> Scalar:
            A, B = params
            P = (A[:, None] * B[None]).reshape(-1, self.k)  # (n⁴, k)
            T = answers(self.n).astype(P.dtype)  # (n⁴, n²)
            C = jax.scipy.linalg.solve((A.T @ A) * (B.T @ B), P.T @ T, assume_a="pos")  # (k, n²)
            return jnp.sum((P @ C - T) ** 2)

        return f

    def target(self, instance: tuple[()]) -> None:
        return None

    def metrics(
        self, params: tuple[Array, Array], instance: tuple[()], batch: tuple[()], key: Key
    ) -> dict[str, Scalar]:
        return {}


def answers(n: int) -> Float[Array, "n**4 n*n"]:
    """vec(E_i E_j) for all pairs of matrices with a single 1."""
    E = jnp.eye(n**2).reshape(n**2, n, n)
    return jnp.einsum("iab,jbc->ijac", E, E).reshape(n**4, n**2)
