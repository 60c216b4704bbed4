"""Norm: against NumPy, and its minimum at the solution of the equations."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.tasks.synthetic.equations import Equations
from steppe.tasks.synthetic.norm import Norm


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0])
def test_value_gradient_and_gap_equal_numpy(power, getkey):
    task = Norm(3, power)
    W, y, x = (jr.normal(getkey(), shape) for shape in ((3, 3), (3,), (3,)))
    instance = Equations(W[None], y[None])

    @jax.jit
    def look(x):
        f = lambda x: task.loss(instance, (), jr.key(0))(x[None])
        return *jax.value_and_grad(f)(x), task.metrics(x[None], instance, (), jr.key(0))["gap"]

    W, y, x = map(np.asarray, (W, y, x))
    r = W @ x - y
    expected = np.linalg.norm(np.abs(r) + 1e-6, power)
    value, slope, gap = look(x)
    assert float(value) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(
        slope, W.T @ (np.sign(r) * ((np.abs(r) + 1e-6) / expected) ** (power - 1)), rtol=1e-9
    )
    assert float(gap) == pytest.approx(expected - 1e-6 * 3 ** (1 / power), rel=1e-9)
    best = look(np.linalg.solve(W, y))
    assert abs(best[2]) < 1e-14 * np.linalg.cond(W)


def test_large_residuals_stay_finite_in_float32():
    instance = Equations(jnp.eye(2, dtype="float32")[None], jnp.zeros((1, 2), "float32"))
    x = jnp.array([[1e20, 0.0]], jnp.float32)
    f = jax.jit(lambda x: Norm(2, 3.0).loss(instance, (), jr.key(0))(x))
    assert float(f(x)) == pytest.approx(1e20, rel=1e-6)


def test_a_power_below_one_is_refused():
    with pytest.raises(ValueError, match=r"power is 0\.5, expected p ≥ 1; below it is no norm"):
        Norm(3, 0.5)
