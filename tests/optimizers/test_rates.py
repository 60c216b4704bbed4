"""Learned rates: on bowls the best ones are known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steppe.core.episode import begin, unroll
from steppe.core.task import AbstractFormula
from steppe.optimizers.learned.learned_adam import LearningRateSchedule, global_learning_rate
from tests.optimizers.learning import meta_train


class Bowl(AbstractFormula):
    """f(x) = ½ (x₁² + 4 x₂²), from (1, 1)."""

    def sample(self, key):
        return ()

    def init(self, instance, key):
        return jnp.ones(2)

    def loss(self, instance, batch, key):
        return lambda params: 0.5 * (params[0] ** 2 + 4 * params[1] ** 2)

    def target(self, instance):
        return None

    def metrics(self, params, instance, batch, key):
        return {}


D = np.array([1.0, 4.0])


def test_a_step_beyond_the_schedule_takes_its_last_rate():
    rates = np.array([0.1, 0.2, 0.05])
    opt = eqx.tree_at(lambda o: o.log_lrs, LearningRateSchedule(3), jnp.log(jnp.asarray(rates)))
    observe = lambda step: step.after.params
    _, found = unroll(Bowl(), opt, begin(Bowl(), opt, jax.random.key(0)), 5, observe)
    factors = 1 - rates[[0, 1, 2, 2, 2], None] * D
    np.testing.assert_allclose(found, np.cumprod(factors, axis=0), rtol=1e-12)


def test_two_learned_rates_solve_a_bowl_of_two_curvatures():
    """(1 − η₁D)(1 − η₂D) = 0 at η = 1, 1/4 in either order; one rate for both steps cannot."""
    opt = LearningRateSchedule(2, lr=0.5)
    opt = eqx.tree_at(lambda o: o.log_lrs, opt, opt.log_lrs + jnp.array([0.1, -0.1]))
    trained, losses = meta_train(opt, Bowl(), length=2, episodes=1, steps=400, lr=0.03)
    np.testing.assert_allclose(np.exp(trained.log_lrs), [1.0, 0.25], rtol=5e-3)
    assert float(losses[0]) > 0.1 and float(losses[-1]) < 1e-5


def test_the_one_learned_rate_is_the_best_one():
    """After one step the loss is ½ Σ dᵢ (1 − ηdᵢ)², least at η = Σd² / Σd³."""
    opt = global_learning_rate(0.01)
    trained, losses = meta_train(opt, Bowl(), length=1, episodes=1, steps=400, lr=0.03)
    assert float(jnp.exp(trained.log_lrs[0])) == pytest.approx(17 / 65, rel=1e-3)
    assert float(losses[-1]) < float(losses[0])


def test_bfloat16_gradients_are_rounded_once():
    g = jnp.linspace(0.1, 1.0, 64, dtype=jnp.bfloat16)
    opt = global_learning_rate(1e-3)
    found, _ = opt.update(g, opt.init(g), g)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found, (-1e-3 * g.astype(jnp.float64)).astype(jnp.bfloat16))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: global_learning_rate(0.0), r"lr must be positive and finite, got 0\.0"),
        (lambda: LearningRateSchedule(0), "LearningRateSchedule: steps must be at least 1, got 0"),
        (lambda: LearningRateSchedule(3, -1.0), r"LearningRateSchedule: lr must be positive"),
    ],
)
def test_mistakes_are_explained(make, words):
    with pytest.raises(ValueError, match=words):
        make()
