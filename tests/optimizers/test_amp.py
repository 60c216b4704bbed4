"""Approximate message passing against the textbook's loop, and at the published levels."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.core.episode import begin, unroll
from steppe.core.loss import Composite, LeastSquares, Logistic
from steppe.core.regularizer import L1
from steppe.core.rollout import episodes
from steppe.core.task import AbstractFormula
from steppe.optimizers.classic.amp import AMP
from steppe.optimizers.classic.proximal import FISTA
from steppe.tasks.inverse.recovery import SparseRecovery

KEY = jr.key(5)
STEPS = 12
TASK = SparseRecovery(rows=20, n=40, seed=1, start="normal")


def loop(A, b, x, steps, threshold=1.1402):
    """v kept as it is, with as many entries as b; columns have length 1."""
    v = np.zeros_like(b)
    for _ in range(steps):
        v = b - A @ x + np.count_nonzero(x) / len(b) * v
        r = x + A.T @ v
        x = np.sign(r) * np.maximum(np.abs(r) - threshold * np.linalg.norm(v) / len(b) ** 0.5, 0)
        yield x


class Given(AbstractFormula):
    """Least squares as they are given; starts at 0."""

    A: jnp.ndarray
    b: jnp.ndarray

    sample = lambda self, key: ()
    init = lambda self, instance, key: jnp.zeros(self.A.shape[1])
    metrics = lambda self, params, instance, batch, key: {}
    target = lambda self, instance: None

    def loss(self, instance, batch, key):
        return LeastSquares(self.A, self.b)


@eqx.filter_jit
def path(task, opt, key):
    return unroll(task, opt, begin(task, opt, key), STEPS, lambda step: step.after.params)[1]


def test_it_is_the_loop_of_the_textbook():
    first = begin(TASK, AMP(), KEY)
    system = TASK.loss(first.instance, (), KEY).smooth
    A, b, x = (np.asarray(part) for part in (system.A, system.b, first.params))
    expected = np.array(list(loop(A, b, x, STEPS)))
    np.testing.assert_allclose(path(TASK, AMP(), KEY), expected, rtol=1e-9, atol=1e-11)
    assert 0 < np.count_nonzero(expected[-1]) < 40


def test_lengths_of_columns_are_units_of_x():
    """A column of zeros leaves its unknown alone."""
    rng = np.random.default_rng(0)
    A, b = rng.standard_normal((20, 40)), rng.standard_normal(20)
    units = np.linalg.norm(A, axis=0)
    expected = np.array(list(loop(A / units, b, np.zeros(40), STEPS))) / units
    found = path(Given(jnp.asarray(A), jnp.asarray(b)), AMP(), KEY)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)
    A[:, 3] = 0
    found = np.asarray(path(Given(jnp.asarray(A), jnp.asarray(b)), AMP(), KEY))
    assert np.isfinite(found).all() and not found[:, 3].any() and found.any()
    assert not np.any(path(Given(jnp.asarray(A), jnp.zeros(20)), AMP(), KEY))


def test_entries_that_become_zero_are_exactly_zero():
    """Rounding would make them count in ‖x‖₀, and the errors grow from step to step."""
    rng = np.random.default_rng(1)
    A, x = rng.standard_normal((60, 120)), rng.standard_normal(120) * (rng.random(120) < 0.1)
    units, b = np.linalg.norm(A, axis=0), A @ x
    expected = np.array(list(loop(A / units, b, np.zeros(120), STEPS)))
    found = path(Given(jnp.asarray(A), jnp.asarray(b)), AMP(), KEY)
    np.testing.assert_array_equal(found != 0, expected != 0)


def test_it_asks_for_least_squares_in_a_sentence():
    with pytest.raises(ValueError, match="AMP needs the problem that it solves"):
        AMP().update(jnp.ones(2), AMP().init(jnp.ones(2)), jnp.ones(2))
    bad = {
        0.0: "positive, got 0", "3": "a finite number, got '3'", True: "a finite number, got True",
        None: "a finite number, got None", 10**400: "a finite number, got a whole number of",
        (1.0, 2.0): "a finite number, got",
    }  # fmt: skip
    for threshold, words in bad.items():
        with pytest.raises(ValueError, match=f"AMP: threshold must be {words}"):
            AMP(threshold)

    class Odds(Given):
        loss = lambda self, instance, batch, key: Composite(
            Logistic(self.A, self.b), L1(0.1), jnp.ones(())
        )

    with pytest.raises(TypeError, match=r"AMP needs a loss of the form LeastSquares\(A, b\)"):
        path(Odds(jnp.ones((2, 2)), jnp.ones(2)), AMP(), KEY)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("opt", "weight", "marks", "levels"),
    [
        (AMP(), 0.1, (4, 8, 16), (-11.7, -20.5, -36.6)),
        (FISTA(), 0.1, (16,), (-10.8,)),
        (FISTA(), 0.05, (16, 100), (-7.7, -22.7)),
    ],
    ids=["amp", "fista", "fista-0.05"],
)
def test_levels_of_the_published_testbed(opt, weight, marks, levels):
    """Mean dB over 256×512 problems, measured by other code on one dictionary.

    Dictionaries differ by 1 dB from one to the next, so that each problem has its own here.
    """
    task = SparseRecovery(rows=256, n=512, weight=weight)
    look = lambda episode, _: task.metrics(episode.params, episode.instance, (), KEY)["nmse"]
    keys = jr.split(KEY, 128)
    run = eqx.filter_jit(lambda keys: episodes(task, opt, keys, marks[-1], look, at=marks).looks)
    within = 1.0 if isinstance(opt, AMP) else 0.5
    np.testing.assert_allclose(np.mean(run(keys), axis=0), levels, atol=within)
