"""Whole: its gradient against finite differences, and what its episodes have in common."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from steppe.core.optimizer import join_meta, split_meta
from steppe.estimators.whole import Whole
from steppe.objectives.supervised import Supervised
from steppe.optimizers.unrolled.coupled import ALISTA
from steppe.tasks.inverse.recovery import SparseRecovery

TASK = SparseRecovery(rows=4, n=6, density=0.4, seed=0)
OPT = ALISTA.from_task(TASK, layers=3, p=0.0)
KEY = jr.key(3)


@eqx.filter_jit
def estimate(whole, opt, task=TASK, key=KEY):
    return whole(task, opt, (), Supervised(), key=key)


def shifted(by, layer):
    return eqx.tree_at(lambda o: o.steps, OPT, OPT.steps.at[layer].add(by))


def test_the_gradient_is_that_of_the_mean():
    whole = Whole(5, 3)
    grads, _, stats = estimate(whole, OPT)
    for layer in range(3):
        up, down = (float(estimate(whole, shifted(e, layer))[2].loss) for e in (1e-5, -1e-5))
        assert float(grads.steps[layer]) == pytest.approx((up - down) / 2e-5, rel=1e-6)
    assert int(stats.nonfinite) == 0 and int(stats.inner_steps) == 15


def test_a_horizon_ends_episodes_early_without_another_compilation():
    whole, traces = Whole(5, 3, 3), []

    @jax.jit
    def at(horizon):
        traces.append(1)
        return estimate(eqx.tree_at(lambda w: w.horizon, whole, horizon), OPT)

    grads, _, stats = at(jnp.asarray(2, jnp.int32))
    short, _, same = estimate(Whole(5, 2), OPT)
    np.testing.assert_allclose(stats.loss, same.loss, rtol=1e-12)
    np.testing.assert_allclose(grads.steps, short.steps, rtol=1e-12, atol=1e-15)
    assert float(grads.steps[2]) == 0 and int(stats.inner_steps) == 10
    assert float(at(jnp.asarray(3, jnp.int32))[2].loss) != float(same.loss)
    assert len(traces) == 1


def products(jaxpr):
    """Dimension numbers of all matrix products, also those in loops and branches."""
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            yield eqn.params["dimension_numbers"], [v.aval.shape for v in eqn.invars]
        for inner in jaxprs_in_params(eqn.params):
            yield from products(inner)


def test_all_episodes_are_multiplied_by_a_matrix_at_once():
    theta, rest = split_meta(OPT)
    run = lambda theta: Whole(5, 3)(TASK, join_meta(theta, rest), (), Supervised(), key=KEY)[0]
    found = [x for x in products(jax.make_jaxpr(run)(theta).jaxpr) if {4, 6} <= {*sum(x[1], ())}]
    assert found and all(batch == ((), ()) for (_, batch), _ in found)
    assert not any(shape in ((5, 4, 6), (5, 6, 4)) for _, shapes in found for shape in shapes)


def test_episodes_that_are_not_finite_are_counted():
    opt = eqx.tree_at(lambda o: o.steps, OPT, OPT.steps.at[1].set(jnp.nan))
    _, _, stats = estimate(Whole(5, 3), opt)
    assert int(stats.nonfinite) == int(stats.episodes) == 5 and np.isnan(stats.loss)


def test_bad_input_gets_a_sentence():
    with pytest.raises(ValueError, match="Whole: length must be at least 1, got 0"):
        Whole(4, 0)
    with pytest.raises(ValueError, match="the horizon is at most the length, 3 steps, got 4"):
        Whole(4, 3, 4)
