"""Calibration: the error against a loop over rows, the temperature against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from evaluation.problems import NETWORK, Bowl
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from steppe.evaluation.calibration import (
    BINS,
    LARGEST,
    calibration,
    calibration_error,
    temperature,
)
from steppe.tasks.classify import cross_entropy

ROWS, CLASSES = 300, 4


def drawn(scale, seed=0):
    """Logits that are `scale` times too large for labels drawn from them."""
    rng = np.random.default_rng(seed)
    z = 1.5 * rng.standard_normal((ROWS, CLASSES))
    y = np.array([rng.choice(CLASSES, p=p) for p in softmax(z, axis=1)])
    return jnp.asarray(scale * z), jnp.asarray(y)


def slow_error(z, y):
    """Bin after bin, row after row: the definition of Guo et al."""
    p = softmax(np.asarray(z), axis=1)
    found = 0.0
    for b in range(BINS):
        inside = [i for i in range(len(y)) if b / BINS < p[i].max() <= (b + 1) / BINS]
        if inside:
            right = np.mean([p[i].argmax() == y[i] for i in inside])
            sure = np.mean([p[i].max() for i in inside])
            found += len(inside) / len(y) * abs(right - sure)
    return found


@pytest.mark.parametrize("scale", (0.3, 1.0, 5.0, 200.0))
def test_the_error_is_that_of_a_loop(scale):
    z, y = drawn(scale)
    assert calibration_error(z, y) == pytest.approx(slow_error(z, np.asarray(y)), rel=1e-9)


def test_the_error_of_what_is_known():
    """Always sure and right half of the time: 1/2. Four equal logits: 1/4, right as often."""
    sure = 100 * jnp.eye(CLASSES)[jnp.zeros(ROWS, int)]
    half = jnp.arange(ROWS) % 2
    assert calibration_error(sure, half) == pytest.approx(0.5)
    equal, y = jnp.zeros((ROWS, CLASSES)), jnp.arange(ROWS) % CLASSES
    assert calibration_error(equal, y) == pytest.approx(0, abs=1e-12)
    assert jnp.isnan(calibration_error(sure.at[0, 0].set(jnp.nan), half))


@pytest.mark.parametrize("scale", (0.3, 1.0, 5.0))
def test_the_temperature_is_that_of_scipy(scale):
    z, y = drawn(scale, seed=1)

    def loss(log_s):
        rows = log_softmax(np.exp(log_s) * np.asarray(z), axis=1)
        return -rows[np.arange(ROWS), np.asarray(y)].mean()

    end = np.log(LARGEST)
    oracle = minimize_scalar(loss, bounds=(-end, end), method="bounded", options={"xatol": 1e-10})
    found = temperature(z, y)
    assert found == pytest.approx(np.exp(-oracle.x), rel=1e-5)
    assert cross_entropy(z / found, y) == pytest.approx(oracle.fun, rel=1e-9)
    assert found == pytest.approx(scale, rel=0.25)  # what the labels were drawn by


def test_the_temperature_stays_in_its_range():
    """Rows that are all right ask for T = 0, rows that are all wrong for T = ∞."""
    z = jnp.eye(CLASSES)
    assert temperature(z, jnp.arange(CLASSES)) == pytest.approx(1 / LARGEST)
    assert temperature(z, (jnp.arange(CLASSES) + 1) % CLASSES) == pytest.approx(LARGEST)
    assert jnp.isnan(temperature(z.at[0, 0].set(jnp.inf), jnp.arange(CLASSES)))


def test_the_temperature_is_fitted_on_validation_data_and_used_on_the_test(getkey):
    params = jax.tree.map(lambda x: 8 * x, NETWORK.init((), getkey()))
    (zv, yv), (z, y) = (
        NETWORK.predictions(params, (), NETWORK.full_batch((), split=split), getkey())
        for split in ("valid", "test")
    )
    found = calibration(NETWORK, (), params, getkey())
    assert found["valid_temperature"] == pytest.approx(float(temperature(zv, yv)))
    assert found["test_scaled_loss"] == pytest.approx(
        float(cross_entropy(z / temperature(zv, yv), y))
    )
    assert found["test_ece"] == pytest.approx(slow_error(z, np.asarray(y)), rel=1e-9)
    assert calibration(Bowl(), (), jnp.ones(1), getkey()) == {}
