"""Local entropy: a measure of how much low ground of the loss lies around a point.

    F(θ) = −τ ln E exp(−f(θ + ξ)/τ),  ξ ~ N(0, τ/γ I)          (−G̃_τ, small = wide, low valley)
    ∇F(θ) = γ (θ − ⟨w⟩),  ⟨w⟩ the mean over the Gibbs law ∝ exp(−(f(w) + γ/2 ‖w − θ‖²)/τ)

Entropy-SGD (Chaudhari et al., ICLR 2017) ascends G̃_1. On a quadratic with Hessian H, δ = θ − θ*:

    F = f(θ*) + ½ δᵀ γH(H + γI)⁻¹ δ + (τ/2) ln det(I + H/γ)

**Temperature.** At a minimum only the last term, τ/2 Σ ln(1 + λ_i/γ), is left; it alone tells
wide from narrow, and it is proportional to τ. As τ → 0 there remains the Moreau envelope, whose
minima are those of f, wide or narrow alike. The published code samples at τ = 1e-8. Choose τ so
that the term counts: 1 for a loss in nats over a data set, 1/n for its mean over n examples.

**Gamma** sets the resolution: γ ≫ λ gives τ tr H/(2γ), γ ≪ λ gives (τ/2) ln det H + constant.

**How it is computed.** The gradient is that of ⟨c, θ⟩, c = γ(θ − μ) held constant, μ from a short
Langevin chain (`sgld.py`): first derivatives only, nothing stored. Differentiating through the
chain instead would be wrong for a finite noisy one and store every step. The value is estimated
separately, by `free_energy.py`; it is what evolution strategies see. The two agree as `steps` and
`samples` grow and `step_size` shrinks, not before:

- the gradient is too short: on a quadratic, along an eigenvalue λ, it is 1 − b of what it should
  be, b = 1/L Σ_{i≤L} (1 − η(λ+γ))^i for the plain mean over L steps (for decay α
  b = α^L + (1 − α) Σ_{i≤L} α^{L−i} (1 − η(λ+γ))^i: never below α^L, 0.24 for L = 5, α = 0.75);
- the value is too large on average, see the table in `free_energy.py`.

Departures from the source. No momentum in the chain. A plain mean instead of a decaying one, see b.
Two mirrored chains (`antithetic`), whose linear response to the noise cancels exactly: over n
coordinates it has a norm of order √(nγτ) and would hide the pull of the flatness term.
Gradients at midpoints (`sgld.py`): at η = 1/(λ+γ) a plain chain is twice as wide as the Gibbs
law along λ, so that it would feel the flatness term twice over.
"""

import functools
from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu

from ...core import tree
from ...core.measure import (
    AbstractMeasure,
    check_count,
    check_draws,
    check_not_negative,
    check_positive,
)
from ...core.types import Key, Params, Scalar
from ..products import check_loss, gradient, real
from . import free_energy
from .sgld import STABLE, Langevin, check_burn_in, check_decay, stable_step_size

VALUES = ("importance", "monte_carlo", "laplace")


class LocalEntropy(AbstractMeasure):
    """The local free energy F(θ) above; gradient γ(θ − μ) with μ from a Langevin chain.

    - `gamma`, `temperature`: γ and τ, see above.
    - `steps`, `step_size`, `decay`, `burn_in`, `midpoint`: of the chain, see `Langevin`. It is
      stable if η(λ_max + γ) < 2; None sets η = 1/(λ + γ), λ by two power iterations at θ.
    - `antithetic`: two mirrored chains of `steps` steps (2·`steps` gradients) instead of one.
    - `value`: "importance" (draws around θ and μ), "monte_carlo" (around θ), both of `samples`
      losses, or "laplace" (dense Hessian: exact on quadratics, for small problems).

    Differentiable in `params` only; γ, τ and whatever `loss` closes over are constants to it.
    """

    gamma: float | Scalar
    temperature: float | Scalar = 1.0
    steps: int = eqx.field(static=True, default=5)
    step_size: float | Scalar | None = None
    decay: float | None = eqx.field(static=True, default=None)
    burn_in: int = eqx.field(static=True, default=0)
    midpoint: bool = eqx.field(static=True, default=True)
    antithetic: bool = eqx.field(static=True, default=True)
    value: Literal["importance", "monte_carlo", "laplace"] = eqx.field(
        static=True, default="importance"
    )
    samples: int = eqx.field(static=True, default=8)

    def __check_init__(self):
        check_positive(
            "LocalEntropy", "gamma", self.gamma, "Start from the largest curvature you expect."
        )
        check_not_negative(
            "LocalEntropy",
            "temperature",
            self.temperature,
            "Use 1 for a loss in nats over the whole data set, 1/n for a mean over n examples.",
        )
        check_count("LocalEntropy", "steps", self.steps)
        check_burn_in("LocalEntropy", self.burn_in, self.steps)
        check_decay("LocalEntropy", self.decay)
        if self.step_size is not None:
            check_positive("LocalEntropy", "step_size", self.step_size, STABLE)
        if self.value == "importance":
            check_draws("LocalEntropy", self.samples, 4, "pairs ±ξ are drawn around two points")
        if self.value == "monte_carlo":
            check_draws("LocalEntropy", self.samples, 2, "draws come in pairs ±ξ")
        if self.value not in VALUES:
            raise ValueError(f"LocalEntropy: value is {self.value!r}, expected one of {VALUES}.")

    def __call__(self, loss: Callable[[Params], Scalar], params: Params, *, key: Key) -> Scalar:
        stop, loss = jax.lax.stop_gradient, check_loss(loss)
        key_chain, key_value = jr.split(key)
        params = tree.strongly_typed(real(params))
        theta = stop(params)  # so that derivatives of the chain are never made
        mean = self.gibbs_mean(loss, theta, key=key_chain)
        value = self._value(loss, theta, mean, key_value)
        pull = tree.promoting(lambda p, m: (self.gamma * (p - m)).astype(p.dtype))
        c = jtu.tree_map(pull, theta, mean)
        # c is a constant, also to what `loss` closes over: ∇F is all the gradient there is.
        return tree.with_gradient(value, tree.dot(stop(c), params).astype(value.dtype))

    def gibbs_mean(self, loss: Callable[[Params], Scalar], params: Params, *, key: Key) -> Params:
        """μ, the chain's estimate of ⟨w⟩."""
        key_size, key_run = jr.split(key)
        params = tree.strongly_typed(real(params))
        gamma, temperature = self._law(params)
        size = self.step_size
        if size is None:
            size = stable_step_size(loss, params, gamma=gamma, key=key_size)
        chain = Langevin(gamma, temperature, size, self.decay, self.burn_in, self.midpoint)
        slope = lambda w, _: gradient(loss, w)

        def average(sign):
            return chain.run(slope, params, self.steps, key=key_run, sign=sign).average

        if not self.antithetic:
            return average(1)
        both = jax.vmap(average)(jnp.array([1, -1]))
        return jtu.tree_map(lambda mu: mu.mean(0), both)

    def _value(
        self, loss: Callable[[Params], Scalar], params: Params, mean: Params, key: Key
    ) -> Scalar:
        gamma, temperature = self._law(params)
        if self.value == "laplace":
            return free_energy.laplace(loss, params, gamma=gamma, temperature=temperature)
        estimator = free_energy.monte_carlo
        if self.value == "importance":
            estimator = functools.partial(free_energy.importance, mean=mean)
        seen = estimator(
            loss, params, gamma=gamma, temperature=temperature, samples=self.samples, key=key
        )
        return seen.value

    def _law(self, params: Params) -> tuple[Scalar, Scalar]:
        """γ and τ in the dtype of `params`, which a wider 0-d array would widen."""
        dtype = tree.working_dtype(params)
        return jnp.asarray(self.gamma, dtype), jnp.asarray(self.temperature, dtype)
