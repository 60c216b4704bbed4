"""Guarded survives any proposal, is never worse than its fallback, and leaves a good rule alone."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import steppe
from steppe.core import tree
from steppe.core.episode import begin, unroll
from steppe.core.optimizer import AbstractOptimizer
from steppe.core.task import Problem
from steppe.optimizers.classic.from_optax import sgd
from steppe.optimizers.classic.games import Extragradient
from steppe.optimizers.classic.proximal import FISTA, ISTA
from steppe.optimizers.guarded import Guarded
from steppe.optimizers.learned.math_l2o import MathL2O
from steppe.tasks.inverse.patches import ImagePatches
from steppe.tasks.inverse.recovery import SparseRecovery
from tests.optimizers.monotone import Game

LASSO = SparseRecovery(rows=6, n=10, weight=0.05, start="normal")
MATH = MathL2O(hidden=(3,), key=jr.key(0))


class Adversary(AbstractOptimizer):
    """`factor` times the step of another rule; every third time NaN with `holes`."""

    base: AbstractOptimizer
    factor: jax.Array = eqx.field(converter=jnp.asarray)
    holes: jax.Array = eqx.field(converter=jnp.asarray)

    def init(self, params, *, key=None):
        return self.base.init(params), jnp.zeros((), jnp.int32)

    def update(self, grads, state, params, **extra):
        step, inner = self.base.update(grads, state[0], params, **extra)
        factor = jnp.where(self.holes & (state[1] % 3 == 0), jnp.nan, self.factor)
        return tree.scale(factor, step), (inner, state[1] + 1)


@eqx.filter_jit
def run(opt, task, keys, steps):
    """Values before every step, the points of the end, and the end's state, problem by problem."""

    def one(key):
        end, values = unroll(task, opt, begin(task, opt, key), steps, lambda step: step.value)
        last = task.loss(end.instance, (), key)(end.params)
        return jnp.append(values, last), end

    return jax.lax.map(one, keys)


@eqx.filter_jit
def residual(rule, task, ends, keys):
    """‖step of the rule‖ at the starts and at the ends."""

    def one(x):
        end, key = x
        problem = Problem(task, end.instance, (), key)
        start = begin(task, rule, key).params
        size = lambda p: tree.norm(rule.update(problem.grad(p), (), p, problem=problem)[0])
        return size(start), size(end.params)

    return jax.lax.map(one, (ends, keys))


PAIRS = {"lasso": (LASSO, ISTA()), "game": (Game(), Extragradient(0.3))}
ATTACKS = {"flipped": (-10.0, False), "holes": (-10.0, True), "nan": (np.nan, False)}


def survives(name, by, attack, problems, steps):
    task, fallback = PAIRS[name]
    keys = jr.split(jr.key(3), problems)
    guarded = Guarded(Adversary(fallback, *ATTACKS[attack]), fallback, by)
    _, ends = run(guarded, task, keys, steps)
    start, end = residual(fallback, task, ends, keys)
    assert np.all(np.asarray(end) <= 1e-3 * np.asarray(start))
    state = ends.opt_state
    # At the end nothing moves, and −10 · 0 is as good as any.
    assert np.all(state.steps == steps) and np.all(state.rejections > 20)
    assert attack != "nan" or np.all(state.rejections == steps)
    assert guarded.counts(state)["rejections"] is state.rejections


@pytest.mark.parametrize(
    ("name", "by"), [("lasso", "loss"), ("lasso", "residual"), ("game", "residual")]
)
def test_adversarial_proposals_are_survived(name, by):
    for attack in ATTACKS:
        survives(name, by, attack, problems=2, steps=2000)


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize(
    ("name", "by"), [("lasso", "loss"), ("lasso", "residual"), ("game", "residual")]
)
def test_adversarial_proposals_are_survived_on_fifty_problems(name, by, attack):
    survives(name, by, attack, problems=50, steps=5000)


@pytest.mark.parametrize("by", ["loss", "residual"])
def test_a_good_rule_is_hardly_ever_rejected(by):
    keys = jr.split(jr.key(3), 2)
    guarded = Guarded(FISTA(restart=True), ISTA(), by)
    values, ends = run(guarded, LASSO, keys, 200)
    assert np.all(ends.opt_state.rejections <= 0.05 * 200)
    alone, _ = run(FISTA(restart=True), LASSO, keys, 200)
    np.testing.assert_allclose(values[:, -1], alone[:, -1], rtol=1e-9)


def test_never_above_the_curve_of_the_fallback():
    keys = jr.split(jr.key(5), 2)
    steep, hasty = Adversary(FISTA(), -10.0, True), Adversary(FISTA(), 3.0, False)
    for base, fallback in ((MATH, ISTA()), (steep, FISTA()), (hasty, FISTA())):
        curve, _ = run(fallback, LASSO, keys, 200)
        values, ends = run(Guarded(base, fallback), LASSO, keys, 200)
        assert np.all(values <= curve * (1 + 1e-14) + 1e-15)
        assert np.any(ends.opt_state.rejections > 0)


@pytest.mark.slow
def test_a_trained_rule_is_never_above_ista_on_patches_that_it_was_not_trained_for():
    train = SparseRecovery(rows=25, n=50, weight=0.1, density=0.125)
    opt, _ = steppe.meta_train(
        train,
        MathL2O(hidden=(8,), key=jr.key(1)),
        estimator=steppe.BPTT(4, 10, 30, stagger=False, together=4),
        objective=steppe.Trajectory("uniform", "log"),
        meta_tx=optax.adam(3e-3),
        steps=60,
        key=jr.key(2),
    )
    patches, keys = ImagePatches(), jr.split(jr.key(3), 8)
    curve, _ = run(ISTA(), patches, keys, 60)
    values, _ = run(Guarded(opt, ISTA()), patches, keys, 60)
    assert np.all(values <= curve * (1 + 1e-12))
    least = values.min(axis=1, keepdims=True).clip(max=curve.min(axis=1, keepdims=True))
    assert np.median((values - least)[:, 20] / (curve - least)[:, 20]) < 0.75


BOWL = steppe.Quadratic(n=3)


def test_a_plain_loss_takes_a_first_order_fallback():
    """An adversary leaves the run of the fallback, a good rule its own."""
    keys = jr.split(jr.key(5), 2)
    for by in ("loss", "residual"):
        for factor, rejections in ((-10.0, 30), (2.0, 0)):
            alone, _ = run(sgd(0.02 if factor > 0 else 0.01), BOWL, keys, 30)
            guarded = Guarded(Adversary(sgd(0.01), factor, False), sgd(0.01), by)
            values, ends = run(guarded, BOWL, keys, 30)
            np.testing.assert_allclose(values, alone, rtol=1e-12)
            assert np.all(ends.opt_state.rejections == rejections)


@pytest.mark.parametrize("restart", [True, False])
def test_a_rejected_rule_begins_afresh_or_goes_on(restart):
    """The adversary counts its steps: every third, from the first, is NaN, the others are good."""
    opt = Guarded(Adversary(sgd(0.02), 1.0, True), sgd(0.01), restart=restart)
    _, ends = run(opt, BOWL, jr.split(jr.key(5), 2), 9)
    assert np.all(ends.opt_state.rejections == (9 if restart else 3))
    assert np.all(ends.opt_state.base[1] == (0 if restart else 9))


class Poisoned(AbstractOptimizer):
    """Descends, but keeps a NaN from its third step on."""

    rate: jax.Array = eqx.field(converter=jnp.asarray)

    def init(self, params, *, key=None):
        return jnp.zeros(())

    def update(self, grads, state, params, **extra):
        step = tree.scale(-self.rate, grads)
        return tree.scale(jnp.where(jnp.isnan(state), jnp.nan, 1.0), step), state + jnp.where(
            state < 2, 1.0, jnp.nan
        )


def test_a_state_that_is_not_finite_is_begun_afresh():
    _, ends = run(
        Guarded(Poisoned(0.02), sgd(0.01), restart=False), BOWL, jr.split(jr.key(5), 2), 9
    )
    assert np.all(np.isfinite(ends.opt_state.base)) and np.all(ends.opt_state.rejections == 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"by": "value"}, r"by is 'value', expected one of \('loss', 'merit', 'residual'\)"),
        ({"decay": 1.0}, "decay must lie between 0 and 1, got 1.0"),
        ({"decay": float("nan")}, "decay must be a finite number, got nan"),
        ({"fallback": "ista"}, "fallback is a str, expected a steppe optimizer"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, words):
    with pytest.raises(ValueError, match=f"^Guarded: {words}"):
        Guarded(**{"base": sgd(0.1), "fallback": sgd(0.1)} | options)


def test_without_a_problem_it_says_what_to_do():
    opt, x = Guarded(sgd(0.1), sgd(0.1)), jnp.ones(2)
    with pytest.raises(ValueError, match=r"was given none.*to_optax\(opt, guard=…\)"):
        opt.update(x, opt.init(x), x)
