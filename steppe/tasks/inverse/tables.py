"""Logistic regression with few weights on real tables.

    f(x) = mean_i [ log(1 + e^{zᵢ}) − yᵢ zᵢ ] + weight ‖x‖₁,   z = Ax

With all rows there is one problem. A family is had by drawing some of them for each problem.
"""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int

from ...core import tree
from ...core.loss import Composite, Logistic
from ...core.messages import at_least, reals
from ...core.regularizer import L1
from ...core.task import AbstractFormula
from ...core.types import Key, Scalar
from ...data.tables import table as read
from .logistic import Labelled, accuracy


class Drawn(eqx.Module):
    """Rows of a problem, by their numbers, and L."""

    rows: Int[Array, " rows"]
    lipschitz: Scalar


class TabularLogistic(AbstractFormula):
    """Mean logistic loss + weight ‖x‖₁ of a table; starts at 0.

    - `table`: "breast-cancer" or "odd-digits", see `data.tables`
    - `rows`: drawn for each problem, without repetition; None: all, the same in every problem
    - `weight`: of ‖x‖₁, not negative
    """

    table: str = eqx.field(static=True)
    rows: int | None = eqx.field(static=True)
    weight: float = eqx.field(static=True)
    whole: Labelled  # in float32, cast where it is used

    def __init__(self, table: str = "breast-cancer", rows: int | None = None, weight: float = 0.01):
        at_least(1, "TabularLogistic", rows=rows)
        reals("TabularLogistic", weight=weight)
        if not weight >= 0:
            raise ValueError(f"TabularLogistic: weight must be at least 0, got {weight}.")
        self.table, self.rows, self.weight = table, rows, weight
        A, y = (jnp.asarray(part, jnp.float32) for part in read(table))
        if rows is not None and rows > len(y):
            raise ValueError(f"TabularLogistic: {table} has {len(y)} rows, got rows={rows}.")
        self.whole = Labelled(A, y, Logistic(A, y).lipschitz())

    def sample(self, key: Key) -> Drawn | tuple[()]:
        if self.rows is None:
            return ()
        rows = jr.choice(key, len(self.whole.y), (self.rows,), replace=False)
        return Drawn(rows, self._smooth(rows).lipschitz())

    def _smooth(self, rows: Int[Array, " rows"] | None) -> Logistic:
        A, y = tree.cast((self.whole.A, self.whole.y), jnp.result_type(float))
        return Logistic(A, y) if rows is None else Logistic(A[rows], y[rows])

    def init(self, instance: Drawn | tuple[()], key: Key) -> Float[Array, " n"]:
        return jnp.zeros(self.whole.A.shape[1])

    def loss(self, instance: Drawn | tuple[()], batch: tuple[()], key: Key) -> Composite:
        rows, L = (instance.rows, instance.lipschitz) if instance else (None, self.whole.lipschitz)
        return Composite(self._smooth(rows), L1(self.weight), L.astype(jnp.result_type(float)))

    def target(self, instance: Drawn | tuple[()]) -> None:
        return None

    def metrics(
        self, params: Float[Array, " n"], instance: Drawn | tuple[()], batch: tuple[()], key: Key
    ) -> dict[str, Scalar]:
        """Accuracy on the rows of the whole table."""
        return {"accuracy": accuracy(tree.cast(self.whole, params.dtype), params)}
