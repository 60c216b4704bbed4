"""Stochastic gradient Langevin dynamics, tied to a centre c by a spring of strength γ.

    w ← w − η (∇f(w) + γ (w − c)) + √(2ητ) n,    n ~ N(0, I)
    μ ← α μ + (1 − α) w

For small η its law is the local Gibbs law π ∝ exp(−(f(w) + γ/2 ‖w − c‖²) / τ). Welling & Teh,
"Bayesian learning via stochastic gradient Langevin dynamics", ICML 2011; the spring and the
average with α = 0.75 on the *old* value are Entropy-SGD's (Chaudhari et al., ICLR 2017).

On a quadratic with Hessian H let P = H + γI and m the minimiser of f + γ/2 ‖· − c‖². After L
steps from c the law of w is Gaussian with

    mean m + (I − ηP)^L (c − m),    covariance τ P⁻¹ (I − ηP/2)⁻¹ (I − (I − ηP)^{2L})

so the chain is stable only if η (λ_max + γ) < 2, its covariance exceeds that of π by the factor
(I − ηP/2)⁻¹ however long it runs, and after few steps it has not left c along directions of
small λ + γ.

With `midpoint` the gradient is taken at w + ½ √(2ητ) n, half of the coming noise added (one
gradient a step as before). On a quadratic the law of these points tends to π itself for every
stable η; in general its error is O(η²) instead of O(η). Leimkuhler & Matthews, "Rational
construction of stochastic numerical methods for molecular sampling", 2013.

Departure from the published Entropy-SGD: the temperature τ is named. There the noise is
ε √(2η) with ε = 1e-4, that is τ = ε² = 1e-8: such a chain finds a minimum, it does not
feel how wide it is.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array, Int

from ...core import tree
from ...core.measure import check_count, check_not_negative, check_positive
from ...core.messages import reals
from ...core.types import Key, Params, Scalar
from ..hutchinson import normal_like, shift, unit
from ..products import gradient, hvp, real

STABLE = "A chain is stable if step_size · (largest eigenvalue of the Hessian + gamma) < 2."


class Chain(eqx.Module):
    """State of a chain: a walker, the point of its last gradient, its centre, and its average."""

    params: Params
    point: Params
    centre: Params
    average: Params
    count: Int[Array, ""]


class Langevin(eqx.Module):
    """A Langevin chain with a spring, on any tree of parameters.

    - `gamma` (γ), `temperature` (τ, in units of the loss), `step_size` (η): numbers or 0-d
      arrays; `run` is differentiable in all of them and in the centre.
    - `decay` (α): weight of the old average, which starts at the centre. None: the plain mean.
    - `burn_in`: number of first steps over which the average is the walker itself.
    - `midpoint`: take the gradient with half of the coming noise added, see above.
    """

    gamma: float | Scalar
    temperature: float | Scalar
    step_size: float | Scalar
    decay: float | None = eqx.field(static=True, default=0.75)
    burn_in: int = eqx.field(static=True, default=0)
    midpoint: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        check_positive("Langevin", "gamma", self.gamma, "Without the spring the chain wanders off.")
        check_not_negative("Langevin", "temperature", self.temperature, "0 is noiseless descent.")
        check_positive("Langevin", "step_size", self.step_size, STABLE)
        check_count("Langevin", "burn_in", self.burn_in, least=0)
        check_decay("Langevin", self.decay)

    def init(self, centre: Params) -> Chain:
        """A walker at its centre."""
        centre = tree.strongly_typed(real(centre))
        return Chain(centre, centre, centre, centre, jnp.zeros((), jnp.int32))

    def step(
        self,
        gradient: Callable[[Params, Key], Params],
        chain: Chain,
        *,
        key: Key,
        sign: int | Int[Array, ""] = 1,
    ) -> Chain:
        """Advance a chain by one step.

        Two chains on one key with signs +1 and −1 are mirror images of each other as far as f is
        quadratic.

        - `gradient`: (params, key) → gradient, which may be that of a fresh minibatch
        - `chain`: the state before the step
        - `key`: of the noise and of the minibatch
        - `sign`: ±1, multiplies the noise
        """
        key_gradient, key_noise = jr.split(key)
        n = normal_like(key_noise, chain.params)
        times = tree.promoting(jnp.multiply)
        sigma = times(sign, _root(times(2 * self.step_size, self.temperature)))
        at = shift(chain.params, sigma / 2, n) if self.midpoint else chain.params
        g = gradient(at, key_gradient)

        @tree.promoting
        def move(w, at, g, c, n):
            return (w - self.step_size * (g + self.gamma * (at - c)) + sigma * n).astype(w.dtype)

        params = jtu.tree_map(move, chain.params, at, g, chain.centre, n)
        old = self._weight_of_old(chain.count, tree.working_dtype(chain.params))

        @tree.promoting
        def average(mu, w):
            return (old * mu + (1 - old) * w).astype(mu.dtype)

        average = jtu.tree_map(average, chain.average, params)
        return Chain(params, at, chain.centre, average, chain.count + 1)

    def run(
        self,
        gradient: Callable[[Params, Key], Params],
        centre: Params,
        steps: int,
        *,
        key: Key,
        sign: int | Int[Array, ""] = 1,
    ) -> Chain:
        """Run a chain from its centre.

        - `gradient`: (params, key) → gradient, which may be that of a fresh minibatch
        - `centre`: start and centre of the spring, any tree of floats
        - `steps`: number of gradients, ≥ 1
        - `key`: of the noise and of the minibatches
        - `sign`: ±1, multiplies the noise
        """
        check_count("Langevin.run", "steps", steps)
        check_burn_in("Langevin.run", self.burn_in, steps)

        def body(chain, key):
            return self.step(gradient, chain, key=key, sign=sign), None

        chain, _ = jax.lax.scan(body, self.init(centre), jr.split(key, steps))
        return chain

    def _weight_of_old(self, count: Int[Array, ""], dtype: jnp.dtype) -> Scalar:
        """α at the step after `count` steps: 0 during burn-in, k/(k + 1) for a plain mean."""
        seen = jnp.maximum(count - self.burn_in, 0).astype(dtype)  # k
        decay = seen / (seen + 1) if self.decay is None else jnp.asarray(self.decay, dtype)
        return jnp.where(count < self.burn_in, 0, decay)


def check_decay(owner: str, decay: float | None) -> None:
    reals(owner, finite=False, decay=decay)
    if decay is not None and not 0 <= decay < 1:
        raise ValueError(
            f"{owner}: decay is the weight of the old average, in [0, 1), got {decay}. "
            "Use None for the plain mean over the chain."
        )


def check_burn_in(owner: str, burn_in: int, steps: int) -> None:
    check_count(owner, "burn_in", burn_in, least=0)
    if burn_in >= steps:
        raise ValueError(
            f"{owner}: burn_in is {burn_in} of {steps} steps, which leaves none to average. "
            "Take more steps or a shorter burn_in."
        )


def stable_step_size(
    loss: Callable[[Params], Scalar],
    params: Params,
    *,
    gamma: float | Scalar,
    products: int = 2,
    key: Key,
) -> Scalar:
    """η = 1 / (λ + γ), where λ estimates the largest |eigenvalue| of the Hessian at `params`.

    λ = ‖H u‖ after `products` power iterations from the gradient with a random vector added.
    λ is never too large. The chain is unstable if λ + γ is below half of the truth: if the
    estimate is that poor, or the chain meets that much more curvature elsewhere.

    - `loss`: params → one real number
    - `params`: the point, any tree of floats
    - `gamma`: γ > 0, in units of curvature
    - `products`: number of Hessian products, ≥ 1
    - `key`: of the random vector
    """
    check_count("stable_step_size", "products", products)
    u = tree.add(unit(gradient(loss, params)), unit(normal_like(key, params)))
    u = jax.lax.fori_loop(0, products, lambda _, u: hvp(loss, params, unit(u)), u)
    return 1 / (tree.norm(u) + gamma)


def _root(x: float | Scalar) -> Scalar:
    """√x, with derivative 0 at x = 0 (a path has none there: it moves by √τ n); NaN for x < 0."""
    x = jnp.asarray(x)
    zero = x == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, x)))
