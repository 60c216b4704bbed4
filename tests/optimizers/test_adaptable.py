"""An optimizer that carries the rates of its adaptation steps as the one inside it does."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.core.episode import begin, unroll
from steppe.core.optimizer import AbstractOptimizer, split_meta
from steppe.optimizers.adaptable import Adaptable
from steppe.optimizers.learned.learned_adam import LearnedAdam
from steppe.tasks.synthetic.quadratic import Quadratic


class Still(AbstractOptimizer):
    """Stays where it is, and has nothing to learn."""

    def init(self, params, *, key=None):
        return ()

    def update(self, grads, state, params, **extra):
        return 0 * grads, state


@eqx.filter_jit
def losses(opt):
    task = Quadratic(3)
    return unroll(task, opt, begin(task, opt, jr.key(0)), 4, lambda step: step.value)[1]


def test_its_steps_are_those_of_the_optimizer_inside():
    opt = LearnedAdam(0.1)
    np.testing.assert_array_equal(losses(Adaptable(opt, 0.2)), losses(opt))


def test_a_rate_for_each_tensor_is_trained_beside_them():
    opt = Adaptable(LearnedAdam(0.1), 0.25)
    theta, _ = split_meta(opt)
    np.testing.assert_allclose(theta.log_rates, np.full(4, np.log(0.25)))
    assert theta.base.log_lr == opt.base.log_lr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rate": 0.0}, "rate must be positive, got 0.0"),
        ({"rate": float("nan")}, "rate must be a finite number, got nan"),
        ({"rate": "high"}, "rate must be a finite number, got 'high'"),
        ({"base": Still()}, "Still has no trained numbers"),
        ({"base": jnp.sin}, "expected a steppe optimizer"),
        ({"base": Adaptable(LearnedAdam())}, "not adaptable yet"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(given, said):
    with pytest.raises(ValueError, match="Adaptable: ") as error:
        Adaptable(**{"base": LearnedAdam()} | given)
    assert said in str(error.value)
