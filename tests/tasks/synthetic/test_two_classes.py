"""TwoClasses: rows come from their law, belong to their split, and are the same when read again."""

import math

import jax
import jax.random as jr
import numpy as np
import pytest

from steppe.core.loss import Composed
from steppe.core.task import Problem
from steppe.tasks.networks import MLP
from steppe.tasks.synthetic.two_classes import TwoClasses

ROWS = 2000
TASKS = {
    "clouds": TwoClasses(features=3, separation=3.0, rows=ROWS, batch_size=5),
    "teacher": TwoClasses(MLP((4,)), features=3, data="teacher", rows=ROWS, batch_size=5),
}

SAMPLE = jax.jit(TASKS["clouds"].sample)


@pytest.fixture(scope="module")
def seen():
    """Of each law: the instance, train and test in whole, a batch. One program."""

    def one(task, key):
        instance = task.sample(key)
        sets = [task.full_batch(instance, split=split) for split in ("train", "test")]
        return instance, *sets, task.batch(instance, key)

    every = jax.jit(lambda key: {name: one(task, key) for name, task in TASKS.items()})
    return jax.tree.map(np.asarray, every(jr.key(2)))


def test_clouds_have_their_middles_unit_covariance_and_both_classes(seen):
    instance, (x, y), _, _ = seen["clouds"]
    u = instance.A[:, 0]
    assert np.linalg.norm(u) == pytest.approx(1) and np.bincount(y).tolist() == [1000, 1000]
    for label, middle in ((0, -1.5 * u), (1, 1.5 * u)):
        cloud = x[y == label]
        np.testing.assert_allclose(cloud.mean(0), middle, atol=4 / np.sqrt(1000))
        np.testing.assert_allclose(np.cov(cloud.T), np.eye(3), atol=4 * np.sqrt(2 / 1000))


def test_the_best_linear_rule_is_as_accurate_as_stated(seen):
    """Φ(separation / 2), by the rule 1 where uᵀx > 0: logits (0, uᵀx)."""
    task = TASKS["clouds"]
    instance, (x, y), _, _ = seen["clouds"]
    w = np.stack([0 * instance.A[:, 0], instance.A[:, 0]], axis=1)
    params = ({"w": w, "b": np.zeros(2)},)
    task_says = jax.jit(
        lambda params: (
            task.loss(instance, (x, y), jr.key(0))(params),
            task.metrics(params, instance, (x, y), jr.key(0))["accuracy"],
        )
    )
    loss, found = map(float, task_says(params))
    best = 0.5 * (1 + math.erf(1.5 / math.sqrt(2)))
    assert found == pytest.approx(best, abs=4 * np.sqrt(best * (1 - best) / ROWS))
    logits = np.stack([0 * x[:, 0], x @ instance.A[:, 0]], axis=1)
    expected = np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(ROWS), y])
    assert loss == pytest.approx(expected)


def test_labels_are_those_of_the_teacher_about_half_and_half(seen):
    instance, (x, y), _, _ = seen["teacher"]
    np.testing.assert_array_equal(y, np.tanh(x @ instance.A).sum(1) > 0)
    assert instance.A.shape == (3, 20)
    assert y.mean() == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / ROWS))
    np.testing.assert_allclose(np.cov(x.T), np.eye(3), atol=4 * np.sqrt(2 / ROWS))


@pytest.mark.parametrize("name", TASKS)
def test_a_batch_holds_rows_of_its_split_with_their_labels(name, seen):
    _, (x, y), (x_test, _), (x_batch, y_batch) = seen[name]
    assert x_batch.shape == (5, 3)
    for row, label in zip(x_batch, y_batch, strict=True):
        (i,) = np.flatnonzero(np.all(np.abs(x - row) < 1e-12, axis=1))
        assert y[i] == label
        assert not np.any(np.all(np.abs(x_test - row) < 1e-12, axis=1))


def test_instances_differ_in_law_and_rows(getkey):
    one, other = (SAMPLE(getkey()) for _ in range(2))
    assert one.seed != other.seed and not np.array_equal(one.A, other.A)


def test_the_surface_tells_its_halves(seen):
    instance, rows, _, _ = seen["clouds"]
    surface = Problem(TASKS["clouds"], instance, rows, jr.key(0)).loss()
    assert isinstance(surface, Composed)
    assert jax.eval_shape(surface.inner, ({"w": np.ones((3, 2)), "b": np.ones(2)},)).shape == (
        ROWS, 2,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"data": "spirals"}, "data must be one of clouds, teacher, got 'spirals'"),
        ({"rows": 0}, "rows must be at least 1, got 0"),
        ({"separation": -1.0}, "separation must not be negative, got -1.0"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        TwoClasses(**arguments)
