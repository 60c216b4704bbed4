"""Flattened: f + β R, and nothing else changes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.core.task import draw
from steppe.flatness.entropy.variational import Smoothed
from steppe.flatness.gradient import GradNorm
from steppe.flatness.hessian import HessianTrace
from steppe.tasks.synthetic.quadratic import Quadratic
from steppe.tasks.wrappers.flattened import Flattened

TASK = Quadratic(3)
KEY = jr.key(0)


def at(task):
    instance = TASK.sample(KEY)
    problem = draw(task, instance, KEY, split="train")
    return problem, TASK.init(instance, KEY)


def hessian(instance):
    W = np.asarray(instance.W[0])
    return W.T @ W


def test_the_gradient_is_that_of_the_sum():
    """∇(f + β‖∇f‖²) = (I + 2βH) ∇f on a quadratic."""
    problem, x = at(Flattened(TASK, GradNorm(), 0.3))
    H = hessian(problem.instance)
    g = np.asarray(at(TASK)[0].grad(x))[0]
    np.testing.assert_allclose(problem.grad(x)[0], g + 0.6 * H @ g, rtol=1e-12)
    assert float(problem.value(x)) == pytest.approx(float(at(TASK)[0].value(x)) + 0.3 * g @ g)


def test_probes_are_new_for_every_key_and_the_mean_is_the_trace():
    task = Flattened(TASK, HessianTrace(), 2.0)
    problem, x = at(task)
    loss = lambda key: task.loss(problem.instance, (), key)(x)
    values = np.asarray(jax.jit(jax.vmap(loss))(jr.split(KEY, 2000)))
    expected = float(at(TASK)[0].value(x)) + 2.0 * np.trace(hessian(problem.instance))
    error = values.std(ddof=1) / np.sqrt(len(values))
    assert error > 0 and abs(values.mean() - expected) < 4 * error


def test_metrics_are_those_of_the_task_and_its_plain_loss():
    problem, x = at(Flattened(TASK, Smoothed(1.0), 5.0))
    plain, _ = at(TASK)
    found = problem.task.metrics(x, problem.instance, (), KEY)
    assert float(found.pop("plain_loss")) == float(plain.value(x))
    assert eqx.tree_equal(found, TASK.metrics(x, plain.instance, (), KEY))


def test_a_grid_of_beta_is_one_vmap():
    grid = jnp.array([0.0, 0.5, 2.0])
    values = jax.vmap(lambda beta: at(Flattened(TASK, GradNorm(), beta))[0].value(at(TASK)[1]))(
        grid
    )
    np.testing.assert_allclose(np.diff(values) / np.diff(grid), (values[1] - values[0]) / 0.5)


def test_a_measure_that_is_a_class_is_refused():
    with pytest.raises(TypeError, match=r"expected an object such as `HessianTrace\(probes=1\)`"):
        Flattened(TASK, HessianTrace, 0.1)
