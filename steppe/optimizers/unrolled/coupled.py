"""Gradient steps with a learned matrix in the place of A: LISTA-CP, LISTA-CPSS, TiLISTA, ALISTA.

    x⁺ = η( x + γ_k W_kᵀ (b − A x);  θ_k,  p_k )

    LISTA-CP      W_k learned in each layer, γ = 1           rows·n·T + T numbers
    LISTA-CPSS    the same, the largest entries are spared   rows·n·T + T
    TiLISTA       one W learned for all layers               rows·n + 2T
    ALISTA        W from A by a formula, see `analytic.py`   2T

η is the soft threshold that spares the largest p_k % of the entries (`thresholds.py`). Thresholds
may become negative, and then enlarge entries, as published.

Chen, Liu, Wang & Yin, "Theoretical linear convergence of unfolded ISTA and its practical weights
and thresholds", NeurIPS 2018; Liu, Chen, Wang & Yin, "ALISTA: analytic weights are as good as
learned weights in LISTA", ICLR 2019.
"""

import abc
from typing import ClassVar, Literal, Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ...core.loss import Composite
from ...core.optimizer import Fixed
from ...core.regularizer import soft
from .analytic import closed_form, linear_program
from .base import (
    AbstractUnrolled,
    Formula,
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


class AbstractCoupled(AbstractUnrolled):
    """A network with the layer above; a class says what γ_k W_kᵀ is."""

    n: eqx.AbstractVar[int]
    p: eqx.AbstractVar[float]
    p_max: eqx.AbstractVar[float]
    thresholds: eqx.AbstractVar[Float[Array, " layers"]]

    @abc.abstractmethod
    def step(self, residual: Float[Array, " rows"]) -> Vector:
        """γ_k W_kᵀ (b − A x)"""

    def start(self, x: Vector) -> tuple[()]:
        return ()

    def layer(
        self, k: Int[Array, ""], x: Vector, memory: tuple[()], loss: Composite
    ) -> tuple[Vector, tuple[()]]:
        ahead = x + self.step(residual(loss, x))
        if not any(counts := spared_counts(self.n, self.layers, self.p, self.p_max)):
            return soft(ahead, self.thresholds), ()
        return soft_except(ahead, self.thresholds, largest(ahead, counts, k)), ()


class LISTACP(AbstractCoupled):
    """LISTA-CP; LISTA-CPSS with p = 1.2. Chen et al. 2018.

    - `rows`, `n`: shape of A
    - `layers`: at least 1
    - `threshold`: of the start, θ = threshold / ‖A‖², not negative
    - `p`, `p_max`: percent of the entries that layer k = 1, 2, … spares, min(p · k, p_max)
    - `weights`: of the start. "A/L" makes the untrained network ISTA. "A" is published with
      Open-L2O: better after training layer by layer, but far from contractive before
    """

    W: Float[Array, "layers rows n"]
    thresholds: Float[Array, " layers"]
    rows: int = eqx.field(static=True)
    n: int = eqx.field(static=True)
    layers: int = eqx.field(static=True)
    threshold: float = eqx.field(static=True)
    p: float = eqx.field(static=True)
    p_max: float = eqx.field(static=True)
    weights: Literal["A/L", "A"] = eqx.field(static=True)
    per_layer: ClassVar = ("W", "thresholds")

    def __init__(
        self,
        rows: Size,
        n: Size,
        layers: Layers = 16,
        threshold: float = 0.4,
        p: float = 0.0,
        p_max: float = 13.0,
        weights: Literal["A/L", "A"] = "A/L",
    ):
        me = "LISTACP"
        check_sizes(me, layers, rows=rows, n=n, each="rows·n")
        check_threshold(me, threshold)
        check_selection(me, p, p_max)
        if weights not in ("A/L", "A"):
            raise ValueError(f"{me}: weights is {weights!r}, expected 'A/L' or 'A'.")
        self.rows, self.n, self.layers, self.threshold = rows, n, layers, threshold
        self.p, self.p_max, self.weights = p, p_max, weights
        self.W = jnp.zeros((layers, rows, n), jnp.result_type(float))
        self.thresholds = jnp.zeros((layers,), jnp.result_type(float))

    def started(self, A: Matrix) -> Self:
        L = larger_square(A)
        W = number(A / L if self.weights == "A/L" else A)
        start = jnp.broadcast_to(W, self.W.shape), number(np.full(self.layers, self.threshold / L))
        return eqx.tree_at(lambda net: (net.W, net.thresholds), self, start)

    def step(self, residual: Float[Array, " rows"]) -> Vector:
        return residual @ self.W


class TiLISTA(AbstractCoupled):
    """One matrix for all layers; a step and a threshold each. Liu et al. 2019.

    Arguments are those of `LISTACP`.
    """

    W: Float[Array, "rows n"]
    steps: Float[Array, " layers"]
    thresholds: Float[Array, " layers"]
    rows: int = eqx.field(static=True)
    n: int = eqx.field(static=True)
    layers: int = eqx.field(static=True)
    threshold: float = eqx.field(static=True)
    p: float = eqx.field(static=True)
    p_max: float = eqx.field(static=True)
    per_layer: ClassVar = ("steps", "thresholds")

    def __init__(
        self,
        rows: Size,
        n: Size,
        layers: Layers = 16,
        threshold: float = 0.4,
        p: float = 1.2,
        p_max: float = 13.0,
    ):
        me = "TiLISTA"
        check_sizes(me, layers, rows=rows, n=n)
        check_threshold(me, threshold)
        check_selection(me, p, p_max)
        self.rows, self.n, self.layers, self.threshold = rows, n, layers, threshold
        self.p, self.p_max = p, p_max
        self.W = jnp.zeros((rows, n), jnp.result_type(float))
        self.steps = jnp.ones((layers,), jnp.result_type(float))
        self.thresholds = jnp.zeros((layers,), jnp.result_type(float))

    def started(self, A: Matrix) -> Self:
        L = larger_square(A)
        start = number(A / L), number(np.full(self.layers, self.threshold / L))
        return eqx.tree_at(lambda net: (net.W, net.thresholds), self, start)

    def step(self, residual: Float[Array, " rows"]) -> Vector:
        return self.steps * (residual @ self.W)


class ALISTA(AbstractCoupled):
    """Weights by a formula; a step and a threshold for each layer are trained. Liu et al. 2019.

    - `weights`: "closed-form", of least total coherence; "linear-program", of least largest
      coherence, for n up to 100

    Other arguments are those of `LISTACP`.
    """

    W: Fixed
    steps: Float[Array, " layers"]
    thresholds: Float[Array, " layers"]
    rows: int = eqx.field(static=True)
    n: int = eqx.field(static=True)
    formula: ClassVar[Formula] = "dual"
    layers: int = eqx.field(static=True)
    threshold: float = eqx.field(static=True)
    p: float = eqx.field(static=True)
    p_max: float = eqx.field(static=True)
    weights: Literal["closed-form", "linear-program"] = eqx.field(static=True)
    per_layer: ClassVar = ("steps", "thresholds")

    def __init__(
        self,
        rows: Size,
        n: Size,
        layers: Layers = 16,
        threshold: float = 0.4,
        p: float = 1.2,
        p_max: float = 13.0,
        weights: Literal["closed-form", "linear-program"] = "closed-form",
    ):
        me = "ALISTA"
        check_sizes(me, layers, rows=rows, n=n)
        check_threshold(me, threshold)
        check_selection(me, p, p_max)
        if weights not in FORMULAS:
            raise ValueError(f"{me}: weights is {weights!r}, expected one of {tuple(FORMULAS)}.")
        self.rows, self.n, self.layers, self.threshold = rows, n, layers, threshold
        self.p, self.p_max, self.weights = p, p_max, weights
        self.W = Fixed(jnp.zeros((rows, n), jnp.result_type(float)))
        self.steps = jnp.ones((layers,), jnp.result_type(float))
        self.thresholds = jnp.zeros((layers,), jnp.result_type(float))

    def started(self, A: Matrix) -> Self:
        W = number(FORMULAS[self.weights](A))
        thresholds = number(np.full(self.layers, self.threshold / larger_square(A)))
        return eqx.tree_at(lambda net: (net.W.value, net.thresholds), self, (W, thresholds))

    def step(self, residual: Float[Array, " rows"]) -> Vector:
        return self.steps * (residual @ self.W.value)


FORMULAS = {"closed-form": closed_form, "linear-program": linear_program}
