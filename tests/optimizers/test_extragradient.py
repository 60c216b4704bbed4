"""The learned extragradient: a slow loop in NumPy, its unit, its restarts, and what it gains."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.core.episode import begin, unroll
from steppe.optimizers.classic.games import Extragradient
from steppe.optimizers.learned.extragradient import LearnedExtragradient, logit
from steppe.tasks.games.matrix import MatrixGame

TASK, STEPS = MatrixGame(n=3), 40


@eqx.filter_jit
def run(opt, key):
    start = begin(TASK, opt, key)
    _, points = unroll(TASK, opt, start, STEPS, lambda step: step.after.params)
    return start, jnp.concatenate([points["min"], points["max"]], axis=1)


def slow(opt, A, z):
    """The points of a run, with A a matrix of numbers; and how often momentum began afresh."""
    n = len(A)
    zero = np.zeros_like(A)
    M = np.block([[zero, A], [-A.T, zero]])
    of = lambda x: np.repeat(np.asarray(x), n)  # a number for each player → for each coordinate
    h, a = of(np.exp(opt.log_ahead)), of(opt.along)
    c = of(4 / 3 / (1 + np.exp(-np.asarray(opt.logit_change))))
    m, tau = of(1 / (1 + np.exp(-np.asarray(opt.logit_momentum)))), of(np.exp(opt.log_delay))
    e, L, size, t, found, restarts = np.zeros(2 * n), 0.0, np.inf, 0, [], 0
    for _ in range(STEPS):
        F = M @ z
        before = L if L else 1
        away = h * F / before
        change = M @ (z - away) - F
        L = max(L, np.linalg.norm(change) / np.linalg.norm(away))
        s = -(a * F / L + c * before / h * change / L**2)
        if np.linalg.norm(F) > size:
            e, t, restarts = 0 * e, 0, restarts + 1
        size, t = np.linalg.norm(F), t + 1
        e = m * t / (t + tau) * (e + s)
        z = z + s + e
        found.append(z)
    return np.stack(found), restarts


def uneven(opt):
    """The rule with other numbers for the second player."""
    where = lambda o: (o.log_ahead, o.along, o.logit_change, o.logit_momentum, o.log_delay)
    by = (0.1, 0.05, 0.3, 0.2, -0.4)
    moved = [x + jnp.asarray([0.0, d]) for x, d in zip(where(opt), by, strict=True)]
    return eqx.tree_at(where, opt, moved)


def test_a_run_is_that_of_a_slow_loop_in_numpy():
    opt = uneven(LearnedExtragradient(0.7, 0.02, 1.1, 0.97))
    start, points = run(opt, jr.key(3))
    z = np.concatenate([np.asarray(start.params[player]) for player in ("min", "max")])
    expected, restarts = slow(opt, np.asarray(start.instance), z)
    np.testing.assert_allclose(points, expected, rtol=1e-8, atol=1e-10)
    assert restarts > 0  # or they were not tried


def test_without_momentum_it_is_extragradient_with_a_step_in_units_of_the_steepness():
    """On one number for each player ‖MF‖/‖F‖ is |a| everywhere: one step size serves all."""
    task = MatrixGame(n=1)
    opt = LearnedExtragradient(0.5, 0.5, 0.25)
    opt = eqx.tree_at(lambda o: o.logit_momentum, opt, jnp.full((2,), -np.inf))
    start = begin(task, opt, jr.key(0))
    rate = 0.5 / abs(float(start.instance[0, 0]))
    same = begin(task, Extragradient(rate), jr.key(0))
    ours, theirs = (
        unroll(task, rule, at, 5, lambda step: step.after.params)[1]
        for rule, at in ((opt, start), (Extragradient(rate), same))
    )
    for player in ("min", "max"):
        # the first look ahead, in another unit, sees the same steepness of a linear F
        np.testing.assert_allclose(ours[player], theirs[player], rtol=1e-10)


@eqx.filter_jit
def left(opt, keys):
    def one(key):
        start = begin(TASK, opt, key)
        end, _ = unroll(TASK, opt, start, STEPS, lambda step: ())
        merit = TASK.loss(end.instance, (), key).merit
        return merit(end.params) / merit(start.params)

    return jnp.stack([one(key) for key in keys])


def test_momentum_along_the_change_leaves_less_of_the_gradient_than_extragradient():
    """Numbers near those that training finds; extragradient with the best of its rates."""
    keys = jr.split(jr.key(5), 4)
    ours = np.asarray(left(LearnedExtragradient(0.7, 1e-9, 1.0, 0.95), keys))
    theirs = np.min([np.asarray(left(Extragradient(rate), keys)) for rate in (0.1, 0.2, 0.3)], 0)
    assert np.exp(np.mean(np.log(ours))) < 0.5 * np.exp(np.mean(np.log(theirs)))


def test_numbers_that_make_no_sense_are_refused_in_one_sentence():
    for wrong, words in (
        ({"ahead": 0.0}, "ahead must be positive, got 0.0"),
        ({"delay": -1.0}, "delay must be positive"),
        ({"change": 4 / 3}, "change must lie between 0 and 4/3"),
        ({"momentum": 1.0}, "momentum must lie between 0 and 1"),
        ({"lr": float("inf")}, "lr must be a finite number"),
    ):
        with pytest.raises(ValueError, match=words):
            LearnedExtragradient(**wrong)
    assert float(LearnedExtragradient().logit_momentum[0]) == pytest.approx(logit(0.95))
