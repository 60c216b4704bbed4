"""E2: the gradient of local entropy, and what a short chain finds of it."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from ...core.types import Key
from ...flatness.entropy import free_energy
from ...flatness.entropy.local_entropy import LocalEntropy
from ...flatness.entropy.sgld import Langevin
from .oracle import Quadratic, draw, generator
from .row import Row, equal, within

TITLE = "Its gradient, and where short chains fall short"
GAMMA, ETA, DECAY, STEPS = 1.7, 0.1, 0.75, 20  # η, α and L of Entropy-SGD


def rows(key: Key) -> list[Row]:
    key_draw, key_long, key_short, key_many = jr.split(key, 4)
    f, theta = draw(generator(key_draw), 3)
    return [
        _slope(f, theta),
        _long_chain(f, theta, key_long),
        _short_chain(f, theta, key_short),
        _too_wide(f, theta, key_many),
    ]


def _slope(f: Quadratic, theta: np.ndarray) -> Row:
    value = lambda w: free_energy.laplace(f.loss, w, gamma=GAMMA, temperature=0.6)
    seen = jax.jit(jax.grad(value))(jnp.asarray(theta))
    return equal(
        "E2.1",
        "the slope of F is γH(H+γI)⁻¹δ",
        seen[None],
        f.slope(theta, GAMMA)[None],
        relative=1e-9,
    )


def _long_chain(f: Quadratic, theta: np.ndarray, key: Key) -> Row:
    measure = LocalEntropy(GAMMA, steps=3_000, burn_in=500, step_size=0.1, antithetic=False)
    slope = lambda key: jax.grad(lambda w: measure(f.loss, w, key=key))(jnp.asarray(theta))
    samples = jax.jit(jax.vmap(slope))(jr.split(key, 64))
    return within("E2.2", "a long chain at τ = 1 finds it", samples, f.slope(theta, GAMMA))


def _short_chain(f: Quadratic, theta: np.ndarray, key: Key) -> Row:
    run = Langevin(GAMMA, 0.0, ETA, decay=DECAY).run
    average = run(lambda w, _: jax.grad(f.loss)(w), jnp.asarray(theta), STEPS, key=key).average
    P, one = f.H + GAMMA * np.eye(3), np.eye(3)
    power = lambda i: np.linalg.matrix_power(one - ETA * P, i)
    B = DECAY**STEPS * one + (1 - DECAY) * sum(
        DECAY ** (STEPS - i) * power(i) for i in range(1, STEPS + 1)
    )
    m = np.linalg.solve(P, f.H @ f.star + GAMMA * theta)
    return equal(
        "E2.3",
        "20 noiseless steps end at m + B(θ − m), not at m",
        average[None],
        (m + B @ (theta - m))[None],
        relative=1e-10,
    )


def _too_wide(f: Quadratic, theta: np.ndarray, key: Key) -> Row:
    """Variances along the eigenvectors after many steps, over many plain chains."""
    lam, V = np.linalg.eigh(f.H)
    eta = 0.8 / (lam[-1] + GAMMA)
    run = Langevin(GAMMA, 1.0, eta).run
    end = lambda key: run(lambda w, _: jax.grad(f.loss)(w), jnp.asarray(theta), 100, key=key).params
    ends = np.asarray(jax.jit(jax.vmap(end))(jr.split(key, 20_000)))
    m = np.linalg.solve(f.H + GAMMA * np.eye(3), f.H @ f.star + GAMMA * theta)
    p = lam + GAMMA
    return within(
        "E2.4",
        "a plain chain is too wide: τ/p / (1 − ηp/2)",
        ((ends - m) @ V) ** 2,
        1 / p / (1 - eta * p / 2),
    )
