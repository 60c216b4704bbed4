"""Shipped optimizers are held to what optax asks of contributed ones.

Facts are those of `optax/contrib/_common_test.py`: extra arguments, no second compilation, dtypes,
states that keep their types, and plain problems solved within 30 000 steps.
"""

import functools

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import optax
import pytest

import steppe
from steppe.studies.guard.guard import SHIPPED
from steppe.studies.guard.suite import STEPS, miss, problems
from steppe.testing import check_optax
from steppe.zoo.registry import PRETRAINED

load = functools.cache(steppe.load)
DTYPES = (jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64)
GUARDS = {"alone": None, "guarded": True}


def types(x):
    """Dtypes, shapes and weak types: what a jitted function is compiled for."""
    return jtu.tree_map(lambda leaf: (leaf.shape, leaf.dtype, getattr(leaf, "weak_type", False)), x)


def test_the_study_is_of_all_that_are_shipped():
    assert sorted(SHIPPED) == sorted(PRETRAINED)


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("name", SHIPPED)
def test_states_and_updates_keep_their_types_so_that_a_step_compiles_once(name, guard):
    """With keywords nobody knows, a value in half precision, and in one branch of a `cond`."""
    tx = steppe.to_optax(load(name), guard=GUARDS[guard])
    start = problems()["mixed tensors"].start

    def step(grads, state, params, value):
        known = lambda: tx.update(grads, state, params, value=value, surely_unknown=1)
        return jax.lax.cond(value > 0, known, lambda: (params, state))

    for dtype in DTYPES:
        params = jtu.tree_map(lambda p, d=dtype: p.astype(d), start)
        half = jnp.ones((), jnp.bfloat16 if dtype == jnp.float16 else jnp.float16)
        state = jax.eval_shape(tx.init, params)
        updates, after = jax.eval_shape(step, params, state, params, half)
        assert types(updates) == types(params), dtype
        assert types(after) == types(state), dtype


@pytest.mark.parametrize("guard", GUARDS)
def test_states_are_told_apart_from_parameters_by_optax(guard):
    """Adam's moments are like the parameters, an LSTM's are not: optax may map the former."""
    tx = steppe.to_optax(load("rnnprop-v1"), guard=GUARDS[guard])
    state = tx.init(problems()["mixed tensors"].start)
    same = optax.tree.map_params(tx, lambda leaf: leaf, state)
    assert types(same) == types(state)


def test_a_guard_leads_on_where_a_shipped_optimizer_stands_still():
    """Alone, rnnprop-flat-v1 stays at 6.6 tolerances from the minimum."""
    away, dismissals = miss(load("rnnprop-flat-v1"), problems()["rosenbrock"], True, 3000)
    assert away < 0.5 and dismissals > 0


@pytest.mark.slow
@pytest.mark.parametrize("problem", problems())
@pytest.mark.parametrize("name", SHIPPED)
def test_guarded_it_comes_to_the_minimum(name, problem):
    assert miss(load(name), problems()[problem], True, STEPS)[0] <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_conforms_to_optax(name):
    check_optax(load(name))
