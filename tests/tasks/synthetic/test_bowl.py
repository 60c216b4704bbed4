"""Bowl: its Hessian is the turned diagonal."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.tasks.synthetic.quadratic import Bowl


@pytest.mark.parametrize(("condition", "angle"), [(0.1, 0.0), (5.0, np.pi / 4), (5.0, 0.3)])
def test_value_and_hessian(condition, angle):
    task = Bowl(condition, angle)
    R = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    H = R.T @ np.diag([condition, 1.0]) @ R
    x = np.array([0.4, -1.3])
    f = lambda x: task.loss((), (), jr.key(0))(x)
    value, found = jax.jit(lambda x: (f(x), jax.hessian(f)(x)))(x)
    assert float(value) == pytest.approx(x @ H @ x / 2, rel=1e-12)
    np.testing.assert_allclose(found, H, atol=1e-12)


def test_metrics_are_the_value_and_the_distance_to_the_minimum():
    metrics = Bowl(5.0).metrics(jnp.array([3.0, 4.0]), (), (), jr.key(0))
    assert float(metrics["gap"]) == 30.5 and float(metrics["distance"]) == 5.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"condition": 0.0}, "condition must be positive, got 0.0"),
        ({"angle": float("inf")}, "angle must be a finite number of radians, got inf"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        Bowl(**arguments)
