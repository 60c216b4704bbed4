"""Logistic regression with few weights: which of many features tell two classes apart?

    A_ij ~ N(0, 1),  y_i = 1 where (A x♯)_i ≥ 0,  x♯ has `sparse` entries N(0, 1), the rest are 0
    f(x) = mean_i [ log(1 + e^{zᵢ}) − yᵢ zᵢ ] + weight ‖x‖₁,   z = Ax

The smooth part has the constant L = ‖A‖² / (4 rows). (The published code of Math-L2O takes ‖A‖,
which is about a hundred times as much at 1000 × 50.)

Liu, Chen, Wang, Yin & Cai, "Towards constituting mathematical structures for learning to optimize",
ICML 2023.
"""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from ...core.loss import Composite, Logistic
from ...core.messages import at_least, reals
from ...core.regularizer import L1
from ...core.task import AbstractFormula
from ...core.types import Key, Scalar


class Labelled(eqx.Module):
    """One problem: features A, labels y in {0, 1}, and L."""

    A: Float[Array, "rows n"]
    y: Float[Array, " rows"]
    lipschitz: Scalar


class SparseLogistic(AbstractFormula):
    """Mean logistic loss + weight ‖x‖₁, labels without noise; starts at 0.

    - `rows`, `n`: numbers of examples and of features, at least 1
    - `sparse`: features that count, from 1 to n
    - `weight`: of ‖x‖₁, not negative
    """

    rows: int = eqx.field(static=True, default=200)
    n: int = eqx.field(static=True, default=50)
    sparse: int | None = eqx.field(static=True, default=None)  # None: two fifths of n
    weight: float = eqx.field(static=True, default=0.01)

    def __check_init__(self):
        at_least(1, "SparseLogistic", rows=self.rows, n=self.n, sparse=self.sparse)
        reals("SparseLogistic", weight=self.weight)
        if not self.weight >= 0:
            raise ValueError(f"SparseLogistic: weight must be at least 0, got {self.weight}.")
        if self.sparse is not None and self.sparse > self.n:
            raise ValueError(
                f"SparseLogistic: sparse must be at most n {self.n}, got {self.sparse}."
            )

    def sample(self, key: Key) -> Labelled:
        key_A, key_x, key_where = jr.split(key, 3)
        A = jr.normal(key_A, (self.rows, self.n))
        count = max(1, 2 * self.n // 5) if self.sparse is None else self.sparse
        x = jr.normal(key_x, (self.n,)) * (jr.permutation(key_where, self.n) < count)
        y = jnp.where(A @ x >= 0, 1.0, 0.0)
        return Labelled(A, y, Logistic(A, y).lipschitz())

    def init(self, instance: Labelled, key: Key) -> Float[Array, " n"]:
        return jnp.zeros(self.n)

    def loss(self, instance: Labelled, batch: tuple[()], key: Key) -> Composite:
        return Composite(Logistic(instance.A, instance.y), L1(self.weight), instance.lipschitz)

    def target(self, instance: Labelled) -> None:
        return None

    def metrics(
        self, params: Float[Array, " n"], instance: Labelled, batch: tuple[()], key: Key
    ) -> dict[str, Scalar]:
        return {"accuracy": accuracy(instance, params)}


def accuracy(on: Labelled, x: Float[Array, " n"]) -> Scalar:
    """Share of rows on the right side of A x = 0."""
    right = (on.A @ x >= 0) == (on.y > 0.5)
    return jnp.mean(right.astype(x.dtype))
