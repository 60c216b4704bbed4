"""Measures of the gradient: its squared norm, and sharpness, the rise of the loss along it.

    N(θ) = ‖g‖²,    g = ∇f(θ)

Its gradient is 2 H ∇f: one Hessian-vector product. HALO's Jacobian regularizer: Li et al., "HALO:
hardware-aware learning to optimize", ECCV 2020, which sums squares; the code published with it
takes their mean, smaller by the factor n.

On a minibatch of b examples the norm is too large on average, E‖g_b‖² = ‖∇f‖² + tr Cov(g)/b,
and minimising it also minimises the noise. The inner product of the gradients on two
independent batches has no such part; single values of it can be negative.

Sharpness: how much the loss rises towards the worst nearby point.

    S(θ) = f(θ + ε) − f(θ) ≈ max_{‖ε‖ ≤ ρ} f(θ + ε) − f(θ),    ε = ρ g/‖g‖,  g = ∇f(θ)

Foret, Kleiner, Mobahi & Neyshabur, "Sharpness-aware minimization for efficiently improving
generalization", ICLR 2021. Adaptive: Kwon, Kim, Park & Choi, "ASAM", ICML 2021, measures ε
against the parameters, ‖ε / |θ|‖ ≤ ρ, where the linearised loss is largest at

    ε = ρ θ² ⊙ g / ‖|θ| ⊙ g‖

so that rescaling the coordinates leaves S as it is. The perturbation is held constant in the
gradient, ∇S = ∇f(θ + ε) − ∇f(θ): the slope of a maximum is the slope at the maximiser.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu

from ..core import tree
from ..core.measure import AbstractMeasure, check_positive
from ..core.types import Key, Params, Scalar, Updates
from .hutchinson import unit
from .products import check_loss, gradient, real


def cross_gradient_norm(
    loss_a: Callable[[Params], Scalar], loss_b: Callable[[Params], Scalar], params: Params
) -> Scalar:
    """⟨∇f_a, ∇f_b⟩, an unbiased estimate of ‖∇f‖² from two independent batches.

    - `loss_a`, `loss_b`: params → loss on one batch each
    - `params`: the point, any tree of floats
    """
    slope_a, slope_b = gradient(loss_a, params), gradient(loss_b, params)
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
        g = gradient(loss, params)
        return tree.squared_norm(g) / (tree.size(params) if self.mean else 1)


class CrossGradNorm(AbstractMeasure):
    """⟨∇f_a, ∇f_b⟩ of a `Halved` loss: ‖∇f‖² without the bias of the minibatch."""

    mean: bool = eqx.field(static=True, default=False)

    def __call__(self, loss: Callable[[Params], Scalar], params: Params, *, key: Key) -> Scalar:
        if not isinstance(loss, Halved):
            raise TypeError(
                f"CrossGradNorm needs a loss known by two independent halves, got {loss!r}. "
                "Give `Halved(loss_a, loss_b)` of two batches, or use GradNorm."
            )
        params = real(params)
        square = cross_gradient_norm(loss.first, loss.second, params)
        return square / (tree.size(params) if self.mean else 1)


@tree.promoting
def worst_direction(
    grads: Updates, params: Params, *, rho: float | Scalar, adaptive: bool = False
) -> Updates:
    """The step ε to the worst point nearby, to first order; 0 if the gradient is 0.

    - `grads`: gradient at `params`, a tree like it
    - `params`: the point, any tree of floats
    - `rho`: ρ > 0, length of the step
    - `adaptive`: measure the step against the size of each parameter (ASAM)
    """
    grads, params = real(grads), real(params)
    if not adaptive:
        return jtu.tree_map(lambda u: (rho * u).astype(u.dtype), unit(grads))
    a, b = tree.magnitude(params), tree.magnitude(grads)  # |θ| ⊙ g may be out of range
    scaled = unit(jtu.tree_map(lambda p, g: (jnp.abs(p) / a) * (g / b), params, grads))
    return jtu.tree_map(lambda p, u: (rho * jnp.abs(p) * u).astype(p.dtype), params, scaled)


def worst_point(
    grads: Updates, params: Params, *, rho: float | Scalar, adaptive: bool = False
) -> Params:
    """The point θ + ε at which SAM takes its gradient; `params` itself if `grads` is 0.

    - `grads`: gradient at `params`, a tree like it
    - `params`: the point θ, any tree of floats
    - `rho`: ρ > 0, length of the step
    - `adaptive`: measure the step against the size of each parameter (ASAM)
    """
    params = real(params)
    return tree.apply_updates(params, worst_direction(grads, params, rho=rho, adaptive=adaptive))


class Sharpness(AbstractMeasure):
    """f(θ + ε) − f(θ), ε the first-order worst perturbation of size `rho`. Two gradients.

    It can be negative: away from a minimum the step of length ρ may overshoot the rise.
    """

    rho: float | Scalar = 0.05
    adaptive: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        check_positive(
            "Sharpness", "rho", self.rho, "It is the radius searched for the worst point."
        )

    def __call__(self, loss: Callable[[Params], Scalar], params: Params, *, key: Key) -> Scalar:
        loss, params = check_loss(loss), real(params)
        grads = gradient(loss, params)
        epsilon = worst_direction(grads, params, rho=self.rho, adaptive=self.adaptive)
        # ε is constant: to first order a maximum does not see its maximiser move.
        epsilon = jax.lax.stop_gradient(epsilon)
        return loss(tree.apply_updates(params, epsilon)) - loss(params)
