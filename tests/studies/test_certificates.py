"""The families of problems: each iteration comes to the solution that another way finds."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.studies.certificates import families


def iterate(run, task, steps):
    step = jax.jit(lambda z: run.map(z, task))
    z = run.start(task)
    for _ in range(steps):
        z = step(z)
    return z


def test_analytic_weights_are_the_least_coherent():
    D = families.dictionary(16, 32)
    W = families.analytic(D)
    assert np.sum(W * D, axis=0) == pytest.approx(np.ones(32))
    for i in range(3):  # D Dᵀ w_i is parallel to d_i: no direction along the constraint helps
        slope = D @ (D.T @ W[:, i])
        assert slope - D[:, i] * (slope @ D[:, i]) == pytest.approx(np.zeros(16), abs=1e-10)


def test_ista_and_fista_come_to_one_solution():
    ista, fista = families.lasso("ista", 16, 32), families.lasso("fista", 16, 32)
    y = ista.sample(jr.key(0))
    z, (w, _, _) = iterate(ista, y, 3000), iterate(fista, y, 1500)
    assert np.allclose(z, w, atol=1e-6)
    D = families.dictionary(16, 32)
    slope = D.T @ (D @ np.asarray(z) - np.asarray(y))
    assert np.all(np.abs(slope) <= families.LAMBDA + 1e-6)
    on = np.abs(np.asarray(z)) > 1e-6
    assert slope[on] == pytest.approx(-families.LAMBDA * np.sign(np.asarray(z)[on]), abs=1e-6)


def test_quadratic_steps_have_their_closed_form():
    run = families.quadratic()
    c = run.sample(jr.key(1))
    errors = run.run(0, range(2), 12).errors
    z = iterate(run, c, 5)
    p = families.P
    assert np.asarray(z) == pytest.approx(-np.asarray(c) / p * (1 - (1 - p / 100) ** 5))
    assert errors[:, 2:] / errors[:, 1:-1] == pytest.approx(np.full((2, 11), 0.99), rel=1e-3)


def test_deblurring_solves_its_quadratic_program():
    picture = np.zeros((28, 28))
    picture[8:20, 12:16] = 0.9
    run = families.deblur(picture[None])
    seen = run.sample(jr.key(2))
    *_, kept = (np.asarray(v) for v in iterate(run, seen, 4000))
    assert np.all((kept >= 0) & (kept <= 1))
    R = families.blur()
    slope = R.T @ (R @ kept @ R.T - np.asarray(seen)) @ R + 1e-4
    projected = kept - np.clip(kept - slope, 0, 1)
    assert np.abs(projected).max() < 2e-3
    assert R[14].sum() == pytest.approx(9 / 8)  # as published: an even width is not normalised


def test_motion_is_the_rollout():
    T, dt, drag = 7, 0.5, 0.05
    w = np.random.default_rng(0).standard_normal((T, 2))
    position, velocity, seen = np.zeros(2), np.zeros(2), []
    for t in range(T):
        position = position + (1 - drag * dt / 2) * dt * velocity + dt**2 / 2 * w[t]
        velocity = (1 - drag * dt) * velocity + dt * w[t]
        seen.append(position)
    assert families.motion(T) @ w.ravel() == pytest.approx(np.ravel(seen))


def test_kalman_comes_to_the_least_squares_path_and_bends_for_outliers():
    run = families.kalman(T=10)
    M = families.motion(10)
    y = run.sample(jr.key(3))
    s, _ = (np.asarray(v) for v in iterate(run, y, 3000))
    w = np.linalg.solve(np.eye(20) + 2.0 * M.T @ M, 2.0 * M.T @ np.asarray(y))
    assert s == pytest.approx(np.asarray(y) - M @ w, abs=1e-6)
    far = jnp.asarray(y).at[4].add(50.0)
    s, _ = (np.asarray(v) for v in iterate(run, far, 6000))
    w = np.linalg.lstsq(M, np.asarray(far) - s)[0]
    r = np.linalg.norm(s.reshape(10, 2), axis=1, keepdims=True)
    pull = np.where(r <= 2, 2 * 2.0, 2 * 2.0 * 2 / np.maximum(r, 1e-9)) * s.reshape(10, 2)
    assert 2 * w == pytest.approx(M.T @ pull.ravel(), abs=1e-4)  # the slope of the objective is 0
    assert r.max() > 40


def test_a_curve_is_a_sine_of_its_points():
    x, y = families.curve(jr.key(4))
    basis = np.stack([np.sin(x), np.cos(x)], axis=1)
    assert np.linalg.lstsq(basis, np.asarray(y))[1] == pytest.approx(0, abs=1e-9)
    weights = families.network(jr.key(5))
    losses = []
    for _ in range(30):
        losses.append(float(jnp.mean((families.predict(weights, x[:10]) - y[:10]) ** 2)))
        weights = families.adapted(weights, (x, y))
    assert losses[-1] < losses[0]
