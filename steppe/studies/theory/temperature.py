"""E3: local entropy tells wide from narrow in proportion to its temperature."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from ...core.types import Key
from ...flatness.entropy.local_entropy import LocalEntropy
from .oracle import gibbs
from .row import Row, at_most, equal, within

TITLE = "Wide and narrow differ in proportion to τ"
GAMMA, WIDE, NARROW, DEPTH = 1.7, 0.3, 4.0, -1.0
ACROSS = 10  # dimensions of the valley's cross-section
COLD = 1e-8  # the temperature of the published Entropy-SGD code


def rows(key: Key) -> list[Row]:
    key_wells, key_valley = jr.split(key)
    gain = 0.5 * np.log((NARROW + GAMMA) / (WIDE + GAMMA))
    wells = lambda tau: np.asarray(_wells(jnp.asarray(tau), jr.split(key_wells, 16)))
    pulls = lambda tau: np.asarray(_pulls(jnp.asarray(tau), jr.split(key_valley, 64)))
    return [
        equal(
            "E3.1",
            "wells of one depth: ΔF = τ/2 ln((λ₂+γ)/(λ₁+γ))",
            [_integrals(tau) for tau in (1.0, 0.1)],
            [gain, 0.1 * gain],
            relative=1e-8,
        ),
        within("E3.2", "the measure sees it: 2 dimensions, τ = 1", wells(1.0), 2 * gain),
        at_most("E3.3", "at τ = 1e-8 the difference is gone", np.abs(wells(COLD)), 1e-7),
        within("E3.4", "along a level valley it pulls to the wide end", pulls(0.1), _pull(0.1)),
        at_most("E3.5", "at τ = 1e-8 it does not", np.abs(pulls(COLD)), 1e-6),
    ]


def _integrals(tau: float) -> float:
    """F of the narrow well less F of the wide one, at their minima."""
    well = lambda curvature: gibbs(
        lambda w: DEPTH + curvature / 2 * w**2, 0.0, gamma=GAMMA, temperature=tau
    )
    return well(NARROW).free_energy - well(WIDE).free_energy


@jax.jit
def _wells(tau: jax.Array, keys: jax.Array) -> jax.Array:
    """The same by the measure, in two dimensions, for each key."""
    measure = LocalEntropy(GAMMA, temperature=tau, value="monte_carlo", samples=4_000)
    well = lambda curvature, key: measure(
        lambda w: DEPTH + curvature / 2 * jnp.sum(w**2), jnp.zeros(2), key=key
    )
    return jax.vmap(lambda key: well(NARROW, key) - well(WIDE, key))(keys)


@jax.jit
def _pulls(tau: jax.Array, keys: jax.Array) -> jax.Array:
    """Slopes of the measure along x at 0, for f = ½ eˣ ‖y‖²: level, and wide for small x."""
    valley = lambda w: 0.5 * jnp.exp(w[0]) * jnp.sum(w[1:] ** 2)
    measure = LocalEntropy(GAMMA, temperature=tau, steps=400, burn_in=50, step_size=0.1)
    slope = lambda key: jax.grad(lambda w: measure(valley, w, key=key))(jnp.zeros(1 + ACROSS))[0]
    return jax.vmap(slope)(keys)


def _pull(tau: float) -> float:
    """The expected pulls. With y integrated out x has the loss τ/2 ACROSS ln(1 + eˣ/γ)."""
    volume = lambda x: tau / 2 * ACROSS * np.log1p(np.exp(x) / GAMMA)
    law = gibbs(volume, 0.0, gamma=GAMMA, temperature=tau)
    return -GAMMA * law.mean(law.points)
