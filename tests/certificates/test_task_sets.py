"""Sets of tasks: each taken once, one of each cluster, none twice, none that was trained on."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import steppe
from steppe.certificates.certify import certify
from steppe.certificates.episodes import Episodes
from steppe.certificates.runs import FixedPoint

WAY = {"steps": 60, "tolerances": [1e-3], "levels": [0.9], "n": 60, "delta": 0.1}


def test_of_a_set_each_task_is_taken_once():
    tasks = jnp.linspace(1.0, 9.0, 40)
    run = FixedPoint(tasks, lambda a: jnp.ones(()), lambda z, a: z - 0.1 * a * z)
    assert run.population == 40
    first = run.run(0, range(40), 1).errors[:, 0]
    assert np.allclose(np.sort(first), 0.1 * np.asarray(tasks))
    assert any("a set of 40" in w for w in certify(run, **WAY | {"n": 40}).warnings)
    with pytest.raises(ValueError, match="There are 40 tasks and 60 are needed"):
        certify(run, **WAY)


def test_of_dependent_tasks_one_of_each_cluster():
    tasks, clusters = jnp.arange(1.0, 31.0) / 10, np.repeat(np.arange(6), 5)
    run = FixedPoint(tasks, lambda a: jnp.ones(()), lambda z, a: z - 0.1 * a * z, clusters=clusters)
    assert run.population == 6
    drawn = []
    for seed in range(20):
        a = run.run(seed, range(6), 1).errors[:, 0] * 10
        groups = np.round(a * 10).astype(int)
        assert sorted((groups - 1) // 5) == list(range(6))
        drawn.append(tuple(groups))
    assert len(set(drawn)) > 15


def test_equal_tasks_are_refused_unless_they_may_be():
    sample = lambda key: jr.randint(key, (), 1, 4).astype(jnp.float32)
    run = FixedPoint(sample, lambda a: jnp.ones(()), lambda z, a: z - 0.1 * a * z)
    with pytest.raises(ValueError, match="tasks are equal to another"):
        certify(run, **WAY)
    assert certify(run, **WAY, repeats=True).n == 60


def test_tasks_that_were_trained_on_are_refused():
    tasks = jnp.linspace(1.0, 2.0, 80)
    make = lambda tasks, seen: FixedPoint(
        tasks, lambda a: jnp.ones(()), lambda z, a: z - 0.1 * a * z, trained_on=seen
    )
    apart = make(tasks[:60], tasks[60:])
    assert certify(apart, **WAY).claims == certify(make(tasks[:60], None), **WAY).claims
    with pytest.raises(ValueError, match="3 of 23 tasks that the optimizer was trained on are"):
        make(tasks[:60], tasks[57:])
    with pytest.raises(ValueError, match="same structure"):
        make(tasks[:60], (tasks[60:],))
    with pytest.raises(ValueError, match="drawn from keys are fresh"):
        make(lambda key: jr.uniform(key), tasks)
    keys = jr.split(jr.key(0), 9)
    with pytest.raises(ValueError, match="1 of 5 tasks"):
        Episodes(steppe.Quadratic(), optax.sgd(0.1), tasks=keys[:5], trained_on=keys[4:])
