"""Strategies of evosax: a run is the one that evosax makes by hand."""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.core.rollout import rollout
from steppe.core.task import Problem
from steppe.optimizers.classic.from_evosax import STRATEGIES, FromEvosax
from steppe.tasks.suite import build

TASK = build("rastrigin-shifted", particles=6)


def by_hand(name, hyper, instance, x, key):
    """Places of three generations, told and asked one after the other."""
    algorithms = pytest.importorskip("evosax.algorithms").algorithms
    strategy = algorithms[name](6, jnp.zeros(2))
    params = strategy.default_params.replace(**hyper)
    values = lambda x: Problem(TASK, instance, (), jr.key(0)).loss().each(x[:, None])
    key_inside, key = jr.split(key)
    started = name in ("LGA", "PSO")
    state = None if started else strategy.init(key_inside, x.mean(0), params)
    path = [x]
    for _ in range(3):
        key, key_tell, key_ask = jr.split(key, 3)
        if state is None:
            state = strategy.init(key_tell, x, values(x), params)
        else:
            state, _ = strategy.tell(key_tell, x, values(x), state, params)
        x, state = strategy.ask(key_ask, state, params)
        path.append(x)
    return np.stack(path)


@pytest.mark.parametrize(
    ("name", "hyper"), [("CMA_ES", {"std_init": 0.7}), ("PSO", {"inertia_coeff": 0.6})]
)
def test_a_run_is_that_of_evosax(name, hyper):
    opt, key = FromEvosax(name, **hyper), jr.key(1)
    observe = lambda step: step.before.params
    with jax.numpy_rank_promotion("allow"):
        run = jax.jit(lambda key: rollout(TASK, opt, key, 4, lambda e: e.instance, observe=observe))
        found = run(key)
        path = np.asarray(found.steps)[:, :, 0]
        expected = by_hand(name, hyper, found.looks, jnp.asarray(path[0]), jr.split(key, 4)[2])
    np.testing.assert_allclose(path, expected, rtol=0, atol=1e-10)
    assert opt.gradients_per_step == 0


def test_every_name_of_the_table_is_one_of_evosax_with_these_numbers():
    algorithms = pytest.importorskip("evosax.algorithms").algorithms
    for name, numbers in STRATEGIES.items():
        with jax.numpy_rank_promotion("allow"):
            made = algorithms[name](6, jnp.zeros(2)).default_params
        assert all(np.ndim(getattr(made, number)) == 0 for number in numbers), name


def test_without_evosax_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "evosax.algorithms", None)
    opt = FromEvosax("CMA_ES", std_init=1.0)
    with pytest.raises(ImportError, match=r'needs evosax.* pip install "steppe\[swarm\]"'):
        opt.init(jnp.ones((3, 2)), key=jr.key(0))


@pytest.mark.parametrize(
    ("name", "hyper", "words"),
    [
        ("CMAES", {"std_init": 1.0}, r"no strategy 'CMAES'; did you mean 'CMA_ES'\?"),
        ("os", {"std_init": 1.0}, "no strategy 'os'"),
        ("CMA_ES", {}, r"CMA_ES was given no number; give std_init=1\.0"),
        ("CMA_ES", {"std": 1.0}, "CMA_ES has no number 'std'; use one of std_init"),
        ("CMA_ES", {"std_init": "wide"}, "std_init must be a finite number, got 'wide'"),
    ],
)
def test_wrong_arguments_are_refused(name, hyper, words):
    with pytest.raises(ValueError, match=words):
        FromEvosax(name, **hyper)


def test_a_key_is_asked_for():
    opt = FromEvosax("CMA_ES", std_init=1.0)
    with pytest.raises(ValueError, match="FromEvosax draws random numbers"):
        opt.init(jnp.ones((3, 2)))
    assert eqx.is_array(opt.hyper["std_init"])
