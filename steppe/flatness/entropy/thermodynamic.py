"""Thermodynamic integration: the local free energy from averages of the loss.

    F(θ) = ∫₀¹ ⟨f⟩_s ds,    ⟨·⟩_s under the Gibbs law ∝ exp(−(s f(w) + γ/2 ‖w − θ‖²)/τ)

because d/ds of −τ ln E exp(−s f/τ) is ⟨f⟩_s, and the integrand of Monte Carlo, exponentially
spread where f varies by more than τ, never appears. Kirkwood, J. Chem. Phys. 1935.

On a quadratic ⟨f⟩_s has poles at s = −γ/λ, close to 0 where λ ≫ γ. So Gauss–Legendre nodes
are taken in u, s = u³: the same nodes, a smoother integrand.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from ...core import tree
from ...core.types import Key, Params, Scalar
from ..checks import check_count
from ..probes import Estimate
from ..probes import mean as mean_of
from ..products import check_loss
from .sgld import Langevin


def integral(
    loss: Callable[[Params], Scalar],
    params: Params,
    *,
    gamma: float | Scalar,
    temperature: float | Scalar,
    step_size: float | Scalar,
    steps: int,
    burn_in: int,
    nodes: int = 8,
    chains: int = 4,
    key: Key,
) -> Estimate:
    """F from `chains` Langevin chains at each of `nodes` values of s.

    A chain averages f over its last `steps` − `burn_in` points. The error is that over chains; it
    knows nothing of the trace of the start after burn-in, of the O(η²) of the midpoint chain (0 on
    quadratics), or of the nodes.

    - `loss`: params → one real number
    - `params`: θ, any tree of floats
    - `gamma`: γ > 0, in units of curvature
    - `temperature`: τ ≥ 0, in units of the loss
    - `step_size`: η of the chains; stable if η(λ_max + γ) < 2
    - `steps`: gradients a chain
    - `burn_in`: first steps that are not averaged, fewer than `steps`
    - `nodes`: values of s, ≥ 1
    - `chains`: independent chains for each s, ≥ 1
    - `key`: of the noise
    """
    loss = check_loss(loss)
    check_count("thermodynamic.integral", "nodes", nodes)
    check_count("thermodynamic.integral", "chains", chains)
    check_count("thermodynamic.integral", "burn_in", burn_in, least=0)
    check_count("thermodynamic.integral", "steps", steps, least=burn_in + 1)
    sampler = Langevin(gamma, temperature, step_size, midpoint=True)
    x, weights = np.polynomial.legendre.leggauss(nodes)
    u = (1 + x) / 2
    s, weights = u**3, 3 * u**2 * weights / 2  # ds = 3u² du

    def mean_loss(s: Scalar, key: Key) -> Scalar:
        slope = lambda w, _: tree.scale(s, jax.grad(loss)(w))

        def body(chain, key):
            chain = sampler.step(slope, chain, key=key)
            return chain, loss(chain.point)

        _, losses = jax.lax.scan(body, sampler.init(params), jr.split(key, steps))
        return losses[burn_in:].mean()

    dtype = jax.eval_shape(loss, params).dtype
    keys = jr.split(key, (chains, nodes))
    means = jax.vmap(jax.vmap(mean_loss), in_axes=(None, 0))(jnp.asarray(s, dtype), keys)
    return mean_of(means @ jnp.asarray(weights, dtype))  # (chains,)
