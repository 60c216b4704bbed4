"""The squared norm of the gradient, ‖∇f‖²: HALO's Jacobian regularizer.

Its gradient is 2 H ∇f: one Hessian-vector product. Source: Li et al., "HALO: hardware-aware
learning to optimize", ECCV 2020, which sums squares; the code published with it takes
their mean, smaller by the factor n.

On a minibatch of b examples the norm is too large on average, E‖g_b‖² = ‖∇f‖² + tr Cov(g)/b,
and minimising it also minimises the noise. The inner product of the gradients on two
independent batches has no such part; single values of it can be negative.
"""

from collections.abc import Callable

import equinox as eqx
import jax

from ..core import tree
from ..core.measure import AbstractMeasure
from ..core.types import Key, Params, Scalar
from .products import check_loss


def cross_gradient_norm(
    loss_a: Callable[[Params], Scalar], loss_b: Callable[[Params], Scalar], params: Params
) -> Scalar:
    """⟨∇f_a, ∇f_b⟩, an unbiased estimate of ‖∇f‖² from two independent batches.

    - `loss_a`, `loss_b`: params → loss on one batch each
    - `params`: the point, any tree of floats
    """
    slope_a, slope_b = (jax.grad(check_loss(loss))(params) for loss in (loss_a, loss_b))
    return tree.dot(slope_a, slope_b)


class Halved(eqx.Module):
    """A loss given as two independent halves; its value is their mean."""

    first: Callable[[Params], Scalar]
    second: Callable[[Params], Scalar]

    def __call__(self, params: Params) -> Scalar:
        return (self.first(params) + self.second(params)) / 2


class GradNorm(AbstractMeasure):
    """‖∇f‖², or with `mean` the mean square of a gradient entry."""

    mean: bool = eqx.field(static=True, default=False)

    def __call__(self, loss: Callable[[Params], Scalar], params: Params, *, key: Key) -> Scalar:
        g = jax.grad(check_loss(loss))(params)
        return tree.dot(g, g) / (tree.size(params) if self.mean else 1)


class CrossGradNorm(AbstractMeasure):
    """⟨∇f_a, ∇f_b⟩ of a `Halved` loss: ‖∇f‖² without the bias of the minibatch."""

    mean: bool = eqx.field(static=True, default=False)

    def __call__(self, loss: Callable[[Params], Scalar], params: Params, *, key: Key) -> Scalar:
        if not isinstance(loss, Halved):
            raise TypeError(
                f"CrossGradNorm needs a loss known by two independent halves, got {loss!r}. "
                "Give `Halved(loss_a, loss_b)` of two batches, or use GradNorm."
            )
        square = cross_gradient_norm(loss.first, loss.second, params)
        return square / (tree.size(params) if self.mean else 1)
