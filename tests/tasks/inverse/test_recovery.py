"""Generators against their definitions, and proximal methods against NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.core.episode import begin, unroll
from steppe.core.loss import Composite
from steppe.core.task import AbstractFormula
from steppe.optimizers.classic.from_optax import nesterov
from steppe.optimizers.classic.proximal import FISTA, ISTA
from steppe.tasks.inverse.dictionaries import dictionary
from steppe.tasks.inverse.logistic import SparseLogistic
from steppe.tasks.inverse.optimum import optimum
from steppe.tasks.inverse.recovery import SparseRecovery

KEY = jr.key(5)


def test_columns_have_length_one_and_are_as_they_are_asked_for():
    A = np.asarray(dictionary(KEY, 30, 40, condition=50.0))
    np.testing.assert_allclose(np.linalg.norm(A, axis=0), 1)
    spread = np.linalg.svd(A, compute_uv=False)
    assert 20 < spread[0] / spread[-1] < 120  # dividing columns by their lengths moves it
    plain = np.linalg.svd(np.asarray(dictionary(KEY, 30, 40)), compute_uv=False)
    assert plain[0] / plain[-1] < 20
    wide = np.asarray(dictionary(KEY, 4000, 6, correlation=0.8))
    gram = wide.T @ wide
    for lag in (1, 2):
        np.testing.assert_allclose(np.diag(gram, lag), 0.8**lag, atol=0.06)


def test_measurements_are_of_a_sparse_x_with_the_noise_asked_for():
    task = SparseRecovery(rows=300, n=400, density=0.2, snr=20.0)
    found = task.sample(KEY)
    A, b, x = (np.asarray(part) for part in (found.own.A, found.b, found.sparse))
    assert 0.15 < np.mean(x != 0) < 0.25 and 0.8 < x[x != 0].std() < 1.2
    noise = b - A @ x
    assert 20 * np.log10(np.std(A @ x) / np.std(noise)) == pytest.approx(20, abs=1)
    np.testing.assert_allclose(found.own.lipschitz, np.linalg.norm(A, 2) ** 2)
    exact = SparseRecovery(rows=5, n=8, seed=3)
    one, two = (exact.sample(jr.key(k)) for k in (0, 1))
    assert one.own is None and not np.array_equal(one.b, two.b)
    loss = exact.loss(one, (), KEY)
    np.testing.assert_array_equal(loss.smooth.A, dictionary(jr.key(3), 5, 8))
    np.testing.assert_allclose(loss.lipschitz, np.linalg.norm(loss.smooth.A, 2) ** 2)
    np.testing.assert_allclose(one.b, loss.smooth.A @ one.sparse, atol=1e-12)
    assert np.array_equal(loss.truth, one.sparse) and exact.target(one) is None
    grouped = SparseRecovery(rows=5, n=8, penalty="group", density=0.5).sample(KEY).sparse
    assert {int(c) for c in np.count_nonzero(np.asarray(grouped).reshape(2, 4), axis=1)} <= {0, 4}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rows": 0}, "rows must be at least 1, got 0"),
        ({"weight": -0.1}, "weight must be at least 0, got -0.1"),
        ({"density": 0.0}, r"density must be in \(0, 1\), got 0.0"),
        ({"density": 1.0}, r"density must be in \(0, 1\), got 1.0"),
        ({"rows": 41}, "41 measurements of 40 unknowns are no few"),
        ({"density": float("nan")}, "density must be a finite number, got nan"),
        ({"condition": 0.5}, "condition must be at least 1, got 0.5"),
        ({"correlation": 1.0}, r"correlation must be in \(-1, 1\), got 1.0"),
        ({"penalty": "l0"}, "penalty is 'l0', expected one of"),
        ({"penalty": "group", "n": 6}, "n must be a multiple of group 4, got 6"),
        ({"snr": float("inf")}, "snr must be a finite number, got inf"),
        ({"start": "one"}, "start is 'one', expected"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match="SparseRecovery: " + words):
        SparseRecovery(**arguments)


def test_labels_and_the_constant_of_the_logistic_loss():
    task = SparseLogistic(rows=300, n=10, sparse=4)
    found = task.sample(KEY)
    loss, x = task.loss(found, (), KEY), jnp.zeros(10)
    assert float(loss(x)) == pytest.approx(np.log(2))
    largest = np.linalg.eigvalsh(np.asarray(jax.hessian(loss.smooth)(x)))[-1]
    assert largest == pytest.approx(float(found.lipschitz))  # at 0 it is attained
    far = np.linalg.eigvalsh(np.asarray(jax.hessian(loss.smooth)(x + 1)))[-1]
    assert far < largest
    best = optimum(loss)
    assert task.metrics(jnp.asarray(best.x), found, (), KEY)["accuracy"] > 0.9
    with pytest.raises(ValueError, match="sparse must be at most n 3, got 4"):
        SparseLogistic(n=3, sparse=4)


def ista(A, b, weight, x, steps, rate):
    for _ in range(steps):
        z = x - rate * A.T @ (A @ x - b)
        x = np.sign(z) * np.maximum(np.abs(z) - rate * weight, 0)
        yield x


def fista(A, b, weight, x, steps, rate, restart):
    y, t = x, 1.0
    for _ in range(steps):
        (after,) = ista(A, b, weight, y, 1, rate)
        ahead = (1 + np.sqrt(1 + 4 * t * t)) / 2
        ratio = (t - 1) / ahead
        t = ahead
        if restart and (y - after) @ (after - x) > 0:
            t, ratio = 1.0, 0.0
        y = after + ratio * (after - x)
        x = after
        yield x


TASK = SparseRecovery(rows=6, n=10, weight=0.05, start="normal")
STEPS = 60


@pytest.mark.parametrize(
    ("opt", "loop"),
    [
        (ISTA(), lambda *a, L, F: ista(*a, 1 / L)),
        (ISTA(0.7, "frobenius"), lambda *a, L, F: ista(*a, 0.7 / F)),
        (FISTA(), lambda *a, L, F: fista(*a, 1 / L, False)),
        (FISTA(restart=True), lambda *a, L, F: fista(*a, 1 / L, True)),
    ],
    ids=["ista", "frobenius", "fista", "restart"],
)
def test_proximal_methods_are_those_of_numpy(opt, loop):
    first = begin(TASK, opt, KEY)
    _, path = unroll(TASK, opt, first, STEPS, lambda step: step.after.params)
    A, b = np.asarray(first.instance.own.A), np.asarray(first.instance.b)
    L, F = np.linalg.norm(A, 2) ** 2, np.linalg.norm(A) ** 2
    expected = list(loop(A, b, TASK.weight, np.asarray(first.params), STEPS, L=L, F=F))
    np.testing.assert_allclose(path, np.array(expected), atol=1e-12)


def test_rules_that_know_of_no_parts_follow_a_subgradient_of_the_sum():
    opt = nesterov(0.1, 0.8)
    first = begin(TASK, opt, KEY)
    first = eqx.tree_at(lambda e: e.params, first, first.params.at[2].set(0.0))
    _, path = unroll(TASK, opt, first, STEPS, lambda step: step.after.params)
    system = TASK.loss(first.instance, (), KEY).smooth
    A, b, x = (np.asarray(part) for part in (system.A, system.b, first.params))
    expected, m = [], 0.0
    for _ in range(STEPS):
        g = A.T @ (A @ x - b) + TASK.weight * np.sign(x)
        m = 0.8 * m + g
        x = x - 0.1 * (g + 0.8 * m)
        expected.append(x)
    np.testing.assert_allclose(path, expected, atol=1e-12)


def test_restart_reaches_the_proven_minimum():
    opt = FISTA(restart=True)
    first = begin(TASK, opt, KEY)
    last, _ = unroll(TASK, opt, first, 600, lambda step: ())
    loss = TASK.loss(first.instance, (), KEY)
    assert float(loss(last.params)) == pytest.approx(optimum(loss).value, rel=1e-12)


def test_they_ask_for_their_structure_in_a_sentence():
    with pytest.raises(ValueError, match="ISTA needs the problem that it solves"):
        ISTA().update(jnp.ones(2), (), jnp.ones(2))
    with pytest.raises(ValueError, match="step must be positive, got -1"):
        FISTA(-1.0)
    with pytest.raises(ValueError, match="rate is 'best', expected"):
        ISTA(rate="best")

    class Plain(AbstractFormula):
        sample = lambda self, key: ()
        init = lambda self, instance, key: jnp.ones(2)
        loss = lambda self, instance, batch, key: lambda x: jnp.sum(x**2)
        metrics = lambda self, params, instance, batch, key: {}
        target = lambda self, instance: None

    with pytest.raises(TypeError, match="FISTA needs a loss of the form Composite"):
        unroll(Plain(), FISTA(), begin(Plain(), FISTA(), KEY), 1, lambda step: ())
    assert isinstance(TASK.loss(TASK.sample(KEY), (), KEY), Composite)
