"""Quadratic: against NumPy, and the laws of the published sets."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.core.task import Problem
from steppe.store.describe import describe, rebuild
from steppe.tasks import Quadratic
from steppe.tasks.names import TASKS
from steppe.tasks.synthetic.quadratic import Equations

NAMES = ("quadratic-dm", "quadratic")
DM, SCALE = (dict(TASKS[name].arguments) for name in NAMES)

# square, tall (no exact solution), wide (many solutions)
SHAPES = [{"n": 4}, {"n": 3, "rows": 5}, {"n": 5, "rows": 3}]


@eqx.filter_jit
def draw(task, key):
    key_sample, key_init = jr.split(key)
    instance = task.sample(key_sample)
    return instance, task.init(instance, key_init)


def problem(task, instance):
    return Problem(task, instance, task.batch(instance, jr.key(0)), jr.key(0))


@pytest.mark.parametrize("factor", [1.0, 0.5])
def test_loss_and_gradient_equal_numpy(factor, getkey):
    task = Quadratic(n=3, rows=4, instances=5, factor=factor)
    instance, x = draw(task, getkey())
    value, gradient = eqx.filter_jit(Problem.value_and_grad)(problem(task, instance), x)
    expected, slopes = 0.0, np.zeros((5, 3))
    for b in range(5):
        W, y = np.asarray(instance.W[b]), np.asarray(instance.y[b])
        r = W @ x[b] - y
        expected += factor * r @ r / 5
        slopes[b] = 2 * factor * W.T @ r / 5
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-12)


@pytest.mark.parametrize("shape", SHAPES, ids=["square", "tall", "wide"])
def test_solution_equals_numpy(shape, getkey):
    task = Quadratic(**shape, instances=2)
    instance, _ = draw(task, getkey())
    for b, x in enumerate(task.target(instance)):
        expected = np.linalg.lstsq(instance.W[b], instance.y[b])[0]
        np.testing.assert_allclose(x, expected, rtol=1e-8)


@pytest.mark.parametrize("shape", SHAPES, ids=["square", "tall", "wide"])
def test_metrics_equal_the_difference_of_losses(shape, getkey):
    task = Quadratic(**shape, instances=2)
    instance, x = draw(task, getkey())
    value = eqx.filter_jit(lambda at: problem(task, instance).value(at))
    here, best, zero = (float(value(at)) for at in (x, task.target(instance), 0 * x))
    metrics = task.metrics(x, instance, (), getkey())
    assert metrics["gap"] == pytest.approx(here - best, rel=1e-8)
    assert metrics["relative_gap"] == pytest.approx((here - best) / (zero - best), rel=1e-8)


def test_the_gap_vanishes_at_the_solution(getkey):
    task = Quadratic(n=3, rows=5)
    instance, _ = draw(task, getkey())
    assert 0 <= task.metrics(task.target(instance), instance, (), getkey())["gap"] < 1e-25


def test_metrics_are_finite_when_zero_is_the_solution(getkey):
    task = Quadratic(n=2)
    instance = Equations(jnp.eye(2)[None], jnp.zeros((1, 2)))
    metrics = task.metrics(jnp.ones((1, 2)), instance, (), getkey())
    assert {name: float(value) for name, value in metrics.items()} == {
        "gap": 1.0,
        "relative_gap": 2.0,
    }


def assert_moments(sample, mean, variance):
    """Within 4 standard errors; the variance of x² is at most 2 here."""
    n = sample.size
    assert sample.mean() == pytest.approx(mean, abs=4 * np.sqrt(variance / n))
    assert sample.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / n))


@pytest.mark.parametrize(
    ("published", "mean", "variance", "start", "shape"),
    [(DM, 1 / 2, 1 / 12, 0.01, (128, 10)), (SCALE, 0, 1, 1, (1, 20))],
    ids=["DM", "SCALE"],
)
def test_the_published_sets_have_their_moments(published, mean, variance, start, shape, getkey):
    draws = jax.vmap(lambda key: draw(Quadratic(**published), key))(jr.split(getkey(), 100))
    instances, x = draws
    assert x.shape[1:] == shape and instances.W.shape[1:] == (*shape, shape[1])
    assert_moments(np.asarray(instances.W), mean, variance)
    assert_moments(np.asarray(instances.y), mean, variance)
    assert_moments(np.asarray(x), 0, start**2)


def test_uniform_data_lie_in_the_unit_interval(getkey):
    W = draw(Quadratic(data="uniform", instances=50), getkey())[0].W
    assert 0 <= W.min() < 0.01 and 0.99 < W.max() < 1


def test_w_and_y_are_drawn_apart(getkey):
    instance, _ = draw(Quadratic(n=1, instances=2000), getkey())
    correlation = np.corrcoef(instance.W.ravel(), instance.y.ravel())[0, 1]
    assert abs(correlation) < 4 / np.sqrt(2000)


def test_a_description_rebuilds_the_task():
    task = Quadratic(n=3, rows=4, instances=2, data="uniform", start=0.1, factor=2.0)
    assert rebuild(describe(task), {"Quadratic": Quadratic}) == task


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n": 0}, "n must be at least 1, got 0"),
        ({"rows": 0}, "rows must be at least 1, got 0"),
        ({"instances": -1}, "instances must be at least 1, got -1"),
        ({"data": "cauchy"}, "data must be one of uniform, normal, got 'cauchy'"),
        ({"start": -1.0}, "start must not be negative, got -1.0"),
        ({"start": float("nan")}, "start must not be negative, got nan"),
        ({"factor": 0.0}, "factor must be positive, got 0.0"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        Quadratic(**arguments)
