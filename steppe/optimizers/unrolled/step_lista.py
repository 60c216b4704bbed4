"""StepLISTA: ISTA with a learned step in each layer.

    x⁺ = prox( x − (s_k / L) Aᵀ (A x − b),  s_k / L )            T numbers

L and the regularizer are those of the problem, so that one network serves every matrix, also one
that differs from problem to problem. Trained without supervision, by the objective. A network
with learned matrices that is trained on LASSO comes to this form in its late layers.

Ablin, Moreau, Massias & Gramfort, "Learning step sizes for unfolded sparse coding", NeurIPS 2019.
Departure: steps are in units of 1/L, published ones are absolute.
"""

from typing import ClassVar, Self

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ...core.loss import Composite
from .base import AbstractUnrolled, Layers, Matrix, check_sizes, least_squares

Vector = Float[Array, " n"]


class StepLISTA(AbstractUnrolled):
    """Ablin et al. 2019; untrained it is ISTA.

    - `layers`: at least 1
    """

    steps: Float[Array, " layers"]
    layers: int = eqx.field(static=True)
    per_layer: ClassVar = ("steps",)
    needs_matrix: ClassVar = False

    def __init__(self, layers: Layers = 16):
        check_sizes("StepLISTA", layers)
        self.layers = layers
        self.steps = jnp.ones((layers,), jnp.result_type(float))

    def started(self, A: Matrix) -> Self:
        return self

    def start(self, x: Vector) -> tuple[()]:
        return ()

    def layer(
        self, k: Int[Array, ""], x: Vector, memory: tuple[()], loss: Composite
    ) -> tuple[Vector, tuple[()]]:
        step, squares = self.steps / loss.lipschitz, least_squares(loss)
        ahead = x + step * squares.adjoint(squares.b - squares.forward(x))
        return loss.regularizer.prox(ahead, step), ()
