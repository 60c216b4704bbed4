"""Regularized: values, schedule and memory worked out by hand; what is skipped costs nothing."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from steppe.core.episode import begin, unroll
from steppe.core.measure import AbstractMeasure, AbstractWarm
from steppe.core.task import AbstractFormula, draw
from steppe.estimators.bptt import BPTT
from steppe.flatness.hessian import HessianTrace
from steppe.objectives.regularized import Regularized, flatness_share
from steppe.objectives.trajectory import Trajectory
from steppe.optimizers.classic.from_optax import sgd
from steppe.tasks.synthetic.quadratic import Quadratic
from steppe.train.loop import meta_train
from steppe.train.validate import Validation

LAST = Trajectory("last", "identity")
KEY = jr.key(0)


class Ladder(AbstractFormula):
    """f(x) = x: gradient descent with rate 1 takes x through 8, 7, 6, …"""

    start: float = eqx.field(static=True, default=8.0)

    def sample(self, key):
        return ()

    def init(self, instance, key):
        return jnp.asarray(self.start)

    def loss(self, instance, batch, key):
        return lambda params: params

    def target(self, instance):
        return None

    def metrics(self, params, instance, batch, key):
        return {}


class Square(AbstractMeasure):
    """x² + a, whatever the loss."""

    a: float = eqx.field(static=True, default=0.0)

    def __call__(self, loss, params, *, key):
        return params**2 + self.a


class Count(AbstractWarm):
    """How often it was evaluated before in the episode."""

    def __call__(self, loss, params, *, key):
        raise AssertionError("a warm measure goes on from its guess")

    def guess(self, params, *, key):
        return jnp.zeros(())

    def resume(self, loss, params, guess, *, key):
        return guess, guess + 1


def scores(objective, length=4, unrolls=1):
    """The scores of consecutive unrolls of one episode."""
    task, opt = Ladder(), sgd(1.0)
    episode = begin(task, opt, KEY)
    memo = objective.start(draw(task, (), KEY, split="train"), episode, key=KEY)
    seen = []
    for key in jr.split(KEY, unrolls):
        observe = lambda step, memo=memo: objective.observe(step, memo)
        episode, obs = unroll(task, opt, episode, length, observe)
        seen.append(objective(task, episode, obs, memo, key=key))
        memo = seen[-1].memo
    return seen


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 16),
        ({"where": "steps"}, (49 + 36 + 25 + 16) / 4),
        ({"where": "steps", "every": 2}, (36 + 16) / 2),
        ({"where": "steps", "every": 3}, 25),  # after the third of four steps
        ({"normalise": "initial"}, 16 / 64),
        ({"normalise": "log"}, np.log(16)),
        ({"where": "steps", "normalise": "log"}, np.mean(np.log([49, 36, 25, 16]))),
        ({"normalise": "log1p"}, np.log(17)),
        ({"normalise": "log1p", "reference": 4.0}, np.log(5)),
        ({"where": "steps", "since": 2}, (25 + 16) / 4),
        ({"where": "steps", "until": 2}, (49 + 36) / 4),
        ({"since": 3, "until": 4}, 16),
        ({"since": 4}, 0),
        ({"until": 3, "normalise": "log"}, 0),
    ],
    ids=str,
)
def test_score_is_the_number_worked_out_by_hand(options, expected):
    (score,) = scores(Regularized(LAST, Square(), 0.5, **options))
    assert float(score.value) == pytest.approx(4 + 0.5 * expected, rel=1e-12)


def test_parts_are_the_base_the_mean_measure_and_the_share_of_active_points():
    inner = Regularized(LAST, Square(), 0.5)
    outer = Regularized(inner, Square(1.0), 2.0, where="steps", normalise="log", since=1)
    parts = scores(outer)[0].parts
    assert {name: float(x) for name, x in parts.items()} == pytest.approx(
        {
            "base": 12.0,  # 4 + 16/2
            "flatness": (37 + 26 + 17) / 4,  # of the four points the first is inactive
            "active": 0.75,
            "base.base": 4.0,
            "base.flatness": 16.0,
            "base.active": 1.0,
        }
    )


def test_the_first_value_of_the_episode_is_kept_over_truncations():
    later = scores(Regularized(LAST, Square(), 1.0, normalise="initial"), 2, unrolls=3)[-1]
    assert float(later.value) == pytest.approx(2 + 4 / 64, rel=1e-12)


def test_a_warm_measure_goes_on_from_point_to_point_and_over_truncations():
    objective = Regularized(LAST, Count(), 1.0, where="steps", every=2, since=2, until=10)
    flatness = [4 / 2 * float(s.parts["flatness"]) / 2 for s in scores(objective, 4, unrolls=3)]
    # Active after steps 4 | 6, 8 | 10: evaluations number 0 | 1, 2 | 3.
    assert flatness == [0.0, 1.5, 1.5]


class Counted(AbstractMeasure):
    """Tells `calls` whenever it is really evaluated."""

    calls: list = eqx.field(static=True)

    def __call__(self, loss, params, *, key):
        jax.debug.callback(lambda: self.calls.append(1))
        return params**2

    def __hash__(self):
        return id(self.calls)


def estimate(objective, estimator, calls=None, *, opt=sgd(1.0)):  # noqa: B008
    """One compiled call of an estimator, from its start."""

    @eqx.filter_jit
    def run(state, key):
        return estimator(Ladder(), opt, state, objective, key=key)

    state = estimator.init(Ladder(), opt, objective, key=KEY)
    if calls is not None:
        jax.effects_barrier()
        calls.clear()
    result = run(state, KEY)
    jax.effects_barrier()
    return result


@pytest.mark.parametrize(("every", "expected"), [(1, 4), (2, 2), (4, 1)])
def test_a_stride_saves_its_evaluations_side_by_side_and_at_mixed_ages(every, expected):
    """Three episodes of four steps at three ages, in one vmap: counted once for all three."""
    calls = []
    objective = Regularized(LAST, Counted(calls), 0.5, where="steps", every=every)
    estimate(objective, BPTT(3, 4, 12, together=3), calls)
    assert len(calls) == expected


def test_a_stride_saves_its_flops(monkeypatch):
    """By XLA's account, which counts the body of a loop once: so loops are unrolled here.

    Of the program before XLA's optimisations, which takes no compiling.
    """
    scan = functools.partial(jax.lax.scan, unroll=True)
    monkeypatch.setattr(jax.lax, "scan", scan)

    def flops(objective):
        estimator = BPTT(2, 4, 8, together=2)
        task = Quadratic(8)
        start = jax.eval_shape(lambda: estimator.init(task, sgd(0.01), objective, key=KEY))
        run = lambda state, key: estimator(task, sgd(0.01), state, objective, key=key)[0]
        return jax.jit(run).lower(start, KEY).cost_analysis()["flops"]

    none = flops(LAST)
    extra = [
        flops(Regularized(LAST, HessianTrace(), 0.1, where="steps", every=every)) - none
        for every in (1, 2, 4)
    ]
    point = extra[1] - extra[2]  # 2 points less 1
    assert extra[0] - extra[1] == pytest.approx(2 * point, rel=0.1)
    assert extra[0] > 3 * extra[2]


def test_what_the_schedule_switches_off_is_not_computed_one_after_the_other():
    calls = []
    objective = Regularized(LAST, Counted(calls), 0.5, where="steps", until=1)
    _, state, _ = estimate(objective, BPTT(3, 4, 12, together=1), calls)
    assert len(calls) == 3  # the first of four points, in each of three episodes
    assert np.all(state.episode.step == 4)


class Broken(AbstractMeasure):
    """NaN, and so is its gradient."""

    def __call__(self, loss, params, *, key):
        return params * jnp.nan


def test_a_broken_measure_does_no_harm_while_it_is_inactive():
    """Side by side it is computed all the same, and NaN · 0 is NaN."""
    broken = Regularized(LAST, Broken(), 1.0, since=4)
    grads, _, stats = estimate(broken, BPTT(3, 4, 12, together=3))
    expected, *_ = estimate(LAST, BPTT(3, 4, 12, together=3))
    assert int(stats.nonfinite) == 0
    assert eqx.tree_equal(grads, expected)


@pytest.mark.parametrize("normalise", ["initial", "log", "log1p"])
def test_a_ratio_or_logarithm_of_what_is_not_positive_is_counted(normalise):
    objective = Regularized(LAST, Square(-100.0), 0.5, normalise=normalise)
    _, _, stats = estimate(objective, BPTT(3, 4, 12))
    assert int(stats.nonfinite) == 3


class Product(AbstractMeasure):
    """x · √2: its gradient is known."""

    def __call__(self, loss, params, *, key):
        return params * 2**0.5


def test_flatness_share_is_the_ratio_of_the_two_gradients():
    """d(x)/dθ of the base, s √2 times that of the measure; one trace for all strengths."""
    estimator, opt, traces = BPTT(2, 4, 12), sgd(1.0), []

    @eqx.filter_jit
    def share(state, objective):
        traces.append(1)
        return flatness_share(estimator, Ladder(), opt, state, objective, key=KEY)

    for s in (0.0, 0.5, 3.0):
        objective = Regularized(LAST, Product(), s)
        state = estimator.init(Ladder(), opt, objective, key=KEY)
        assert float(share(state, objective)) == pytest.approx(s * 2**0.5, rel=1e-12)
    assert len(traces) == 1


def test_meta_train_logs_the_measure_and_its_share_at_validation():
    def rows(objective):
        return meta_train(
            Ladder(), sgd(1.0), estimator=BPTT(2, 2, 4), objective=objective,
            meta_tx=optax.sgd(1e-3), steps=4, key=KEY, log_every=1,
            validation=Validation(every=2, horizon=2, episodes=2),
        )[1].rows  # fmt: skip

    regularized = rows(Regularized(LAST, Product(), 0.5))
    assert all({"base", "flatness", "active"} <= row.keys() for row in regularized)
    shares = {row["step"]: row["flatness_share"] for row in regularized if "valid_loss" in row}
    assert shares == pytest.approx({2: 0.5 * 2**0.5, 4: 0.5 * 2**0.5})
    assert all("flatness_share" not in row for row in rows(LAST))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"where": "middle"}, "where is 'middle', expected one of"),
        ({"normalise": "sqrt"}, "normalise is 'sqrt', expected one of"),
        ({"normalise": "log1p", "reference": 0.0}, "reference must be positive, got 0.0"),
        ({"every": 0, "where": "steps"}, "every must be at least 1, got 0"),
        ({"every": 2}, "where='end' measures the last point alone. Use where='steps'"),
        ({"since": 5, "until": 5}, "no step where the measure is active"),
    ],
)
def test_mistakes_are_explained(options, words):
    with pytest.raises(ValueError, match=words):
        Regularized(LAST, Square(), 1.0, **options)


def test_a_stride_longer_than_the_unroll_is_refused():
    with pytest.raises(ValueError, match="every=5 leaves no point of an unroll of 4 steps"):
        scores(Regularized(LAST, Square(), 1.0, where="steps", every=5))
