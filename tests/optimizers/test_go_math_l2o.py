"""GoMathL2O: its scheme against NumPy, its units, and starts that are far away."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

from steppe.core.episode import begin, unroll
from steppe.core.loss import Composite, LeastSquares, in_units, translated
from steppe.core.optimizer import join_meta, split_meta
from steppe.core.regularizer import L1, Box, ElasticNet, Translated, Zero
from steppe.optimizers.learned.go_math_l2o import GoMathL2O, subdifferential
from steppe.tasks.inverse.recovery import SparseRecovery
from steppe.tasks.wrappers.shifted import Shifted

KEY = jr.key(3)
TASK = SparseRecovery(rows=6, n=10, weight=0.05, start="normal")


def path(opt, task=TASK, steps=50):
    first = begin(task, opt, KEY)
    found = unroll(task, opt, first, steps, lambda step: step.after.params)[1]
    return task.loss(first.instance, (), KEY), first.params, np.asarray(found)


def test_the_scheme_is_that_of_numpy():
    """With constant diagonals: heads without weights, and biases r, q, b, b1, b2."""
    biases = np.array([0.3, -1.0, 0.4, 0.01, -0.02])
    opt = GoMathL2O(("r", "q", "b", "b1", "b2"), hidden=(3,), key=KEY)
    heads = eqx.tree_at(lambda h: (h.w, h.b), opt.heads, (jnp.zeros((3, 5)), jnp.asarray(biases)))
    loss, x, found = path(eqx.tree_at(lambda o: o.heads, opt, heads))
    A, b, L = (np.asarray(part) for part in (loss.smooth.A, loss.smooth.b, loss.lipschitz))
    sigma = 1 / (1 + np.exp(-biases))
    R, Q, B, (b1, b2) = 0.9999 / L * 2 * sigma[0], 2 * sigma[1], sigma[2], biases[3:]
    x, v, expected = np.asarray(x), np.zeros(10), []
    for _ in range(50):
        z = x - R * A.T @ (A @ x - b) - Q * v - b1
        after = np.sign(z) * np.maximum(np.abs(z) - 0.05 * R, 0)
        v = B * v + (1 - B) * (x - after - b1) - b2
        x = after
        expected.append(x)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_momentum_begins_near_zero():
    loss, _, found = path(GoMathL2O(("q",), hidden=(3,), key=KEY), steps=300)
    values = jax.vmap(loss)(jnp.asarray(found))
    assert (np.diff(values) < 1e-6).all()


def test_a_problem_in_other_units_is_solved_alike():
    """9 F has nine times the gradients and L; F(x / 4) begins four times as far away."""
    opt = GoMathL2O(hidden=(3,), key=KEY)
    loss, x, _ = path(opt)

    def run(loss, x):
        state, found = opt.init(x), []
        step = eqx.filter_jit(lambda state, x: opt.update(x, state, x, problem=Told(loss)))
        for _ in range(8):
            move, state = step(state, x)
            x = x + move
            found.append(x)
        return np.array(found)

    plain = run(loss, x)
    smooth = LeastSquares(3 * loss.smooth.A, 3 * loss.smooth.b)
    scaled = Composite(smooth, L1(9 * 0.05), 9 * loss.lipschitz)
    np.testing.assert_allclose(run(scaled, x), plain, atol=1e-11)
    np.testing.assert_allclose(
        run(in_units(loss, jnp.full(10, 0.25)), 4 * x) / 4, plain, atol=1e-11
    )


class Told(eqx.Module):
    """A problem of one loss."""

    told: Composite

    def loss(self):
        return self.told


@pytest.mark.parametrize("shift", [-100.0, -10.0, 20.0, 50.0])
def test_far_starts_and_moved_objectives_are_come_back_from(shift):
    theta, rest = split_meta(GoMathL2O(hidden=(3,), monotone=True, key=KEY))
    wild = join_meta(
        jtu.tree_map(lambda x: 5 * jnp.cos(7 * jnp.cumsum(x)).reshape(x.shape), theta), rest
    )
    for task in (Shifted(TASK, start=shift), Shifted(TASK, objective=shift)):
        loss, _, found = path(wild, task, 200)
        values = np.asarray(jax.vmap(loss)(jnp.asarray(found)))
        assert (np.diff(values) <= 1e-12 * values[:-1]).all() and values[-1] < 0.2 * values[0]


def test_a_moved_l1_norm_shrinks_towards_where_it_is_least():
    """The published code gives −10."""
    r = Translated(L1(0.1), 10.0)
    assert float(r.prox(jnp.array(-0.5), 1.0)) == pytest.approx(-0.6)
    assert float(r.prox(jnp.array(-9.95), 1.0)) == -10
    assert float(r(jnp.array([-10.0, -9.0]))) == pytest.approx(0.1)


@pytest.mark.parametrize("r", [L1(0.7), ElasticNet(0.7, 0.3), Translated(L1(0.7), 0.5), Zero()])
def test_the_ends_of_the_subdifferential_are_slopes_to_both_sides(r):
    x, h = jnp.array([-1.2, 0.0, 0.4, -0.5]), 1e-6
    one = jax.vmap(lambda x: r(x[None]))
    low, high = (one(x) - one(x - h)) / h, (one(x + h) - one(x)) / h
    np.testing.assert_allclose(subdifferential(r, x), [low, high], atol=1e-5)


def test_moved_losses_tell_their_parts():
    loss = TASK.loss(TASK.sample(KEY), (), KEY)
    found, x = translated(loss, 2.0), jnp.linspace(-1, 1, 10)
    assert isinstance(found.smooth, LeastSquares) and found.lipschitz == loss.lipschitz
    np.testing.assert_allclose(found(x), loss(x + 2), rtol=1e-12)
    np.testing.assert_allclose(found.truth + 2, loss.truth, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: GoMathL2O(("p",), key=KEY), "use has 'p', expected parts of"),
        (lambda: GoMathL2O(("r", "b1"), monotone=True, key=KEY), "proven for the parts r, q and b"),
        (lambda: Shifted(TASK, start=np.nan), "Shifted: start must be a finite number"),
        (lambda: subdifferential(Box(0.0, 1.0), jnp.ones(2)), "L1 and ElasticNet, got Box"),
    ],
)
def test_what_makes_no_sense_is_refused(make, words):
    with pytest.raises((TypeError, ValueError), match=words):
        make()
