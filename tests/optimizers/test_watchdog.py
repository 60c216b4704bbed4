"""A watchdog hands over where its base goes wrong, and goes back where it has to."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import pytest

from steppe.core import tree
from steppe.core.optimizer import AbstractOptimizer
from steppe.optimizers.classic.from_optax import adam, sgd
from steppe.optimizers.watchdog import WAY_BACK, Watchdog

START = np.array([2.0, -1.0, 0.5])
SCALES = np.array([1.0, 3.0, 0.5])
RATE, STEPS = 0.05, 55
NEVER = np.int64(-1)


class Plan(AbstractOptimizer):
    """−factor · g, from its `bad`-th step on −late · g. Counts its steps."""

    factor: jax.Array = eqx.field(converter=jnp.asarray)
    late: jax.Array = eqx.field(converter=jnp.asarray)
    bad: jax.Array = eqx.field(converter=jnp.asarray)

    def init(self, params, *, key=None):
        return jnp.zeros((), jnp.int32)

    def update(self, grads, state, params, **extra):
        factor = jnp.where(state < self.bad, self.factor, self.late)
        return jtu.tree_map(lambda g: (-factor * g).astype(g.dtype), grads), state + 1


def loss(x):
    return 0.5 * jnp.sum(jnp.asarray(SCALES) * x**2)


@eqx.filter_jit
def run(opt, hole=NEVER):
    """After every step the point, who leads, and the dismissals; then where its turn began.

    There is no gradient at step `hole`.
    """

    def step(carry, t):
        x, state = carry
        g = jnp.where(t == hole, jnp.nan, jax.grad(loss)(x))
        updates, state = opt.update(g, state, x)
        x = tree.apply_updates(x, updates)
        return (x, state), (x, state.turn.leads, state.dismissals, state.turn.anchor)

    start = jnp.asarray(START)
    return jax.lax.scan(step, (start, opt.init(start)), jnp.arange(STEPS))[1]


def guarded(factor, late=0.0, bad=1000, **options):
    return Watchdog(Plan(factor, late, bad), sgd(RATE), **{"window": 5, **options})


def descend(x, factor, steps):
    """Points of gradient descent."""
    points = []
    for _ in range(steps):
        x = x - factor * SCALES * x
        points.append(x)
    return np.array(points)


def test_a_base_that_makes_progress_leads_all_the_way():
    x, leads, dismissals, _ = run(guarded(0.2))
    np.testing.assert_allclose(x, descend(START, 0.2, STEPS), rtol=1e-12)
    assert np.all(leads) and not np.any(dismissals)


def test_from_where_it_stands_still_the_fallback_leads():
    x, leads, dismissals, _ = run(guarded(0.2, 0.0, 5))
    # Turns end after 5, 10 and 15 steps; two without progress are enough. It waits for 2 turns.
    assert [int(n) for n in np.flatnonzero(~np.asarray(leads))[:10]] == list(range(15, 25))
    still = descend(START, 0.2, 5)[-1]
    np.testing.assert_allclose(x[4:15], [still] * 11, rtol=1e-12)
    np.testing.assert_allclose(x[15:25], descend(still, RATE, 10), rtol=1e-12)
    assert leads[25] and dismissals[24] == 1
    # Begun afresh, it counts its good steps once more.
    np.testing.assert_allclose(x[25:30], descend(x[24], 0.2, 5), rtol=1e-12)


def test_waits_double():
    _, leads, *_ = run(guarded(0.0))
    lengths = np.diff(np.flatnonzero(np.diff(np.asarray(leads))))
    np.testing.assert_array_equal(lengths, [10, 10, 20])


def test_a_rise_is_undone_at_once():
    x, leads, dismissals, _ = run(guarded(0.2, -3.0, 5))
    before = descend(START, 0.2, 5)
    np.testing.assert_allclose(x[:5], before, rtol=1e-12)
    assert loss(x[5]) > loss(START) and dismissals[6] == 1
    np.testing.assert_allclose(x[6 : 6 + WAY_BACK], [before[-1]] * WAY_BACK, rtol=1e-12)
    after = descend(before[-1], RATE, 5)
    np.testing.assert_allclose(x[6 + WAY_BACK : 11 + WAY_BACK], after, rtol=1e-12)
    assert not np.any(leads[6 : 16 + WAY_BACK])


def test_a_slow_rise_is_undone_at_the_end_of_the_turn():
    x, leads, *_ = run(guarded(-0.3 * RATE))
    assert np.all(leads[:5]) and loss(x[4]) > loss(START) and not leads[5]
    np.testing.assert_allclose(x[5 : 5 + WAY_BACK], [START] * WAY_BACK, rtol=1e-12)


@pytest.mark.parametrize("factor", [np.nan, np.inf, -1e30, 1e30])
def test_updates_out_of_all_proportion_are_never_made(factor):
    x, leads, dismissals, _ = run(guarded(factor))
    np.testing.assert_allclose(x[:10], descend(START, RATE, 10), rtol=1e-12)
    assert dismissals[0] == 1 and not leads[0] and np.all(np.isfinite(x))


def test_the_fallback_skips_a_gradient_that_is_not_finite_and_the_base_goes_back():
    x, _, dismissals, _ = run(guarded(0.2), np.int64(2))
    np.testing.assert_allclose(x[2 : 2 + WAY_BACK], [START] * WAY_BACK, rtol=1e-12)
    assert dismissals[2] == 1
    x, _, dismissals, _ = run(guarded(np.nan), np.int64(2))
    np.testing.assert_array_equal(x[2], x[1])
    np.testing.assert_allclose(x[3], descend(x[1], RATE, 1)[0], rtol=1e-12)


def test_a_state_that_went_wrong_is_begun_afresh():
    """The fallback, too: what Adam has seen far away would make it slow."""
    x, *_ = run(Watchdog(Plan(-20.0, 0.0, 1000), adam(0.1), window=10))
    assert np.max(np.abs(x)) > 10
    assert loss(x[-1]) < 0.2 * loss(START)


def test_no_turn_ends_higher_than_it_began():
    """On a quadratic the integral is the change of the loss, whatever the base does."""
    for factor in (-0.1, 0.4, 0.65, 0.7, 5.0):
        x, *_, anchor = run(guarded(factor, -factor, 7))
        ends = np.array([loss(START), *map(loss, anchor)])
        assert np.all(np.diff(ends) <= 1e-12 * ends[:-1]) and ends[-1] < ends[0]
        assert loss(x[-1]) < ends[0]


def test_sums_that_overflow_are_a_rise_and_leave_no_trace():
    x, opt = jnp.ones(9, jnp.float32), guarded(0.2)
    state = opt.init(x)
    for g in (np.full(9, -1.0), np.full(9, 3e38), np.full(9, 1.0)):
        updates, state = opt.update(jnp.asarray(g, jnp.float32), state, x)
        x = tree.apply_updates(x, updates)
    assert state.dismissals == 1 and tree.finite(state)
    np.testing.assert_allclose(x, 1.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window": 1}, "window must be a whole number ≥ 2, got 1"),
        ({"patience": 0}, "patience must be a whole number ≥ 1, got 0"),
        ({"share": -0.1}, "share must be zero or positive, got -0.1"),
        ({"reach": float("nan")}, "reach must be positive, got nan"),
        ({"fallback": "adam"}, "fallback is a str, expected a steppe optimizer"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, words):
    with pytest.raises(ValueError, match=f"^Watchdog: {words}"):
        Watchdog(**{"base": sgd(0.1), "fallback": sgd(0.1)} | options)
