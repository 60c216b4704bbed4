"""LISTA: ISTA with its matrices learned, and LFISTA: FISTA with its matrices learned.

    LISTA     x⁺ = soft( B b + W_k x;  θ_k )
    tied      x⁺ = soft( B b + s_k W x;  θ_k )
    LFISTA    x⁺ = soft( B b + G_k x + M_k x⁻;  θ_k )        x⁻ is the x before

Untrained, B = Aᵀ/L, W = I − AᵀA/L and θ = λ/L make LISTA ISTA, and G = (1 + μ) W, M = −μ W make
LFISTA FISTA. The first layer sees b alone: a run starts at 0, wherever it is said to. The second
layer of LFISTA has no x⁻.

    LISTA     n·rows + n²·(T − 1) + T numbers       tied      n·rows + n² + 2T
    LFISTA    n·rows + 2 n²·(T − 1) + T, of which n² without use, as published

Gregor & LeCun, "Learning fast approximations of sparse coding", ICML 2010; Moreau & Bruna,
"Understanding neural sparse coding with matrix factorization", ICLR 2017; the code of Open-L2O.
"""

from typing import ClassVar, Literal, Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ...core.loss import Composite
from ...core.regularizer import soft
from ..classic.proximal import momentum
from .base import (
    AbstractUnrolled,
    Layers,
    Matrix,
    Size,
    check_sizes,
    larger_square,
    least_squares,
    number,
)
from .thresholds import check_threshold

Vector = Float[Array, " n"]


class LISTA(AbstractUnrolled):
    """Gregor & LeCun 2010.

    - `rows`, `n`: shape of A
    - `layers`: at least 1
    - `threshold`: of the start, θ = threshold / ‖A‖², not negative
    - `tied`: one W for all layers, with a factor each
    """

    B: Float[Array, "n rows"]
    W: Float[Array, "layers n n"] | None  # of layers 2, 3, …
    tied_W: Float[Array, "n n"] | None
    steps: Float[Array, " layers"] | None
    thresholds: Float[Array, " layers"]
    rows: int = eqx.field(static=True)
    n: int = eqx.field(static=True)
    layers: int = eqx.field(static=True)
    threshold: float = eqx.field(static=True)
    tied: bool = eqx.field(static=True)
    per_layer: ClassVar = ("W", "steps", "thresholds")

    def __init__(
        self,
        rows: Size,
        n: Size,
        layers: Layers = 16,
        threshold: float = 0.4,
        tied: bool = False,
    ):
        check_sizes("LISTA", layers, rows=rows, n=n, each="" if tied else "n·n")
        check_threshold("LISTA", threshold)
        self.rows, self.n, self.layers = rows, n, layers
        self.threshold, self.tied = threshold, tied
        dtype = jnp.result_type(float)
        self.B = jnp.zeros((n, rows), dtype)
        self.W = None if tied else jnp.zeros((layers - 1, n, n), dtype)
        self.tied_W = jnp.zeros((n, n), dtype) if tied else None
        self.steps = jnp.ones((layers,), dtype) if tied else None
        self.thresholds = jnp.zeros((layers,), dtype)

    def started(self, A: Matrix) -> Self:
        L = larger_square(A)
        W = np.eye(self.n) - A.T @ A / L
        thresholds = np.full(self.layers, self.threshold / L)
        if self.tied:
            where, matrices = lambda net: (net.B, net.tied_W, net.thresholds), W
        else:
            where = lambda net: (net.B, net.W, net.thresholds)
            matrices = np.broadcast_to(W, (self.layers - 1, self.n, self.n))
        return eqx.tree_at(where, self, tuple(map(number, (A.T / L, matrices, thresholds))))

    def start(self, x: Vector) -> tuple[()]:
        return ()

    def layer(
        self, k: Int[Array, ""], x: Vector, memory: tuple[()], loss: Composite
    ) -> tuple[Vector, tuple[()]]:
        seen = self.B @ least_squares(loss).b
        if self.tied_W is not None and self.steps is not None:
            seen = seen + jnp.where(k > 0, self.steps * (self.tied_W @ x), 0)
        elif self.W is not None and self.layers > 1:
            seen = seen + jnp.where(k > 0, self.W @ x, 0)
        return soft(seen, self.thresholds), ()


class LFISTA(AbstractUnrolled):
    """Moreau & Bruna 2017.

    - `shift`: 1: layers start with the momentum that FISTA has there; 0: as published, with that
      of the step after

    Other arguments are those of `LISTA`.
    """

    B: Float[Array, "n rows"]
    G: Float[Array, "layers n n"]  # of layers 2, 3, …, like M
    M: Float[Array, "layers n n"]
    thresholds: Float[Array, " layers"]
    rows: int = eqx.field(static=True)
    n: int = eqx.field(static=True)
    layers: int = eqx.field(static=True)
    threshold: float = eqx.field(static=True)
    shift: Literal[0, 1] = eqx.field(static=True)
    per_layer: ClassVar = ("G", "M", "thresholds")

    def __init__(
        self,
        rows: Size,
        n: Size,
        layers: Layers = 16,
        threshold: float = 0.4,
        shift: Literal[0, 1] = 1,
    ):
        check_sizes("LFISTA", layers, rows=rows, n=n, each="n·n")
        check_threshold("LFISTA", threshold)
        if type(shift) is not int or shift not in (0, 1):
            raise ValueError(f"LFISTA: shift is {shift!r}, expected 1, or 0 as published.")
        self.rows, self.n, self.layers = rows, n, layers
        self.threshold, self.shift = threshold, shift
        dtype = jnp.result_type(float)
        self.B = jnp.zeros((n, rows), dtype)
        self.G = self.M = jnp.zeros((layers - 1, n, n), dtype)
        self.thresholds = jnp.zeros((layers,), dtype)

    def started(self, A: Matrix) -> Self:
        L = larger_square(A)
        W = np.eye(self.n) - A.T @ A / L
        mu = momentum(self.layers)[1 - self.shift :][: self.layers - 1, None, None]
        start = A.T / L, (1 + mu) * W, -mu * W, np.full(self.layers, self.threshold / L)
        where = lambda net: (net.B, net.G, net.M, net.thresholds)
        return eqx.tree_at(where, self, tuple(map(number, start)))

    def start(self, x: Vector) -> Vector:
        return jnp.zeros_like(x)

    def layer(
        self, k: Int[Array, ""], x: Vector, memory: Vector, loss: Composite
    ) -> tuple[Vector, Vector]:
        seen = self.B @ least_squares(loss).b
        if self.layers > 1:
            ahead = self.G @ x + self.M @ memory
            seen = seen + jnp.where(k > 0, ahead, 0)
        return soft(seen, self.thresholds), jnp.where(k > 0, x, 0)
