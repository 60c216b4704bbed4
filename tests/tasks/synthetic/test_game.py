"""The bilinear game against its closed forms."""

import jax.random as jr
import numpy as np

from steppe.tasks.synthetic.game import BilinearGame

KEY = jr.key(0)


def test_gradients_merit_and_target():
    task = BilinearGame(3)
    A = task.sample(KEY)
    p, loss = task.init(A, KEY), task.loss(A, (), KEY)
    x, y = np.asarray(p["min"]), np.asarray(p["max"])
    down, up = np.asarray(A) @ y, np.asarray(A).T @ x
    np.testing.assert_allclose(loss.grad_min(p), down, rtol=1e-10)
    np.testing.assert_allclose(loss.grad_max(p), up, rtol=1e-10)
    merit = np.sqrt(down @ down + up @ up)
    np.testing.assert_allclose(float(task.metrics(p, A, (), KEY)["merit"]), merit, rtol=1e-10)
    best = task.target(A)
    assert float(loss.merit(best)) == 0 and not any(np.any(part) for part in best.values())


def test_descent_and_ascent_spirals_away():
    """On xy the distance grows by √(1 + η²) a step."""
    task, eta = BilinearGame(1), 0.1
    A = 0 * task.sample(KEY) + 1
    p, loss = task.init(A, KEY), task.loss(A, (), KEY)
    start = np.hypot(*(float(part[0]) for part in p.values()))
    for _ in range(10):
        p = {"min": p["min"] - eta * loss.grad_min(p), "max": p["max"] + eta * loss.grad_max(p)}
    end = np.hypot(*(float(part[0]) for part in p.values()))
    np.testing.assert_allclose(end / start, (1 + eta**2) ** 5, rtol=1e-10)
