"""A population: each particle is the task itself, its metrics are those of the best one."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.core.loss import Stacked
from steppe.core.rollout import rollout
from steppe.core.task import Problem
from steppe.optimizers.classic.from_optax import momentum
from steppe.tasks.suite import build
from steppe.tasks.wrappers.population import Population, best
from tests.tasks.ellipse import D, Ellipse

KEY, OTHER = jr.key(0), jr.key(1)
TASK = Population(Ellipse(), 5)
D2 = np.square(D)


def test_values_gradients_and_metrics_are_those_of_particles_alone():
    @jax.jit
    def look(key):
        instance = TASK.sample(key)
        problem, x = Problem(TASK, instance, (), KEY), TASK.init(instance, OTHER)
        value, g = problem.value_and_grad(x)
        assert isinstance(problem.loss(), Stacked)
        return instance, x, value, g, problem.loss().each(x), TASK.metrics(x, instance, (), KEY)

    a, x, value, g, each, found = jax.device_get(look(KEY))
    assert x.shape == (5, 3) and len(np.unique(x)) == 15
    f = np.sum(D2 * (x - a) ** 2, -1) / 2
    np.testing.assert_allclose(each, f, rtol=1e-12)
    assert value == pytest.approx(f.sum(), rel=1e-12)
    np.testing.assert_allclose(g, D2 * (x - a), rtol=1e-12)
    assert set(found) == {"first", "best", "mean", "median"}
    expected = [x[f.argmin(), 0], f.min(), f.mean(), np.sort(f)[2]]
    names = ("first", "best", "mean", "median")
    np.testing.assert_allclose([found[name] for name in names], expected, rtol=1e-12)


def test_an_optimizer_that_knows_nothing_of_particles_starts_several_times():
    opt = momentum(0.03)

    @jax.jit
    def end(key):
        return rollout(TASK, opt, key, 5, lambda end: (end.instance, end.params)).looks

    (a, together), (_, other) = end(KEY), end(OTHER)
    assert not np.allclose(together, other)
    start = jax.jit(lambda key: rollout(TASK, opt, key, 0, lambda e: e.params).looks)(KEY)
    z, m = np.asarray(start), 0.0
    for _ in range(5):
        m = 0.9 * m + D2 * (z - np.asarray(a))
        z = z - 0.03 * m
    np.testing.assert_allclose(together, z, rtol=1e-12)


def test_a_particle_that_is_lost_is_not_the_best_and_is_not_hidden():
    values = jnp.array([3.0, jnp.nan, 2.0, jnp.inf])
    assert int(best(values)) == 2
    x = jnp.full((5, 3), jnp.nan).at[3].set(1.0)
    found = TASK.metrics(x, jnp.zeros(3), (), KEY)
    assert float(found["best"]) == pytest.approx(np.sum(D2) / 2)
    assert np.isnan(found["mean"])
    assert np.isnan(TASK.metrics(jnp.nan * x, jnp.zeros(3), (), KEY)["best"])


def test_all_particles_are_at_the_target_where_it_is_known():
    task = build("rastrigin-shifted", particles=3)
    instance = task.sample(KEY)
    target = task.target(instance)
    assert target.shape == (3, 1, 2)
    assert float(task.loss(instance, (), KEY)(target)) == pytest.approx(0, abs=1e-12)
    assert build("rastrigin", particles=3).target(()) is None


def test_named_tasks_come_as_populations():
    task = build("quadratic-dm", particles=2, n=3)
    assert task == Population(build("quadratic-dm", n=3), 2)
    for wrong in (0, 1.5, "4"):
        with pytest.raises(ValueError, match="Population: particles must be"):
            build("quadratic", particles=wrong)
