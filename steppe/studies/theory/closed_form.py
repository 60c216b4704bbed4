"""E1: the local free energy of a quadratic in closed form."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from ...core.types import Key
from ...flatness.entropy import free_energy
from .oracle import draw, generator, gibbs
from .row import Row, equal, within

TITLE = "The local entropy of a quadratic in closed form"
GAMMA = 1.7


def rows(key: Key) -> list[Row]:
    key_draw, key_sample = jr.split(key)
    rng = generator(key_draw)
    return [_integral(rng), _laplace(rng), _sampled(rng, key_sample)]


def _integral(rng: np.random.Generator) -> Row:
    closed, integral = [], []
    for n in (1, 2):
        f, theta = draw(rng, n)
        for tau in (1.0, 0.2):
            # At θ the loss is its value, its slope and its Hessian.
            g = f.H @ (theta - f.star)
            at = (jnp.asarray(f(theta)), jnp.asarray(g), jnp.asarray(f.H))
            closed.append(free_energy.quadratic(*at, gamma=GAMMA, temperature=tau))
            further = float(np.linalg.norm(theta - f.star))
            seen = gibbs(f, theta, gamma=GAMMA, temperature=tau, further=further)
            integral.append(seen.free_energy)
    return equal(
        "E1.1",
        "f − ½gᵀ(H+γI)⁻¹g + τ/2 ln det(I+H/γ) = integral",
        closed,
        integral,
        relative=1e-8,
    )


def _laplace(rng: np.random.Generator) -> Row:
    f, theta = draw(rng, 5)
    value = jax.jit(lambda w: free_energy.laplace(f.loss, w, gamma=GAMMA, temperature=0.6))
    expected = f.free_energy(theta, GAMMA, 0.6)
    statement = "by automatic derivatives and by eigenvalues"
    return equal("E1.2", statement, value(jnp.asarray(theta)), expected, relative=1e-10)


def _sampled(rng: np.random.Generator, key: Key) -> Row:
    f, theta = draw(rng, 5)
    value = lambda key: (
        free_energy.monte_carlo(
            f.loss, jnp.asarray(theta), gamma=GAMMA, temperature=1.0, samples=100_000, key=key
        ).value
    )
    samples = jax.jit(jax.vmap(value))(jr.split(key, 16))
    return within(
        "E1.3",
        "−ln mean exp(−f) over draws, 5 dimensions",
        samples,
        f.free_energy(theta, GAMMA, 1.0),
    )
