"""Log, Rescaled and Sum against the formulas, on tasks known in closed form."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.tasks.synthetic.chains import Chain
from steppe.tasks.synthetic.equations import Equations
from steppe.tasks.synthetic.matmul import Matmul
from steppe.tasks.synthetic.quadratic import Bowl
from steppe.tasks.synthetic.rastrigin import Rastrigin, Ripples
from steppe.tasks.wrappers.combined import Log, Rescaled, Sum

X = jnp.array([0.4, -1.0])
F = (5 * 0.16 + 1) / 2  # of Bowl(5)
G = np.array([2.0, -1.0])
KEY = jr.key(0)


def look(task, x):
    return jax.jit(jax.value_and_grad(lambda x: task.loss((), (), KEY)(x)))(x)


def test_log_is_that_of_the_loss():
    value, slope = look(Log(Bowl(5.0)), X)
    assert float(value) == pytest.approx(np.log(F + 1e-6) - np.log(1e-6), rel=1e-12)
    np.testing.assert_allclose(slope, G / (F + 1e-6), rtol=1e-12)
    value, slope = look(Log(Bowl(5.0)), jnp.zeros(2))
    assert value == 0 and not np.any(slope)


def test_log_keeps_its_digits_near_a_minimum_of_zero():
    """f = ½ 1e-22: ln(f + ε) − ln ε = f / ε to 16 digits, of which the difference keeps none."""
    value, _ = look(Log(Bowl(5.0)), jnp.array([0.0, 1e-11]))
    assert float(value) == pytest.approx(0.5e-16, rel=1e-12)


def test_log_of_a_negative_loss_is_nan_not_a_number_made_up():
    """A = I, y = 0, c = (4, 1), x = 0: f = 10 (2 − 5)."""
    ripples = Ripples(Equations(jnp.eye(2)[None], jnp.zeros((1, 2))), jnp.array([[4.0, 1.0]]))
    task = Log(Rastrigin(offset="n"))
    metrics, value = jax.jit(
        lambda x: (task.metrics(x, ripples, (), KEY), task.loss(ripples, (), KEY)(x))
    )(jnp.zeros((1, 2)))
    assert metrics["plain_loss"] == -30 and np.isnan(value)


def test_metrics_of_log_are_those_of_the_task_and_its_plain_loss():
    metrics = Log(Bowl(5.0)).metrics(X, (), (), KEY)
    assert set(metrics) == {"gap", "distance", "plain_loss"}
    assert float(metrics["plain_loss"]) == pytest.approx(F) == float(metrics["gap"])


def test_rescaled_is_the_same_problem_in_larger_params():
    task = Rescaled(Bowl(5.0), scale=10.0)
    value, slope = look(task, 10 * X)
    assert float(value) == pytest.approx(F, rel=1e-12)
    np.testing.assert_allclose(slope, G / 10, rtol=1e-12)
    np.testing.assert_allclose(task.init((), KEY), 10 * Bowl(5.0).init((), KEY), rtol=1e-12)
    assert float(task.metrics(10 * X, (), (), KEY)["gap"]) == pytest.approx(F, rel=1e-12)


def test_sum_adds_losses_and_keeps_the_parts_apart():
    task = Sum([Bowl(5.0), Bowl(2.0), Chain("projection-quadratic", 2, 3)])
    assert isinstance(task.tasks, tuple)
    instance = task.sample(KEY)
    batch = task.full_batch(instance, split="train")
    x = (X, 2 * X, 3 * X)

    def all_of(x):
        loss = lambda x: task.loss(instance, batch, KEY)(x)
        return *jax.value_and_grad(loss)(x), task.metrics(x, instance, batch, KEY)

    value, slope, metrics = jax.jit(all_of)(x)
    x0, x1 = np.asarray(X)
    expected = F + 4 * (2 * x0**2 + x1**2) / 2 + 9 * 3 * (x0**2 + x1**2)
    assert float(value) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(slope[0], G, rtol=1e-12)
    np.testing.assert_allclose(slope[2], 2 * 3 * 3 * X, rtol=1e-12)
    assert metrics == {}  # the chain has no gap


def test_the_gap_of_a_sum_is_the_sum_of_the_gaps():
    metrics = Sum((Bowl(5.0), Bowl(5.0))).metrics((X, X), ((), ()), ((), ()), KEY)
    assert set(metrics) == {"gap"} and float(metrics["gap"]) == pytest.approx(2 * F)


def test_parts_of_a_sum_are_drawn_apart():
    one, other = Sum((Bowl(), Bowl())).init(((), ()), KEY)
    assert not np.array_equal(one, other)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="scale must be positive, got 0"):
        Rescaled(Bowl(), 0.0)
    with pytest.raises(ValueError, match="got no tasks, expected at least one"):
        Sum(())
    assert Sum((Matmul(),)).tasks == (Matmul(),)
