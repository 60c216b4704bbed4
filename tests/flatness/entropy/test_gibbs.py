"""What local entropy sees: width, in proportion to temperature; what it says of the Hessian."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.integrate import quad

from steppe.flatness.entropy import free_energy
from steppe.flatness.entropy.local_entropy import LocalEntropy
from tests.reference.local_entropy import by_quadrature, draw_quadratic

GAMMA = 1.7


def pulls(measure, loss, theta, getkey, count):
    slope = jax.grad(lambda w, key: measure(loss, w, key=key))
    seen = jax.jit(jax.vmap(slope, in_axes=(None, 0)))(theta, jr.split(getkey(), count))
    return np.asarray(seen)


@pytest.mark.parametrize("midpoint", [False, True])
def test_a_long_chain_finds_the_gradient_of_local_entropy(midpoint, getkey):
    quadratic, theta = draw_quadratic(0, 3, lowest=0.5)
    H, star = jnp.asarray(quadratic.H), jnp.asarray(quadratic.star)
    measure = LocalEntropy(
        GAMMA, steps=800, burn_in=300, step_size=0.02, midpoint=midpoint, antithetic=False
    )
    loss = lambda w: 0.5 * (w - star) @ H @ (w - star)
    seen = pulls(measure, loss, jnp.asarray(theta), getkey, 64)
    error = seen.std(axis=0, ddof=1) / np.sqrt(64)
    expected = GAMMA * (theta - quadratic.gibbs_mean(theta, GAMMA))
    assert np.all(error < 0.05)
    assert np.all(np.abs(seen.mean(axis=0) - expected) < 3 * error)


@pytest.mark.parametrize("value", ["laplace", "importance", "monte_carlo"])
def test_two_wells_of_equal_depth_differ_by_their_widths_times_temperature(value, getkey):
    wide, narrow, n, depth = 0.3, 4.0, 2, -1.0
    expected = n / 2 * np.log((narrow + GAMMA) / (wide + GAMMA))

    @jax.jit
    def differences(temperature, keys):
        measure = LocalEntropy(GAMMA, temperature=temperature, value=value, samples=2_000)
        well = lambda curvature, key: measure(
            lambda w: depth + curvature / 2 * jnp.sum(w**2), jnp.zeros(n), key=key
        )
        return jax.vmap(lambda key: well(narrow, key) - well(wide, key))(keys)

    keys = jr.split(getkey(), 16)
    warm, cold = (np.asarray(differences(temperature, keys)) for temperature in (1.0, 1e-8))
    assert abs(warm.mean() - expected) < 1e-9 + 3 * warm.std(ddof=1) / 4
    assert np.all(np.abs(cold) < 1e-7)


def test_a_level_valley_is_followed_to_where_it_is_wide_only_if_warm(getkey):
    # f = ½ eˣ ‖y‖² is 0 all along y = 0; the transversal curvature eˣ grows with x.
    n, temperature = 10, 0.1
    valley = lambda w: 0.5 * jnp.exp(w[0]) * jnp.sum(w[1:] ** 2)
    measure = LocalEntropy(GAMMA, temperature=temperature, steps=60, burn_in=20)
    theta = jnp.zeros(n + 1)
    # With y integrated out, −τ ln of the density of x is γ/2 x² + nτ/2 ln(1 + eˣ/γ).
    density = lambda x: np.exp(
        -GAMMA * x**2 / (2 * temperature) - n / 2 * np.log1p(np.exp(x) / GAMMA)
    )
    mean = quad(lambda x: x * density(x), -4, 4)[0] / quad(density, -4, 4)[0]
    seen = pulls(measure, valley, theta, getkey, 200)
    error = seen.std(axis=0, ddof=1) / np.sqrt(200)
    assert seen[:, 0].mean() > 20 * error[0]
    assert abs(seen[:, 0].mean() + GAMMA * mean) < 3 * error[0] + 0.01 * GAMMA * abs(mean)
    assert np.all(np.abs(seen[:, 1:].mean(axis=0)) < 4 * error[1:])
    cold = pulls(LocalEntropy(GAMMA, temperature=1e-8, steps=60), valley, theta, getkey, 20)
    assert np.abs(cold[:, 0]).max() < 1e-6


@pytest.mark.parametrize("seed", range(5))
def test_excess_over_a_minimum_bounds_top_eigenvalue_trace_and_volume(seed):
    n = 1 + seed
    quadratic, _ = draw_quadratic(seed, n, lowest=0.01)
    H, lam = jnp.asarray(quadratic.H), np.linalg.eigvalsh(quadratic.H)
    delta = float(
        free_energy.quadratic(jnp.asarray(0.0), jnp.zeros(n), H, gamma=GAMMA, temperature=1.0)
    )
    rounding = 1e-12
    assert lam[-1] <= GAMMA * np.expm1(2 * delta) + rounding
    assert lam.sum() / (2 * (GAMMA + lam[-1])) - rounding <= delta
    assert delta <= lam.sum() / (2 * GAMMA) + rounding
    assert n / 2 * np.log1p(lam[0] / GAMMA) - rounding <= delta
    assert delta <= n / 2 * np.log1p(lam[-1] / GAMMA) + rounding


@pytest.mark.parametrize("theta", [-1.3, 0.0, 0.8])
def test_laplace_form_with_its_cubic_remainder_is_an_upper_bound(theta):
    f = lambda x: 0.4 * x**2 + 0.7 * np.cos(1.5 * x)  # |f‴| ≤ 0.7 · 1.5³
    M, g = 0.7 * 1.5**3, 0.8 * theta - 1.05 * np.sin(1.5 * theta)
    h = 0.8 - 0.7 * 1.5**2 * np.cos(1.5 * theta)
    gamma = 2.5
    exact = by_quadrature(lambda w: f(w[..., 0]), theta, gamma=gamma, temperature=1.0)
    laplace = float(
        free_energy.laplace(
            lambda x: 0.4 * x**2 + 0.7 * jnp.cos(1.5 * x),
            jnp.array(theta),
            gamma=gamma,
            temperature=1.0,
        )
    )
    assert laplace == pytest.approx(
        f(theta) - 0.5 * g**2 / (h + gamma) + 0.5 * np.log1p(h / gamma), rel=1e-10
    )
    mean, variance = -g / (h + gamma), 1 / (h + gamma)  # Q, seen from θ
    Q = lambda x: np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)
    cubed, _ = quad(lambda x: abs(x) ** 3 * Q(x), -12, 12, points=[0.0, mean])
    assert exact <= laplace + M / 6 * cubed


@pytest.mark.parametrize("curvature", [0.5, 2.0, 5.0])
def test_excess_bounds_the_curvature_of_a_quadratic_floor_under_a_quartic(curvature):
    f = lambda w: 0.5 * curvature * w[..., 0] ** 2 + 0.3 * w[..., 0] ** 4
    delta = by_quadrature(f, 0.0, gamma=1.0, temperature=1.0)
    assert curvature <= np.expm1(2 * delta)


@pytest.mark.parametrize("seed", range(4))
def test_any_gaussian_gives_an_upper_bound_on_a_quartic(seed):
    rng = np.random.default_rng(seed)
    f = lambda x: (x**2 - 1) ** 2 + 0.2 * x
    theta, gamma, tau = rng.normal(), 1.3, 0.4
    exact = by_quadrature(lambda w: f(w[..., 0]), theta, gamma=gamma, temperature=tau)
    for mean, width in ((theta, 1.0), (rng.normal(), np.exp(rng.normal()))):
        s = width * np.sqrt(tau / gamma)
        Q = lambda x, mean=mean, s=s: (
            np.exp(-((x - mean) ** 2) / (2 * s**2)) / (s * np.sqrt(2 * np.pi))
        )
        expected, _ = quad(lambda x, Q=Q: f(x) * Q(x), mean - 12 * s, mean + 12 * s)
        kl = 0.5 * (width**2 + (mean - theta) ** 2 * gamma / tau - 1) - np.log(width)
        assert exact <= expected + tau * kl
