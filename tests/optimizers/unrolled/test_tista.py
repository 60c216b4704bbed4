"""TISTA: its shrinkage by quadrature, its estimate of the error by draws, a layer in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

from steppe.core import tree
from steppe.core.optimizer import split_meta
from steppe.optimizers.unrolled.tista import TISTA, posterior_mean
from tests.optimizers.unrolled.layers import measured, path

shrink = jax.jit(posterior_mean)


def quadrature(r, tau2, p, variance):
    """E[x | r] by integrals over the part of the law of x that has a density."""
    log = lambda x, mean, width: (
        -(((x - mean) / width) ** 2) / 2 - np.log(np.sqrt(2 * np.pi) * width)
    )
    noise, prior, both = np.sqrt(tau2), np.sqrt(variance), variance + tau2
    # On the support x given r is normal: there the integrand is not 0. All is taken over its top.
    centre, width = r * variance / both, np.sqrt(variance * tau2 / both)
    density = lambda x: log(x, 0, prior) + log(r, x, noise)
    top = density(centre)
    part = lambda f: scipy.integrate.quad(
        lambda t: f(centre + width * t) * np.exp(density(centre + width * t) - top) * width,
        *(-12, 12), epsabs=1e-12 * width, epsrel=1e-11,
    )[0]  # fmt: skip
    on, off = p * part(lambda x: 1.0), (1 - p) * np.exp(min(log(r, 0, noise) - top, 700))
    return p * part(lambda x: x) / (on + off)


@pytest.mark.parametrize("tau2", [1e-9, 1e-3, 1.0])
@pytest.mark.parametrize(("p", "variance"), [(0.1, 1.0), (0.4, 2.5)])
def test_it_shrinks_to_the_posterior_mean(tau2, p, variance):
    r = np.concatenate([np.linspace(-6, 6, 25), np.linspace(-6, 6, 9) * np.sqrt(tau2)])
    expected = [quadrature(x, tau2, p, variance) for x in r]
    found = shrink(jnp.asarray(r), tau2, np.log(p / (1 - p)), variance)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_it_and_its_slope_are_finite_where_the_noise_is_tiny(dtype):
    r = jnp.linspace(-6, 6, 25).astype(dtype)
    value, slope = jax.vmap(jax.value_and_grad(lambda r: posterior_mean(r, 1e-12, -2.2, 1.0)))(r)
    assert bool(jnp.all(jnp.isfinite(value) & jnp.isfinite(slope)))
    np.testing.assert_allclose(value, r, rtol=1e-6)


@pytest.mark.parametrize("gamma", [1.0, 1.4])
def test_the_estimate_of_the_error_after_the_first_step_is_right(gamma):
    rng, sigma = np.random.default_rng(1), 0.1
    A, x, b = measured(0, 32, 64, 2000)
    b = b + sigma * rng.standard_normal(b.shape)
    opt = TISTA.from_dictionary(A, noise=sigma**2)
    r = gamma * b @ np.linalg.pinv(A).T
    estimated = jax.vmap(lambda b: opt.noise_after(gamma, jnp.sum(b**2)))(jnp.asarray(b))
    assert float(jnp.mean(estimated)) == pytest.approx(np.mean((r - x) ** 2), rel=0.05)


@pytest.mark.parametrize("train", ["steps", "all"])
def test_layers_are_those_of_the_published_formulas(train):
    """With the ratio of two Gaussians where that can be computed."""
    rows, n, layers, p, a2, noise = 6, 9, 3, 0.3, 2.0, 0.01
    A, _, B = measured(0, rows, n, 2, density=0.3)
    options = {"density": p, "variance": a2, "noise": noise, "train": train}
    opt = TISTA.from_dictionary(A, layers=layers, **options)
    W, gauss = np.linalg.pinv(A).T, lambda r, v: np.exp(-(r**2) / 2 / v) / np.sqrt(2 * np.pi * v)
    for b, found in zip(B, path(opt, jnp.asarray(A), jnp.asarray(B), layers), strict=True):
        x = np.zeros(n)
        for k in range(layers):
            residual = b - A @ x
            v2 = max((residual @ residual - rows * noise) / np.trace(A.T @ A), 1e-9)
            tau2 = v2 / n * (n - rows) + noise * np.trace(W.T @ W) / n
            r = x + W.T @ residual
            on, off = p * gauss(r, a2 + tau2), (1 - p) * gauss(r, tau2)
            x = r * a2 / (a2 + tau2) * on / (on + off)
            np.testing.assert_allclose(found[k], x, rtol=0, atol=1e-12)


def test_it_has_as_many_numbers_as_published():
    count = lambda opt: tree.size(split_meta(opt)[0])
    assert count(TISTA(256, 512)) == 16
    assert count(TISTA(256, 512, train="all")) == 2_097_200


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"density": 1.0}, r"TISTA: density must be in \(0, 1\), got 1.0"),
        ({"variance": 0.0}, "TISTA: variance must be positive, got 0.0"),
        ({"noise": -1e-3}, "TISTA: noise must be zero or positive, got -0.001"),
        ({"train": "W"}, "TISTA: train is 'W', expected 'steps' or 'all'."),
    ],
)
def test_what_it_cannot_start_with_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        TISTA(2, 3, **options)
