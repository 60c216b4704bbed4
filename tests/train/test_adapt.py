"""Adaptation: a few updates of θ on other problems, and validation that judges after them."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from steppe.core.optimizer import AbstractOptimizer
from steppe.core.task import AbstractTask
from steppe.estimators.bptt import BPTT
from steppe.objectives.trajectory import Trajectory
from steppe.optimizers.classic.from_optax import sgd
from steppe.train import mesh as meshes
from steppe.train.adapt import Adapter, OneInstance
from steppe.train.validate import Validation
from tests.train.hill import Hill
from tests.train.springs import Springs

ONE_STEP = BPTT(2, 1, 1, stagger=False)
LAST = Trajectory(weights="last", transform="identity")


@eqx.filter_jit
def path(adapter: Adapter, task: AbstractTask, opt, key):
    return adapter.path(task, opt, LAST, key=key)


@eqx.filter_jit
def score(validation: Validation, task, opt, key):
    return validation.score(task, opt, key, None, LAST)


def rate_of(theta):
    return np.asarray(theta.hyper["learning_rate"])


def test_plain_descent_on_a_step_size_has_the_closed_form(getkey):
    # Hill has n = 2, so J = (1 − a)² and 1 − a_k = (1 − 2r)ᵏ (1 − a_0).
    thetas, stats = path(Adapter(ONE_STEP, 3, 0.1, "sgd"), Hill(), sgd(0.3), getkey())
    left = 0.7 * 0.8 ** np.arange(4)
    np.testing.assert_allclose(rate_of(thetas), 1 - left, rtol=1e-12)
    np.testing.assert_allclose(stats.loss, left[:3] ** 2, rtol=1e-12)


def test_adam_is_optax_adam_on_the_same_gradients(getkey):
    thetas, _ = path(Adapter(ONE_STEP, 3, 0.1, "adam"), Hill(), sgd(0.3), getkey())
    tx, a, found = optax.adam(0.1), jnp.asarray(0.3), [0.3]
    state = tx.init(a)
    for _ in range(3):
        step, state = tx.update(-2 * (1 - a), state)
        a = a + step  # pyright: ignore
        found.append(float(a))
    np.testing.assert_allclose(rate_of(thetas), found, rtol=1e-12)


class Carrier(AbstractOptimizer):
    """A rule with rates of its own, as far as adaptation looks."""

    base: AbstractOptimizer
    log_rates: jax.Array

    def init(self, params, *, key=None):
        return self.base.init(params, key=key)

    def update(self, grads, state, params, **extra):
        return self.base.update(grads, state, params, **extra)


def test_rates_that_an_optimizer_carries_are_those_of_its_adaptation(getkey):
    key, opt = getkey(), Carrier(sgd(0.3), jnp.log(jnp.asarray([0.1])))
    thetas, _ = path(Adapter(ONE_STEP, 3, 7.0, "sgd"), Hill(), opt, key)
    np.testing.assert_allclose(rate_of(thetas.base), 1 - 0.7 * 0.8 ** np.arange(4), rtol=1e-12)
    assert np.all(np.asarray(thetas.log_rates) == np.log(0.1))


def test_another_rate_is_the_same_program():
    jitted = eqx.filter_jit(eqx.debug.assert_max_traces(lambda a: a.rate + 0, max_traces=1))
    assert [float(jitted(Adapter(ONE_STEP, 3, r))) for r in (0.1, 0.2)] == [0.1, 0.2]


def test_without_updates_theta_is_bitwise_as_given(getkey):
    opt = sgd(1 / 3)
    adapted, stats = Adapter(ONE_STEP, 0)(Hill(), opt, LAST, key=getkey())
    assert eqx.tree_equal(adapted, opt) and stats.loss.shape == (0,)


def test_what_is_not_finite_leaves_theta_and_is_counted(getkey):
    thetas, stats = path(Adapter(ONE_STEP, 3, 0.1, "sgd"), Hill(), sgd(1e200), getkey())
    assert np.all(rate_of(thetas) == 1e200) and np.all(stats.nonfinite == 2)


def test_one_instance_is_always_drawn(getkey):
    task = OneInstance(Springs((1.0, 10.0)), jnp.asarray(10.0))
    assert all(float(task.sample(getkey())) == 10 for _ in range(5))


ADAPT = Adapter(BPTT(1, 1, 1, stagger=False), 1, 1e-3, "sgd")  # αh³ = 1 for h = 10


def test_validation_judges_after_adaptation_to_the_instance_at_hand():
    task, key = Springs(), jr.key(5)
    before = Validation(horizon=1, episodes=4)
    after = Validation(horizon=1, episodes=4, adapt=ADAPT)
    starts = jax.vmap(lambda k: jr.split(k)[0])(jr.split(key, 4))
    h = np.array([float(task.sample(jr.split(k, 4)[0])) for k in starts])
    assert set(h) == {1.0, 10.0}
    loss = lambda a: np.mean(0.5 * h * (1 - a * h) ** 2)
    adapted = lambda a: np.mean(0.5 * h * ((1 - 1e-3 * h**3) * (1 - a * h)) ** 2)
    good_before, good_after = sgd(0.1), sgd(1.0)  # perfect for h = 10, and for h = 1
    for opt, a in ((good_before, 0.1), (good_after, 1.0)):
        np.testing.assert_allclose(score(before, task, opt, key), loss(a), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(score(after, task, opt, key), adapted(a), rtol=1e-9, atol=1e-12)
    assert score(before, task, good_before, key) < score(before, task, good_after, key)
    assert score(after, task, good_before, key) > score(after, task, good_after, key)


def test_by_the_objective_too():
    how = {"horizon": 2, "episodes": 2, "by": "objective", "window": 1}
    task, opt, key = Springs((10.0,)), sgd(0.05), jr.key(5)
    # 1 − ah = ½, so x = ½, then ¼; adapted, 1 − ah = 0.
    np.testing.assert_allclose(score(Validation(**how), task, opt, key), 5 / 16, rtol=1e-12)
    found = score(Validation(**how, adapt=ADAPT), task, opt, key)
    np.testing.assert_allclose(found, 0, atol=1e-12)


def test_lanes_within_lanes_stay_on_their_device():
    validation = Validation(horizon=1, episodes=4, adapt=ADAPT)
    args = Springs(), sgd(0.3), jr.key(5)
    alone = score(validation, *args)
    mesh = meshes.episode_mesh()
    assert mesh is not None and mesh.size == 2
    with meshes.active(mesh):
        np.testing.assert_allclose(score(validation, *args), alone, rtol=1e-12)


def test_the_objective_is_asked_for():
    validation = Validation(horizon=1, episodes=1, adapt=ADAPT)
    with pytest.raises(ValueError, match="adapt needs the objective; give objective="):
        validation.score(Hill(), sgd(0.1), jr.key(0))
    with pytest.raises(ValueError, match="adapt must be an Adapter or None, got 5; give"):
        Validation(adapt=5)


@pytest.mark.parametrize("rate", [-1e-9, math.nan, math.inf, None, True, "1", 10**400, np.ones(2)])
def test_bad_rates_are_refused(rate):
    with pytest.raises(ValueError, match=r"^Adapter: rate must be (a|one) finite number"):
        Adapter(ONE_STEP, 5, rate)


def test_bad_inner_optimizers_are_refused():
    with pytest.raises(ValueError, match="inner is 'adm'; did you mean 'adam'"):
        Adapter(ONE_STEP, inner="adm")
