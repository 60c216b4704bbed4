"""Wells: two minima of depth 0 with the curvatures named, a saddle between, chances even."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.core.task import Problem
from steppe.store.describe import describe, rebuild
from steppe.tasks import Wells
from steppe.tasks.synthetic.wells import Minima

TASKS = [Wells(n=2), Wells(n=5, wide=0.5, narrow=40.0, distance=3.0)]


@eqx.filter_jit
def instances(task, key, count=1000):
    """Minima and starts, with a leading axis."""

    def one(key):
        key_sample, key_init = jr.split(key)
        instance = task.sample(key_sample)
        return instance, task.init(instance, key_init)

    return jax.vmap(one)(jr.split(key, count))


@eqx.filter_jit
def look(task, instance, x):
    """Value, gradient, Hessian."""
    f = Problem(task, instance, (), jr.key(0)).value
    return f(x), jax.grad(f)(x), jax.hessian(f)(x)


@pytest.mark.parametrize("task", TASKS, ids=["plane", "five"])
def test_both_minima_are_zero_and_have_the_curvatures_named(task, getkey):
    instance = task.sample(getkey())
    for place, curvature in ((instance.wide, task.wide), (instance.narrow, task.narrow)):
        value, slope, H = look(task, instance, place)
        assert value == 0 and not np.any(slope)
        np.testing.assert_allclose(H, curvature * np.eye(task.n), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("task", TASKS, ids=["plane", "five"])
def test_the_saddle_is_one_and_as_high_as_stated(task, getkey):
    instance = task.sample(getkey())
    value, slope, H = look(task, instance, task.saddle(instance))
    height = task.wide * task.distance**2 / (2 * (1 + (task.wide / task.narrow) ** (1 / 3)) ** 3)
    assert value == pytest.approx(height, rel=1e-12)
    np.testing.assert_allclose(slope, 0, atol=1e-12)
    assert np.sum(np.linalg.eigvalsh(H) < 0) == 1


def test_the_loss_lies_between_half_the_lower_bowl_and_the_lower_bowl(getkey):
    task = TASKS[1]
    instance = task.sample(getkey())
    for x in 3 * jr.normal(getkey(), (50, 5)):
        low = min(
            task.wide / 2 * np.sum((x - instance.wide) ** 2),
            task.narrow / 2 * np.sum((x - instance.narrow) ** 2),
        )
        assert low / 2 <= look(task, instance, x)[0] <= low


@pytest.mark.parametrize("n", [1, 2, 10])
def test_about_half_of_all_starts_descend_into_either_well(n, getkey):
    task = Wells(n=n)

    @eqx.filter_jit
    def descend(instance, x):
        slope = Problem(task, instance, (), jr.key(0)).grad
        x = jax.lax.fori_loop(0, 300, lambda _, x: x - 0.02 * slope(x), x)
        return x, task.metrics(x, instance, (), jr.key(0))["wide"]

    minima, starts = instances(task, getkey())
    ends, wide = jax.vmap(descend)(minima, starts)
    reached = jnp.where((wide == 1)[:, None], minima.wide, minima.narrow)
    assert jnp.max(jnp.linalg.norm(ends - reached, axis=1)) < 0.1 * task.distance
    assert 0.4 < wide.mean() < 0.65


def test_nothing_tells_where_the_wide_well_lies(getkey):
    task = Wells(n=3)
    minima, _ = instances(task, getkey())
    way = np.asarray(minima.wide - minima.narrow)
    np.testing.assert_allclose(np.linalg.norm(way, axis=1), task.distance, rtol=1e-12)
    assert np.all(np.abs(way.mean(0)) < 4 * task.distance / np.sqrt(3 * 1000))


def test_starts_lie_on_a_sphere_around_the_saddle(getkey):
    task = Wells(n=3, spread=0.5)
    minima, starts = instances(task, getkey())
    saddles = jax.vmap(task.saddle)(minima)
    radius = jnp.linalg.norm(saddles - minima.narrow, axis=1) / 2
    np.testing.assert_allclose(jnp.linalg.norm(starts - saddles, axis=1), radius, rtol=1e-12)


def test_wide_is_one_in_the_wide_well_zero_in_the_narrow_and_nan_where_x_is(getkey):
    task, instance = Wells(n=2), Minima(jnp.ones(2), jnp.zeros(2))
    metric = lambda x: float(task.metrics(x, instance, (), jr.key(0))["wide"])
    assert metric(instance.wide) == 1 and metric(instance.narrow) == 0
    assert np.isnan(metric(jnp.array([jnp.nan, 0.0])))


def test_a_description_rebuilds_the_task():
    assert rebuild(describe(TASKS[1]), {"Wells": Wells}) == TASKS[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n": 0}, "n must be at least 1, got 0"),
        ({"wide": 20.0}, r"wide=20.0 and narrow=16.0, expected 0 < wide < narrow"),
        ({"wide": 0.0}, "expected 0 < wide < narrow"),
        ({"narrow": float("nan")}, "expected 0 < wide < narrow"),
        ({"distance": 0.0}, "distance must be positive, got 0.0"),
        ({"spread": 1.0}, r"spread must be in \[0, 1\), got 1.0"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        Wells(**arguments)
