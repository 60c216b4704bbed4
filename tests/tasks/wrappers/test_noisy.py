"""Noisy: gradients are disturbed by the law stated, values and metrics are not."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.tasks.synthetic.quadratic import Bowl
from steppe.tasks.wrappers.combined import Sum
from steppe.tasks.wrappers.noisy import Noisy

BASE = Sum((Bowl(5.0), Bowl(2.0)))  # params ((2,), (2,)); gradients (5x, y), (2x, y)
X = (jnp.array([0.3, -0.7]), jnp.array([1.0, 2.0]))
CALM = np.array([1.5, -0.7, 2.0, 2.0])
COUNT = 4000


TASKS = {
    "plain": Noisy(BASE),
    "noisy": Noisy(BASE, deviation=2.0),
    "masked": Noisy(BASE, zero=0.9),
    "both": Noisy(BASE, deviation=1.0, zero=0.9),
}


@pytest.fixture(scope="module")
def seen():
    """Of each task: value and gradient (one vector) at X, for many keys. One program."""

    def one(task, key):
        value, grads = jax.value_and_grad(task.loss(((), ()), ((), ()), key))(X)
        return value, jnp.concatenate(grads)

    @jax.jit
    def everything(keys):
        return {
            name: jax.vmap(lambda key, task=task: one(task, key))(keys)
            for name, task in TASKS.items()
        }

    return jax.tree.map(np.asarray, everything(jr.split(jr.key(1), COUNT)))


@pytest.mark.parametrize("name", TASKS)
def test_values_are_exact(name, seen):
    x, y, u, v = np.concatenate(X)
    f = (5 * x**2 + y**2) / 2 + (2 * u**2 + v**2) / 2
    np.testing.assert_allclose(seen[name][0], f, rtol=1e-15)


def test_noise_has_mean_zero_the_deviation_named_and_no_correlation(seen):
    xi = (seen["noisy"][1] - CALM) / 2.0
    np.testing.assert_allclose(xi.mean(0), 0, atol=4 / np.sqrt(COUNT))
    np.testing.assert_allclose(xi.T @ xi / COUNT, np.eye(4), atol=4 * np.sqrt(2 / COUNT))


def test_coordinates_are_kept_with_the_probability_named_and_unchanged(seen):
    g = seen["masked"][1]
    kept = g != 0
    np.testing.assert_allclose(g[kept], np.broadcast_to(CALM, g.shape)[kept], rtol=1e-12)
    np.testing.assert_allclose(kept.mean(0), 0.1, atol=4 * np.sqrt(0.09 / COUNT))
    together = (kept[:, 0] & kept[:, 2]).mean()  # leaves are masked independently
    assert together == pytest.approx(0.01, abs=4 * np.sqrt(0.01 / COUNT))


def test_noise_is_masked_too(seen):
    g = seen["both"][1]
    kept = g != 0
    assert np.mean(kept) == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / g.size))
    xi = (g - CALM)[kept]
    assert xi.std() == pytest.approx(1.0, rel=4 * np.sqrt(1 / 2 / xi.size))


def test_without_noise_and_mask_it_is_the_task(seen):
    np.testing.assert_allclose(seen["plain"][1], np.tile(CALM, (COUNT, 1)), rtol=1e-12)


def test_second_derivatives_are_those_of_the_task():
    task = Noisy(Bowl(5.0), 1.0)
    H = jax.jit(jax.hessian(lambda x: task.loss((), (), jr.key(3))(x)))(X[0])
    np.testing.assert_allclose(H, np.diag([5.0, 1.0]), atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"deviation": -1.0}, "deviation must not be negative, got -1.0"),
        ({"zero": 1.0}, r"zero is 1.0, expected a probability in \[0, 1\)"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        Noisy(Bowl(), **arguments)
