"""Measures of the Hessian H(θ) of a loss, each one number that can be minimised.

| measure | value | random through | gradient |
|---|---|---|---|
| `HessianTrace` | tr H, unbiased | signs v | of the value, for the same v |
| `HessianFrobenius` | ‖H‖²_F = Σ λᵢ², unbiased | signs v | of the value, for the same v |
| `GaussNewtonTrace` | tr G ≥ 0, unbiased | signs v | of the value, for the same v |
| `TopEigenvalue` | λ = uᵀHu of the best vector found | start of u | uᵀ(∂H)u |
| `LogDet` | ½ ln det(I + H/γ) | signs v | vᵀ(∂H)w, w = ½(H + γI)⁻¹v |
| `KrylovTrace` | Σⱼ qⱼᵀHqⱼ over a Krylov basis | signs v | of the value, for the same v |

All probes are fresh at every call: a fixed set would teach an optimizer to flatten a few
directions. A trace and an eigenvalue are signed: where H is indefinite, minimising them
rewards negative curvature. ‖H‖²_F, tr G and |λ| ("norm") do not.

No number here survives a reparametrisation: compare within one architecture, and see `Relative`
and `Adaptive`.
"""

from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu

from ..core import tree
from ..core.loss import Composed, expect
from ..core.measure import AbstractMeasure, AbstractWarm, check_count, check_positive
from ..core.types import Key, Params, Scalar
from .hutchinson import each_probe, flat_signs, normal_like, signs_like, unit
from .lanczos import check_which, number_of_steps, top_eigenpair, tridiagonalise
from .products import (
    flat_product,
    gauss_newton_second_derivative,
    gradient,
    hvp,
    real,
    second_derivative,
)
from .slq import log_ratio, probe

stop = jax.lax.stop_gradient

# A search for u starts from a guess of length 1 or 0 plus so much gradient and noise, of length 1
# each. On the perceptron 784-20-10 two products from a random guess then reach 0.91 of λ
# (0.38 without gradient); where the guess is good, so little does no harm. Unequal, since of a
# single number the two are ±1 and would leave nothing to start from.
COLD = (1.0, 0.9)
WARM = (0.1, 0.01)


class HessianTrace(AbstractMeasure):
    """tr H(θ) = Σ λᵢ, the mean of vᵀHv over `probes` vectors of signs.

    The variance is 2(‖H‖²_F − Σᵢ Hᵢᵢ²)/probes: one probe is exact where H is diagonal.
    """

    probes: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        check_count("HessianTrace", "probes", self.probes)

    def __call__(self, loss: Callable[[Params], Scalar], params: Params, *, key: Key) -> Scalar:
        def sample(key):
            v = signs_like(key, params)
            return second_derivative(loss, params, v, v)

        return each_probe(sample, probes=self.probes, key=key).mean()


class HessianFrobenius(AbstractMeasure):
    """‖H(θ)‖²_F = Σ λᵢ², the mean of ‖Hv‖² over `probes` vectors of signs."""

    probes: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        check_count("HessianFrobenius", "probes", self.probes)

    def __call__(self, loss: Callable[[Params], Scalar], params: Params, *, key: Key) -> Scalar:
        def sample(key):
            Hv = hvp(loss, params, signs_like(key, params))
            return tree.squared_norm(Hv)

        return each_probe(sample, probes=self.probes, key=key).mean()


class GaussNewtonTrace(AbstractMeasure):
    """tr G(θ), G = JᵀH_out J the Gauss–Newton matrix of a `Composed` loss.

    Not negative where the outer half is convex (cross-entropy, squares), unlike tr H.
    """

    probes: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        check_count("GaussNewtonTrace", "probes", self.probes)

    def __call__(self, loss: Callable[[Params], Scalar], params: Params, *, key: Key) -> Scalar:
        composed = expect(loss, Composed, "GaussNewtonTrace")

        def sample(key):
            v = signs_like(key, params)
            return gauss_newton_second_derivative(composed, params, v, v)

        return each_probe(sample, probes=self.probes, key=key).mean()


class TopEigenvalue(AbstractWarm):
    """The top eigenvalue of H(θ), from below: λ = uᵀHu of the best vector u found.

    - `which`: "modulus", the eigenvalue of largest |λ| with its sign; "norm", that |λ|, the
      spectral norm; "algebraic", the largest λ.
    - `products`: number of Hessian products to find u from nothing.
    - `warm`: number of products of `resume`, which goes on from the u of a nearby θ.

    u is found with the gradient stopped; one more product gives value and gradient, so that
    `resume` costs three and a gradient of the loss. For a simple eigenvalue ∂λ = uᵀ(∂H)u
    (Hellmann and Feynman): with u off by an angle ε, the value is off by O(ε²) and the gradient
    by O(ε).

    The search starts from the gradient and noise, mixed: the gradient leans towards sharp
    directions, and noise alone leaves an eigenvector that another one has overtaken.
    """

    which: Literal["modulus", "norm", "algebraic"] = eqx.field(static=True, default="modulus")
    products: int = eqx.field(static=True, default=20)
    warm: int = eqx.field(static=True, default=2)

    def __check_init__(self):
        check_which("TopEigenvalue", self.which, ("modulus", "norm", "algebraic"))
        check_count("TopEigenvalue", "products", self.products)
        check_count("TopEigenvalue", "warm", self.warm, least=2)  # after one, u is the start

    def __call__(self, loss: Callable[[Params], Scalar], params: Params, *, key: Key) -> Scalar:
        params = real(params)
        zero = jtu.tree_map(jnp.zeros_like, params)
        return self._along(
            loss, params, *self._search(loss, params, zero, COLD, self.products, key)
        )

    def guess(self, params: Params, *, key: Key) -> Params:
        return unit(normal_like(key, params))

    def resume(
        self, loss: Callable[[Params], Scalar], params: Params, guess: Params, *, key: Key
    ) -> tuple[Scalar, Params]:
        u, size = self._search(loss, params, guess, WARM, self.warm, key)
        # A diverged θ must not spoil the guess for the next episode.
        return self._along(loss, params, u, size), tree.select(tree.finite(u), u, guess)

    def _search(
        self,
        loss: Callable[[Params], Scalar],
        params: Params,
        start: Params,
        mix: tuple[float, float],
        products: int,
        key: Key,
    ) -> tuple[Params, Scalar]:
        """u and |λ|, constants; NaN if a product is."""
        params = stop(real(params))
        slope, noise = unit(gradient(loss, params)), unit(normal_like(key, params))
        start = jtu.tree_map(lambda s, g, z: s + mix[0] * g + mix[1] * z, start, slope, noise)
        which = "algebraic" if self.which == "algebraic" else "modulus"
        matvec = lambda v: hvp(loss, params, v)
        pair = top_eigenpair(matvec, params, which=which, products=products, start=start, key=key)
        found = jnp.isfinite(pair.value)
        u = jtu.tree_map(lambda u: jnp.where(found, u, jnp.nan), pair.vector)
        return stop((u, jnp.abs(pair.value)))

    def _along(
        self, loss: Callable[[Params], Scalar], params: Params, u: Params, size: Scalar
    ) -> Scalar:
        # Of many coordinates those of u are small, and their squares times a tiny λ are nothing.
        s = jnp.where(size < 1, tree.magnitude(u), 1)
        v = jtu.tree_map(lambda x: x / s.astype(x.dtype), u)
        # A u in half precision is not of length 1.
        over = tree.promoting(lambda vHv: vHv * s * s / tree.dot(u, u))
        value = over(second_derivative(loss, params, v, v))
        return jnp.abs(value) if self.which == "norm" else value


class LogDet(AbstractMeasure):
    """½ ln det(I + H(θ)/γ) = ½ Σ ln(1 + λᵢ/γ), the flatness term of local entropy.

    tr H/(2γ) where γ is large, the log-volume ½ ln det H − n/2 ln γ where it is small: γ, in
    the units of H, says which curvatures count. NaN where an eigenvalue ≤ −γ was met.

    - `k`: Lanczos steps for each of `probes` vectors of signs v; None: 10, or n if fewer.

    Value: quadrature; `slq.trace_of_function` has it with a standard error. Gradient: the mean of
    vᵀ(∂H)w, w = ½(H + γI)⁻¹v out of the same Lanczos basis: one differentiable product a probe.
    Both without bias for k = n. The derivative in γ is that of the quadrature.
    """

    gamma: float | Scalar
    k: int | None = eqx.field(static=True, default=None)
    probes: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        check_positive("LogDet", "gamma", self.gamma, "It is the curvature that counts as flat.")
        check_count("LogDet", "probes", self.probes)
        if self.k is not None:
            check_count("LogDet", "k", self.k)

    def __call__(self, loss: Callable[[Params], Scalar], params: Params, *, key: Key) -> Scalar:
        params = real(params)
        k = number_of_steps("LogDet", self.k, tree.size(params))
        gamma = jnp.asarray(self.gamma, tree.working_dtype(params))
        flat, unravel = flat_product(lambda v: hvp(loss, stop(params), v), params)
        proper = lambda x: jnp.where((x > -gamma) & (gamma > 0), x, jnp.nan)
        psi = lambda x: log_ratio(proper(x), gamma) / 2
        slope = lambda x: 0.5 / (proper(x) + gamma)

        def sample(key):
            v = flat_signs(key, params)
            seen = stop(probe(flat, v, k))
            v, w = unravel(v), unravel(stop(seen.apply(slope)))
            return seen.quadratic(psi), second_derivative(loss, params, v, w)

        value, surrogate = each_probe(sample, probes=self.probes, key=key)
        both = tree.promoting(jnp.add)(value.mean(), surrogate.mean())
        return tree.with_gradient(value.mean(), both)


class KrylovTrace(AbstractMeasure):
    """Σⱼ αⱼ = Σⱼ qⱼᵀHqⱼ, the trace of H over the Krylov space of k steps from random signs.

    The published code of flatness-aware learned optimizers calls this "ESD": it finds the Ritz
    values and leaves out their quadrature weights, so that only their sum remains. Kept for
    comparison. It is no spectral density and no estimate of tr H, which it equals at k = n.

    Differentiated through the Lanczos recursion: k products with their derivatives.
    """

    k: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        if self.k is not None:
            check_count("KrylovTrace", "k", self.k)

    def __call__(self, loss: Callable[[Params], Scalar], params: Params, *, key: Key) -> Scalar:
        params = real(params)
        k = number_of_steps("KrylovTrace", self.k, tree.size(params))
        flat, _ = flat_product(lambda v: hvp(loss, params, v), params)
        return jnp.sum(tridiagonalise(flat, flat_signs(key, params), k).alpha)
