"""Problems whose coordinates depend on each other in unusual ways, one function of x ∈ ℝⁿ each.

    min-max-well           maxᵢ xᵢ² + 1 / minᵢ xᵢ² − 2 + 1e-12
    dependency-chain       Σ_{i≥1} [ x₀² + xᵢ² / (xᵢ₋₁² + ε) ],   ε = 1e-6
    outward-snake          c₀ / (‖x‖ + ε) + Σ_{i≥1} cᵢ (xᵢ − π cos xᵢ₋₁)²
    projection-quadratic   Σᵢ cᵢ xᵢ²

- min-max-well: all gradients are zero but two. Lowest, 0, where every |xᵢ| = 1
- dependency-chain: a coordinate can come down only after the one before it. Lowest, 0, at 0
- outward-snake: a winding path to infinity, where f → 0
- projection-quadratic: each batch probes other directions. Lowest, 0, at 0

From the training problems of Wichrowska et al., ICML 2017, x₀ ~ N(0, 1). The last two are sums
over the rows d of a minibatch, and depend on them only through c = Σ_rows d (d uniform in
{0, 1}; d² = d) and c = Σ_rows d² (d ~ N(0, 1)).

Departure: rows are drawn anew for each batch, not from a finite set, and only c is kept. So
`full_batch` can be exact: c is its mean, the rows · ½ and rows · 1.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from ...core.messages import at_least
from ...core.task import AbstractTask
from ...core.types import Key, Scalar, Split

EPSILON = 1e-6  # the published code
LIFT = 1e-12  # the published code; keeps min-max-well from rounding below 0

X = Float[Array, " n"]


def min_max_well(x: X, c: X | tuple[()]) -> Scalar:
    square = x**2
    return jnp.max(square) + 1 / jnp.min(square) - 2 + LIFT


def dependency_chain(x: X, c: X | tuple[()]) -> Scalar:
    return jnp.sum(x[0] ** 2 + x[1:] ** 2 / (x[:-1] ** 2 + EPSILON))


def outward_snake(x: X, c: X) -> Scalar:
    bend = x[1:] - jnp.pi * jnp.cos(x[:-1])
    return c[0] / (jnp.linalg.norm(x) + EPSILON) + jnp.sum(c[1:] * bend**2)


def projection_quadratic(x: X, c: X) -> Scalar:
    return jnp.sum(c * x**2)


def coins(key: Key, shape: tuple[int, ...]) -> Array:
    return jr.bernoulli(key, 0.5, shape) * jnp.ones(shape)


def squares(key: Key, shape: tuple[int, ...]) -> Array:
    return jr.normal(key, shape) ** 2


class Form(NamedTuple):
    """A row of the table: f(x, c); the law of one row's share of c, and its mean."""

    f: Callable[..., Scalar]
    share: Callable[[Key, tuple[int, ...]], Array] | None = None  # None: f takes no data
    mean: float = 0.0


FORMS = {
    "min-max-well": Form(min_max_well),
    "dependency-chain": Form(dependency_chain),
    "outward-snake": Form(outward_snake, coins, 0.5),
    "projection-quadratic": Form(projection_quadratic, squares, 1.0),
}


class Chain(AbstractTask):
    """A problem of the table `FORMS`, by name; the params are x (n,). `rows`: of a minibatch."""

    form: str = eqx.field(static=True, default="dependency-chain")
    n: int = eqx.field(static=True, default=20)
    rows: int = eqx.field(static=True, default=100)

    def __check_init__(self):
        if self.form not in FORMS:
            raise ValueError(f"Chain: form must be one of {', '.join(FORMS)}, got {self.form!r}.")
        at_least(1, "Chain", n=self.n, rows=self.rows)
        if self.n < 2:
            raise ValueError(f"Chain: n must be at least 2, got {self.n}; one has no neighbour.")

    def sample(self, key: Key) -> tuple[()]:
        return ()

    def init(self, instance: tuple[()], key: Key) -> X:
        return jr.normal(key, (self.n,))

    def batch(self, instance: tuple[()], key: Key, *, split: Split = "train") -> X | tuple[()]:
        share = FORMS[self.form].share
        return () if share is None else jnp.sum(share(key, (self.rows, self.n)), axis=0)

    def full_batch(self, instance: tuple[()], *, split: Split) -> X | tuple[()]:
        _, share, mean = FORMS[self.form]
        return () if share is None else self.rows * mean * jnp.ones(self.n)

    def loss(self, instance: tuple[()], batch: X | tuple[()], key: Key) -> Callable[[X], Scalar]:
        return lambda x: FORMS[self.form].f(x, batch)

    def target(self, instance: tuple[()]) -> None:
        return None

    def metrics(
        self, params: X, instance: tuple[()], batch: X | tuple[()], key: Key
    ) -> dict[str, Scalar]:
        return {}
