"""Augmented tasks: the same problem in other coordinates, and with a bowl beside it."""

import functools

import equinox as eqx
import jax
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest
from examples import pictures

from steppe.core.episode import begin, unroll
from steppe.core.task import Composed, Problem
from steppe.optimizers.classic.from_optax import sgd
from steppe.tasks import MLP, Classify, Quadratic
from steppe.tasks.augment import (
    Scaled,
    ScaledPredictive,
    WithBowl,
    WithBowlPredictive,
    scaled,
    with_bowl,
)

KEY = jr.key(0)
TASK = Quadratic(3)


@eqx.filter_jit
def parts(task):
    """A problem on a drawn instance, a start, and there the value, the gradient and the metrics."""
    instance = task.sample(KEY)
    problem, x = Problem(task, instance, (), KEY), task.init(instance, KEY)
    return problem, x, *problem.value_and_grad(x), task.metrics(x, instance, (), KEY)


@pytest.fixture(scope="module")
def scaled_parts():
    return parts(Scaled(TASK))


def system(problem):
    inner = problem.instance[0]
    return np.asarray(inner.W[0]), np.asarray(inner.y[0]), np.asarray(problem.instance[1])


def test_the_gradient_seen_is_c_times_that_of_the_task(scaled_parts):
    problem, x, _, g, _ = scaled_parts
    W, y, c = system(problem)
    expected = c[0] * (W.T @ (W @ (c[0] * np.asarray(x[0])) - y))
    np.testing.assert_allclose(g[0], expected, rtol=1e-12)


def test_gradient_descent_is_descent_preconditioned_by_c_squared():
    task, opt = Scaled(TASK, 1.0), sgd(0.01)
    episode = begin(task, opt, KEY)
    (inner, c) = episode.instance
    W, y, c = np.asarray(inner.W[0]), np.asarray(inner.y[0]), np.asarray(c[0])
    after, _ = jax.jit(lambda e: unroll(task, opt, e, 4, lambda *_: ()))(episode)
    z = c * np.asarray(episode.params[0])
    for _ in range(4):
        z = z - 0.01 * c**2 * (W.T @ (W @ z - y))
    np.testing.assert_allclose(c * after.params[0], z, rtol=1e-11)


def test_start_and_metrics_are_those_of_the_task_at_c_times_params(scaled_parts):
    problem, x, value, _, found = scaled_parts
    inner, c = problem.instance
    z = TASK.init(inner, KEY)
    np.testing.assert_allclose(x * c, z, rtol=1e-12)
    assert float(value) == pytest.approx(float(TASK.loss(z, inner, (), KEY)), rel=1e-12)
    for name, expected in jax.jit(TASK.metrics)(z, inner, (), KEY).items():
        assert float(found[name]) == pytest.approx(float(expected), rel=1e-9), name


def test_log_scales_are_uniform_and_each_coordinate_has_its_own():
    task = Scaled(Classify(pictures(), MLP(hidden=(40,))), 2.0)
    _, c = eqx.filter_jit(lambda task, key: task.sample(key))(task, KEY)
    logs = np.log(np.concatenate([leaf.ravel() for leaf in jtu.tree_leaves(c)]))
    assert len(logs) == 36 * 40 + 40 + 40 * 3 + 3 == len(np.unique(logs))
    assert np.abs(logs).max() <= 2.0
    # U(−2, 2) has mean 0, variance 4/3 and fourth moment 16/5; four standard errors
    error = 4 / np.sqrt(len(logs))
    assert abs(logs.mean()) < error * np.sqrt(4 / 3)
    assert abs((logs**2).mean() - 4 / 3) < error * np.sqrt(16 / 5 - 16 / 9)


def test_a_spread_of_zero_changes_nothing():
    instance = Scaled(TASK, 0.0).sample(KEY)
    np.testing.assert_array_equal(instance[1], 1.0)


def test_the_bowl_adds_its_mean_square_and_the_metrics_stay():
    problem, (x, psi), value, (g, slope), found = parts(WithBowl(TASK, 5))
    W, y, v = system(problem)
    assert v.shape == psi.shape == (5,)
    r = W @ np.asarray(x[0]) - y
    assert float(value) == pytest.approx(r @ r / 2 + np.mean((psi - v) ** 2))
    np.testing.assert_allclose(g[0], W.T @ r, rtol=1e-12)
    np.testing.assert_allclose(slope, 2 / 5 * (psi - v), rtol=1e-12)
    assert float(found.pop("plain_loss")) == pytest.approx(r @ r / 2)
    for name, expected in jax.jit(TASK.metrics)(x, problem.instance[0], (), KEY).items():
        assert float(found[name]) == pytest.approx(float(expected), rel=1e-9), name


@pytest.mark.parametrize("wrap", [scaled, functools.partial(with_bowl, n=4)])
def test_a_wrapped_predictive_task_still_tells_its_halves(wrap):
    """Here Gauss–Newton would need them: criterion(outputs) is the loss, convex in the outputs."""
    task = wrap(Classify(pictures(), MLP(hidden=()), batch_size=8))

    @jax.jit
    def compare(key):
        instance = task.sample(key)
        problem = Problem(task, instance, task.batch(instance, key), key)
        params, surface = task.init(instance, key), problem.surface()
        assert isinstance(surface, Composed)
        outputs = surface.inner(params)
        moved = jtu.tree_map(lambda leaf: leaf + 1.0, outputs)
        middle = jtu.tree_map(lambda a, b: (a + b) / 2, outputs, moved)
        ends = [surface.outer(z) for z in (outputs, moved)]
        return problem.value(params), ends[0], sum(ends) / 2 - surface.outer(middle)

    value, composed, gap = compare(KEY)
    assert float(value) == pytest.approx(float(composed), rel=1e-14)
    assert float(gap) >= -1e-12


def test_functions_choose_the_class():
    predictive = Classify(pictures(), MLP(hidden=()))
    kinds = [type(wrap(task)) for wrap in (scaled, with_bowl) for task in (TASK, predictive)]
    assert kinds == [Scaled, ScaledPredictive, WithBowl, WithBowlPredictive]


def test_wrappers_nest():
    task = scaled(with_bowl(TASK, 2), 1.0)
    instance = task.sample(KEY)
    (_, v), (_, c) = instance
    x, psi = task.init(instance, KEY)
    assert x.shape == (1, 3) and psi.shape == v.shape == c.shape == (2,)
    assert set(task.metrics((x, psi), instance, (), KEY)) == {"gap", "relative_gap", "plain_loss"}


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Scaled(TASK, -1.0), ValueError, r"spread must be a number from 0 up, got -1\.0"),
        (lambda: with_bowl(TASK, 0), ValueError, "WithBowl: n must be at least 1, got 0"),
        (
            lambda: ScaledPredictive(TASK),
            TypeError,
            "Quadratic does not tell .* use `scaled",
        ),
        (lambda: WithBowlPredictive(TASK), TypeError, "Quadratic does not tell"),
    ],
)
def test_mistakes_are_explained(make, error, words):
    with pytest.raises(error, match=words):
        make()
