"""Smoothed loss against its closed form, and its gradient against differences."""

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

from steppe.flatness.smoothed import Smoothed
from tests.reference.local_entropy import draw_quadratic


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
def test_bad_settings_are_refused(bad, sentence):
    with pytest.raises(ValueError, match=sentence):
        Smoothed(**({"gamma": 1.0} | bad))


def test_a_loss_that_is_not_a_number_is_refused(getkey):
    with pytest.raises(ValueError, match="one real value"):
        Smoothed(1.0)(lambda w: w, jnp.ones(2), key=getkey())
