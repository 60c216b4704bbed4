"""A rule that asks for more than gradients: in blocks, in place and replayed it stays the same."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

from steppe.core import coordinatewise
from steppe.core.coordinatewise import AbstractCoordinatewise
from steppe.core.optimizer import AbstractOptimizer
from steppe.estimators.bptt import BPTT
from steppe.estimators.imitation import Imitation
from steppe.objectives.trajectory import Trajectory
from steppe.optimizers.classic.from_optax import sgd
from steppe.tasks import Quadratic

TASK, KEY = Quadratic(5), jr.key(0)


class Decayed(AbstractCoordinatewise):
    """Momentum with weight decay beside the gradient, shorter steps where the loss is small."""

    asks = ("params", "value")
    lr: jax.Array
    decay: jax.Array
    block: int = eqx.field(static=True, default=2)

    def start(self, rows, dtype):
        return jnp.zeros((rows,), dtype)

    def advance(self, inputs, state, count):
        m = 0.8 * state + inputs["grads"] + 0.1 * inputs["params"]
        step = self.lr * jnp.tanh(inputs["value"]) * m
        return -step - self.decay * inputs["params"], m


class Opaque(AbstractOptimizer):
    """The same rule, of which nobody knows that it is coordinatewise."""

    base: AbstractCoordinatewise

    def init(self, params, *, key=None):
        return self.base.init(params, key=key)

    def update(self, grads, state, params, **extra):
        return self.base.update(grads, state, params, **extra)


def decayed(block=2):
    return Decayed(jnp.asarray(0.05), jnp.asarray(0.03), block)


@eqx.filter_jit
def start(estimator, opt):
    return estimator.init(TASK, opt, Trajectory(), key=KEY)


@eqx.filter_jit
def call(estimator, opt, state):
    return estimator(TASK, opt, state, Trajectory(), key=KEY)


def gradient(estimator, opt):
    """The gradient and the loss of the second window."""
    _, state, _ = call(estimator, opt, start(estimator, opt))
    grads, _, stats = call(estimator, opt, state)
    return np.array(jtu.tree_leaves(grads)), float(stats.loss)


@pytest.mark.parametrize("how", [{"remat": False}, {"remat": True}, {"rows": 5}], ids=str)
def test_replay_is_the_gradient_through_the_unroll(how):
    found, loss = gradient(BPTT(2, 3, 9, **how), decayed())
    straight, expected = gradient(BPTT(2, 3, 9), Opaque(decayed()))
    assert loss == pytest.approx(expected, rel=1e-12)
    assert np.all(np.abs(straight) > 1e-3)
    np.testing.assert_allclose(found, straight, rtol=1e-10)


def steps(block):
    opt, x = decayed(block), [jr.normal(KEY, (5,))]

    def step(carry, g):
        x, state = carry
        u, state = opt.update([g], state, x, value=jnp.sum(x[0] ** 2))
        return ([x[0] + u[0]], state), u[0]

    run = jax.jit(lambda g: jax.lax.scan(step, (x, opt.init(x)), g)[1])
    return run(jr.normal(jr.key(1), (4, 5)))


def test_blocks_and_the_update_in_place_change_nothing(monkeypatch):
    whole = steps(5)
    np.testing.assert_allclose(steps(2), whole, rtol=1e-12)
    monkeypatch.setattr(coordinatewise, "CACHED_ROWS", 0)
    monkeypatch.setattr(coordinatewise, "LONG_BLOCK", 1)
    np.testing.assert_allclose(steps(2), whole, rtol=1e-12)


def test_imitation_hands_the_student_what_it_asks_for():
    how = {"teacher": sgd(0.1), "episodes": 2, "length": 3, "horizon": 9}
    grads, loss = gradient(Imitation(**how), decayed())
    assert np.all(np.isfinite(grads)) and np.all(grads != 0) and loss > 0


def test_what_is_asked_for_must_be_given():
    opt, x = decayed(), jnp.ones(5)
    with pytest.raises(ValueError, match="asks for value, but update was not given"):
        opt.update(x, opt.init(x), x)
