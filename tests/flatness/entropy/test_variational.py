"""The variational bound, and the smoothed loss, which is the bound at the prior."""

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

from steppe.flatness.entropy import variational
from steppe.flatness.entropy.variational import Smoothed, Window
from tests.reference.local_entropy import draw_quadratic

LAW = {"gamma": 1.7, "temperature": 0.6}


def surface(quadratic):
    H, star = jnp.asarray(quadratic.H), jnp.asarray(quadratic.star)
    return lambda w: quadratic.low + 0.5 * (w - star) @ H @ (w - star)


def exact(quadratic, theta, mean, width, *, gamma, temperature):
    """E_Q f + τ KL(Q ‖ prior), the textbook way."""
    variance, prior = width**2 * temperature / gamma, temperature / gamma
    expected = quadratic.value(mean) + 0.5 * np.sum(np.diag(quadratic.H) * variance)
    kl = 0.5 * np.sum(variance / prior + (mean - theta) ** 2 / prior - 1 - np.log(variance / prior))
    return expected + temperature * kl


@pytest.mark.parametrize("seed", range(3))
def test_bound_is_expected_loss_plus_divergence_and_above_the_free_energy(seed, getkey):
    quadratic, theta = draw_quadratic(seed, 4)
    rng = np.random.default_rng(seed)
    mean, width = rng.normal(size=4), np.exp(0.5 * rng.normal(size=4))
    seen = jax.jit(
        lambda key: variational.bound(
            surface(quadratic),
            jnp.asarray(theta),
            Window(jnp.asarray(mean), jnp.asarray(width)),
            samples=20_000,
            key=key,
            **LAW,
        )
    )(getkey())
    expected = exact(quadratic, theta, mean, width, **LAW)
    assert abs(seen.value - expected) < 3.5 * seen.standard_error
    assert seen.standard_error < 0.03 * (1 + abs(expected))
    assert expected > quadratic.free_energy(theta, **LAW)


def test_bound_is_attained_without_variance_by_the_gibbs_law(getkey):
    H, theta = jnp.array([0.3, 1.0, 8.0]), jnp.array([1.0, -1.0, 0.5])
    loss = lambda w: 0.5 * jnp.sum(H * w**2) - 2
    gibbs = variational.narrow(theta * LAW["gamma"] / (H + LAW["gamma"]), H, gamma=LAW["gamma"])
    seen = variational.bound(loss, theta, gibbs, samples=8, key=getkey(), **LAW)
    gamma, tau = LAW["gamma"], LAW["temperature"]
    smoothed = 0.5 * jnp.sum(gamma * H / (gamma + H) * theta**2)
    expected = -2 + smoothed + tau / 2 * jnp.sum(jnp.log1p(H / gamma))
    assert seen.value == pytest.approx(float(expected), rel=1e-12)
    assert seen.standard_error < 1e-12


def test_narrowed_widths_are_the_best_and_miss_the_free_energy_by_the_stated_gap():
    quadratic, theta = draw_quadratic(3, 4)
    m, h = quadratic.gibbs_mean(theta, LAW["gamma"]), np.diag(quadratic.H)
    width = np.asarray(variational.narrow(m, jnp.asarray(h), gamma=LAW["gamma"]).width)
    best = exact(quadratic, theta, m, width, **LAW)
    P = quadratic.H + LAW["gamma"] * np.eye(4)
    gap = np.sum(np.log(LAW["gamma"] + h)) - np.linalg.slogdet(P)[1]
    assert best - quadratic.free_energy(theta, **LAW) == pytest.approx(
        LAW["temperature"] / 2 * gap, rel=1e-10
    )
    for factor in (0.9, 1.1):
        assert exact(quadratic, theta, m, width * factor, **LAW) > best


def test_negative_curvature_leaves_the_width_of_the_prior():
    h = {"a": jnp.array([-5.0, 0.0]), "b": jnp.asarray(3.4)}
    width = variational.narrow(h, h, gamma=1.7).width
    np.testing.assert_allclose(width["a"], 1)
    np.testing.assert_allclose(width["b"], np.sqrt(1 / 3))


def test_prior_gives_the_smoothed_loss(getkey):
    key, theta = getkey(), jnp.array([0.3, -0.4])
    loss = lambda w: jnp.sum(jnp.sin(3 * w)) + w[0] * w[1]
    seen = variational.bound(loss, theta, variational.prior(theta), samples=6, key=key, **LAW)
    smoothed = Smoothed(LAW["gamma"] / LAW["temperature"], samples=6)(loss, theta, key=key)
    assert seen.value == pytest.approx(float(smoothed), rel=1e-12)


def test_bound_is_differentiable_in_the_posterior(getkey):
    key, theta = getkey(), jnp.array([0.3, -0.4])
    loss = lambda w: jnp.sum(jnp.sin(3 * w)) + w[0] * w[1]

    @jax.jit
    def at(x):
        Q = Window(x[:2], jnp.exp(x[2:]))
        return variational.bound(loss, theta, Q, samples=4, key=key, **LAW).value

    x, v = jr.normal(getkey(), (4,)), jr.normal(getkey(), (4,))
    numeric = float(at(x + 1e-5 * v) - at(x - 1e-5 * v)) / 2e-5
    assert jax.grad(at)(x) @ v == pytest.approx(numeric, rel=1e-6)


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ({"gamma": -1.0}, "gamma must be positive, got -1.0"),
        ({"temperature": -1.0}, "temperature must be zero or positive"),
        ({"samples": 1}, "samples must be a multiple of 2"),
    ],
)
def test_bad_settings_are_refused(bad, sentence, getkey):
    Q = variational.prior(jnp.ones(2))
    with pytest.raises(ValueError, match=sentence):
        variational.bound(jnp.sum, jnp.ones(2), Q, **(LAW | {"samples": 2} | bad), key=getkey())


def test_value_on_a_quadratic_is_loss_plus_trace_with_the_stated_variance(getkey):
    quadratic, theta = draw_quadratic(0, 4)
    H, star = jnp.asarray(quadratic.H), jnp.asarray(quadratic.star)
    loss = lambda p: 0.5 * (p["w"] - star) @ H @ (p["w"] - star)
    gamma, samples, repeats = 3.0, 4, 5_000
    at = lambda key: Smoothed(gamma, samples)(loss, {"w": jnp.asarray(theta)}, key=key)
    seen = np.asarray(jax.jit(jax.vmap(at))(jr.split(getkey(), repeats)))
    expected = quadratic.value(theta) - quadratic.low + np.trace(quadratic.H) / (2 * gamma)
    assert abs(seen.mean() - expected) < 3.5 * seen.std() / np.sqrt(repeats)
    variance = np.sum(quadratic.H**2) / (gamma**2 * samples)
    assert seen.var() == pytest.approx(variance, rel=0.15)


def test_a_slope_adds_no_variance(getkey):
    plane = lambda w: 3.0 * w[0] - w[1]
    seen = Smoothed(1.0)(plane, jnp.array([1.0, 2.0]), key=getkey())
    assert seen == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("samples", [2, 20])
def test_gradient_is_that_of_the_value(samples, getkey):
    key, x, v = getkey(), jr.normal(getkey(), (3,)), jr.normal(getkey(), (3,))
    loss = lambda w: jnp.sum(jnp.cos(2 * w)) + w[0] * w[1] ** 2
    at = jax.jit(lambda w: Smoothed(2.0, samples)(loss, w, key=key))
    slope = jax.jit(jax.vmap(jax.grad(at)))(jnp.stack([x, -x]))[0]
    assert slope @ v == pytest.approx(float(at(x + 1e-5 * v) - at(x - 1e-5 * v)) / 2e-5, rel=1e-6)


def test_single_precision_stays_single(getkey):
    params = {"a": jnp.ones(2, jnp.float32), "b": jnp.ones((), jnp.float32)}
    loss = lambda p: jnp.sum(p["a"] ** 2) + p["b"]
    at = lambda p, key: Smoothed(jnp.asarray(2.0, jnp.float64))(loss, p, key=key)
    value, slope = jax.eval_shape(jax.value_and_grad(at), params, getkey())
    assert {leaf.dtype for leaf in jtu.tree_leaves((value, slope))} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ({"gamma": 0.0}, "gamma must be positive, got 0.0. 1/gamma is the variance"),
        ({"samples": 3}, "samples must be a multiple of 2, because draws come in pairs ±ξ, got 3"),
        ({"samples": 0}, "samples must be a multiple of 2"),
    ],
)
def test_bad_settings_of_smoothed_are_refused(bad, sentence):
    with pytest.raises(ValueError, match=sentence):
        Smoothed(**({"gamma": 1.0} | bad))


def test_a_loss_that_is_not_a_number_is_refused(getkey):
    with pytest.raises(ValueError, match="one real value"):
        Smoothed(1.0)(lambda w: w, jnp.ones(2), key=getkey())
