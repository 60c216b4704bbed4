"""The activations of the recurrent cells."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steppe.optimizers.learned.coordinates import elu, tanh

X = np.concatenate([np.linspace(0, 12, 200_001), np.logspace(-30, 0, 50_001)])
X = np.concatenate([-X, X]).astype(np.float32)


def ulps(got, truth):
    """Distance in units of the last place of float32."""
    return np.abs(np.asarray(got, np.float64) - truth) / np.spacing(np.abs(truth), dtype=np.float32)


def test_float32_tanh_is_as_exact_as_xlas():
    truth = np.tanh(X.astype(np.float64))
    ours, xlas = (ulps(jax.jit(f)(X), truth)[truth != 0] for f in (tanh, jnp.tanh))
    assert ours.max() < 6 and xlas.max() < 6
    assert ours.mean() < 1.05 * xlas.mean()


def test_float32_tanh_stays_within_one_and_keeps_signs_and_nans():
    y = np.asarray(tanh(jnp.asarray(X)))
    assert np.abs(y).max() <= 1 and np.array_equal(np.sign(y), np.sign(X))
    assert np.isnan(tanh(jnp.float32(np.nan)))
    np.testing.assert_array_equal(tanh(jnp.float32([-np.inf, 0, np.inf])), [-1, 0, 1])


def test_float64_tanh_is_the_librarys():
    x = jnp.linspace(-9, 9, 101)
    assert x.dtype == jnp.float64
    np.testing.assert_array_equal(tanh(x), jnp.tanh(x))


def test_float32_elu_agrees_with_expm1():
    x = X[np.abs(X) < 10]
    truth = np.where(x > 0, x, np.expm1(x.astype(np.float64)))
    assert ulps(jax.jit(elu)(x), truth)[truth != 0].max() < 12


@pytest.mark.parametrize("f", [tanh, elu], ids=["tanh", "elu"])
def test_derivatives_of_all_orders_are_the_textbooks(f):
    other = {tanh: jnp.tanh, elu: jax.nn.elu}[f]
    for order in range(3):
        for x in (-3.0, -0.5, 0.7, 4.0):
            derivative = lambda g: g
            for _ in range(order):
                derivative = lambda g, d=derivative: jax.grad(d(g))
            assert float(derivative(f)(x)) == pytest.approx(
                float(derivative(other)(x)), rel=1e-12, abs=1e-15
            )
    np.testing.assert_allclose(jax.jvp(f, (0.3,), (2.0,)), jax.jvp(other, (0.3,), (2.0,)), 1e-14)
