"""BPTT against central differences through a slow Python loop, in float64."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest
from jaxtyping import Array

from steppe.core.optimizer import AbstractOptimizer
from steppe.core.task import AbstractFormula, AbstractTask
from steppe.estimators import replay
from steppe.estimators.bptt import BPTT
from steppe.estimators.replay import sample_rows
from steppe.objectives.trajectory import Trajectory
from steppe.optimizers.classic.from_optax import sgd
from steppe.optimizers.learned.dm import DM
from steppe.optimizers.learned.learned_adam import LearnedAdam
from steppe.optimizers.learned.rnnprop import RNNProp
from steppe.optimizers.learned.symbolic import Symbolic
from tests.reference.unroll import central_differences, flat, slow_unroll

LENGTH = 3


class Bowl(AbstractTask):
    """A noisy, non-quadratic bowl in 2 + 1 dimensions; every batch is another surface."""

    def sample(self, key):
        return jr.uniform(key, (2,), minval=0.5, maxval=2.0)

    def init(self, instance, key):
        return {"x": jr.normal(key, (2,)), "y": jnp.asarray(0.3)}

    def batch(self, instance, key, *, split="train"):
        return 0.3 * jr.normal(key, (2,)) + (split == "valid")

    def loss(self, instance, batch, key):
        def f(params):
            x, y = params["x"], params["y"]
            return jnp.sum(jnp.log1p(instance * (x - batch) ** 2)) + 0.5 * (y - x[0]) ** 2 + 0.1

        return f

    def target(self, instance):
        return None

    def metrics(self, params, instance, batch, key):
        return {}

    def full_batch(self, instance, *, split):
        return jnp.zeros(2)


class Mixing(AbstractOptimizer):
    """Mixes coordinates, uses `value` and the parameters: not coordinatewise."""

    log_lr: Array
    decay: Array

    def init(self, params, *, key=None):
        return jtu.tree_map(jnp.zeros_like, params)

    def update(self, grads, state, params, *, value, **extra):
        size = jnp.sqrt(sum(jnp.sum(g**2) for g in jtu.tree_leaves(grads)) + 1.0)
        state = jtu.tree_map(lambda m, g: jnp.tanh(self.decay) * m + g / size, state, grads)
        lr = jnp.exp(self.log_lr) * jnp.tanh(value)
        return jtu.tree_map(lambda m, p: -lr * m - 0.01 * lr * p, state, params), state


class Plain(AbstractOptimizer):
    """Hides that `base` is coordinatewise, so that BPTT differentiates the unroll itself."""

    base: AbstractOptimizer

    def init(self, params, *, key=None):
        return self.base.init(params, key=key)

    def update(self, grads, state, params, **extra):
        return self.base.update(grads, state, params, **extra)


OPTIMIZERS = {
    "dm": lambda key: DM((3, 2), scale=0.3, block=2, key=key),
    "rnnprop": lambda key: RNNProp((3,), 2, scale=0.3, block=2, key=key),
    "adam": lambda key: LearnedAdam(0.1, 0.5, 0.5, 0.1, block=2),  # little to compile
    "symbolic": lambda key: Symbolic("-0.1 * g / sqrt(ms5) - 0.2 * tanh(2 * mom9[2])"),
    "mixing": lambda key: Mixing(jnp.asarray(-1.0), jnp.asarray(0.7)),
}
OBJECTIVES = {
    "log": Trajectory(),
    "ratio-valid-ramp": Trajectory("ramp", "ratio", "valid"),
    "identity-fresh-last": Trajectory("last", "identity", "fresh"),
    "sum": Trajectory("sum", "identity", "same"),
}


def second_window(gradient, estimator, task, opt, objective, key):
    """The second truncation window: memo and optimizer state are not fresh.

    The first one is advanced by `gradient(window, key)`, which is compiled anyway.
    """
    key_init, key_call = jr.split(key)
    window = _init(estimator, task, opt, objective, key_init)
    window = jtu.tree_map(lambda leaf: leaf[0], window)
    return gradient(window, key_call)[1]


@pytest.mark.parametrize(
    ("name", "second_order", "objective"),
    [
        ("dm", False, "log"),
        pytest.param("adam", False, "log", marks=pytest.mark.user_flags(x64=True)),
        pytest.param("dm", True, "sum", marks=pytest.mark.slow),
        pytest.param("rnnprop", False, "ratio-valid-ramp", marks=pytest.mark.slow),
        ("rnnprop", True, "log"),
        pytest.param("mixing", False, "identity-fresh-last", marks=pytest.mark.slow),
        pytest.param("mixing", True, "ratio-valid-ramp", marks=pytest.mark.user_flags(x64=True)),
    ],
)
def test_meta_gradient_is_the_central_difference(name, second_order, objective, getkey):
    task, opt, objective = Bowl(), OPTIMIZERS[name](getkey()), OBJECTIVES[objective]
    estimator = BPTT(1, LENGTH, 100, second_order=second_order)
    gradient = eqx.filter_jit(
        lambda window, key: estimator.gradient(task, opt, window, objective, key=key)
    )
    window = second_window(gradient, estimator, task, opt, objective, getkey())
    key = getkey()
    score, after, grads = gradient(window, key)

    slow = lambda opt, handed: slow_unroll(
        task, opt, window.episode, LENGTH, objective, window.memo,
        key=jr.split(key)[0], handed=handed,
    )  # fmt: skip
    full = eqx.filter_jit(lambda opt: slow(opt, None))
    expected, slow_after, handed = full(opt)
    held = full if second_order else eqx.filter_jit(lambda opt: slow(opt, handed))
    scalar = lambda opt: held(opt)[0]
    assert float(score.value) == pytest.approx(float(expected), rel=1e-12)
    for leaf, slow_leaf in zip(
        jtu.tree_leaves(after.episode.params), jtu.tree_leaves(slow_after.params), strict=True
    ):
        np.testing.assert_allclose(leaf, slow_leaf, rtol=1e-12)
    differences = central_differences(scalar, opt)
    assert np.linalg.norm(differences) > 1e-3
    np.testing.assert_allclose(flat(grads), differences, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("remat", "name"), [(False, "rnnprop"), (True, "adam")])
def test_replay_is_the_gradient_through_the_unroll(remat, name, getkey):
    task, objective, key = Bowl(), Trajectory(), getkey()
    opt = OPTIMIZERS[name](getkey())
    state = _init(BPTT(3, LENGTH, 8), task, opt, objective, key)
    fast = eqx.filter_jit(
        lambda state: BPTT(3, LENGTH, 8, remat=remat)(task, opt, state, objective, key=key)
    )
    slow = eqx.filter_jit(
        lambda state: BPTT(3, LENGTH, 8, remat=remat)(task, Plain(opt), state, objective, key=key)
    )
    plain = state
    for _ in range(3):  # over a reset
        grads, state, stats = fast(state)
        plain_grads, plain, plain_stats = slow(plain)
        assert float(stats.loss) == pytest.approx(float(plain_stats.loss), rel=1e-13)
        np.testing.assert_allclose(flat(grads), flat(plain_grads), rtol=1e-10, atol=1e-13)


class Wide(AbstractTask):
    """Forty coordinates of very different importance, eight of them dead."""

    def sample(self, key):
        scales = jnp.concatenate([jnp.zeros(8), jnp.geomspace(1e-2, 3.0, 32)])
        return jr.permutation(key, scales)

    def init(self, instance, key):
        return {"a": jr.normal(key, (5, 6)), "b": jnp.ones((10,))}

    def batch(self, instance, key, *, split="train"):
        return jr.normal(key, (40,))

    def loss(self, instance, batch, key):
        def f(params):
            x = jnp.concatenate([params["a"].ravel(), params["b"]])
            return jnp.mean(instance * (x - 0.2 * batch) ** 2)

        return f

    def target(self, instance):
        return None

    def metrics(self, params, instance, batch, key):
        return {}

    def full_batch(self, instance, *, split):
        return jnp.zeros(40)


@pytest.mark.parametrize("rows", [pytest.param(1, marks=pytest.mark.slow), 12])
def test_sampled_gradient_is_unbiased_and_the_loss_is_the_same_to_the_bit(rows, getkey):
    task, objective = Wide(), Trajectory()
    opt = RNNProp((4,), 3, scale=0.1, block=16, key=getkey())
    exact = BPTT(1, 5, 100)
    sampled = BPTT(1, 5, 100, rows=rows)
    gradient = jax.jit(lambda window, key: exact.gradient(task, opt, window, objective, key=key))
    window = second_window(gradient, exact, task, opt, objective, getkey())
    key = getkey()

    draws = 3000
    draw = jax.jit(lambda key: sampled.gradient(task, opt, window, objective, key=key)[::2])
    # One draw of the objective's randomness, many of the rows: keys that share their first half.
    record = jax.jit(lambda: replay.record(task, opt, window, objective, 5, jr.split(key)[0]))
    _, _, g, lam, _ = record()
    state = replay.all_rows(opt, window.episode.opt_state, window.episode.params)
    truth = flat(jax.jit(lambda: replay.replay(opt, state, g, lam))())

    @jax.jit
    @jax.vmap
    def many(key):
        index, weight = replay.sample_rows(jnp.sqrt(jnp.sum(lam**2, 0)), rows, key)
        taken = replay.take_rows(state, index)
        return replay.replay(opt, taken, g[:, index], lam[:, index] * weight[None])

    samples = np.concatenate(
        [
            np.asarray(leaf).reshape(draws, -1)
            for leaf in jtu.tree_leaves(many(jr.split(getkey(), draws)))
        ],
        axis=1,
    )
    error = samples.mean(0) - truth
    se = samples.std(0, ddof=1) / np.sqrt(draws)
    z = error / np.maximum(se, 1e-15)
    assert np.abs(z).max() < 5.0
    assert np.mean(np.abs(z) < 2) > 0.85
    sampled_score, _ = draw(key)
    exact_score, _, exact_grads = gradient(window, key)
    assert sampled_score.value == exact_score.value
    np.testing.assert_allclose(flat(exact_grads), truth, rtol=1e-9, atol=1e-14)


@pytest.mark.slow
def test_more_rows_bring_the_sampled_gradient_closer(getkey):
    task, objective = Wide(), Trajectory()
    opt = RNNProp((4,), 3, scale=0.1, key=getkey())
    few, many = (
        np.mean([_relative_error(task, opt, objective, rows, getkey()) for _ in range(6)])
        for rows in (4, 24)
    )
    assert many < 0.6 * few


def _gradient(estimator, task, opt, objective, key):
    return _call(estimator, task, opt, objective, key)[0]


def _relative_error(task, opt, objective, rows, key):
    exact = flat(_gradient(BPTT(2, 5, 100), task, opt, objective, key))
    sampled = flat(_gradient(BPTT(2, 5, 100, rows=rows), task, opt, objective, key))
    return np.linalg.norm(sampled - exact) / np.linalg.norm(exact)


DRAW = jax.jit(jax.vmap(lambda scores, key: sample_rows(scores, 3, key), (None, 0)))


def test_rows_are_drawn_in_proportion_to_their_score(getkey):
    scores = jnp.array([0.0, 1.0, 2.0, 3.0, 100.0, 0.0])
    draws = 4000
    index, weight = DRAW(scores, jr.split(getkey(), draws))
    counts = np.bincount(np.asarray(index).ravel(), minlength=6) / draws
    np.testing.assert_allclose(counts, [0, 2 / 6, 4 / 6, 1, 1, 0], atol=0.03)
    totals = np.sum(weight * np.asarray(scores)[index], axis=1)
    assert float(totals.mean()) == pytest.approx(106.0, rel=1e-2)


def test_rows_of_equal_zero_score_give_finite_weights(getkey):
    index, weight = DRAW(jnp.zeros(6), getkey()[None])
    assert np.all(np.isfinite(weight))
    assert len(set(np.asarray(index[0]).tolist())) == 3


def test_rows_with_second_order_are_refused():
    with pytest.raises(ValueError, match="second_order"):
        BPTT(rows=10, second_order=True)


def test_rows_need_a_coordinatewise_optimizer(getkey):
    task, opt, objective = Bowl(), OPTIMIZERS["mixing"](getkey()), Trajectory()
    estimator = BPTT(1, LENGTH, 100, rows=2)
    with pytest.raises(ValueError, match="Mixing mixes coordinates"):
        eqx.filter_eval_shape(_call, estimator, task, opt, objective, getkey())


class Cliff(AbstractFormula):
    """Half of the instances have a loss that is not a number."""

    def sample(self, key):
        return jr.bernoulli(key).astype(jnp.result_type(float))

    def init(self, instance, key):
        return jr.normal(key, (3,))

    def loss(self, instance, batch, key):
        return lambda params: jnp.where(instance > 0, jnp.nan, 1.0) * jnp.sum(params**2)

    def target(self, instance):
        return None

    def metrics(self, params, instance, batch, key):
        return {}


@pytest.mark.parametrize("wrap", [lambda opt: opt, Plain], ids=["replay", "plain"])
def test_nonfinite_episodes_are_counted_left_out_and_begun_afresh(wrap, getkey):
    task, objective = Cliff(), Trajectory()
    opt = wrap(OPTIMIZERS["adam"](getkey()))
    estimator = BPTT(16, 3, 300, stagger=False)
    many = _init(BPTT(64, 3, 300, stagger=False), task, opt, objective, getkey())
    spoilt = np.asarray(many.episode.instance) > 0
    chosen = np.concatenate([np.flatnonzero(~spoilt)[:8], np.flatnonzero(spoilt)[:8]])
    lanes = jax.jit(lambda state, index: jtu.tree_map(lambda leaf: leaf[index], state))
    state = lanes(many, chosen)
    bad = np.arange(16) >= 8
    call = eqx.filter_jit(lambda state, key: estimator(task, opt, state, objective, key=key))
    grads, after, stats = call(state, getkey())
    assert int(stats.nonfinite) == bad.sum()
    assert np.isfinite(float(stats.loss)) and np.all(np.isfinite(flat(grads)))
    good = lanes(state, np.repeat(np.flatnonzero(~bad), 2))  # a mean as theirs
    alone, _, none = call(good, getkey())
    assert int(none.nonfinite) == 0
    # the objective's own draw differs from call to call, but Cliff has no randomness in its loss
    np.testing.assert_allclose(flat(grads), flat(alone), rtol=1e-9, atol=1e-15)
    _, _, stats = call(after, getkey())
    assert int(stats.resets) == bad.sum()


def test_staggered_episodes_end_at_evenly_spread_ages(getkey):
    task, opt, objective = Bowl(), sgd(0.1), Trajectory()
    estimator = BPTT(4, 5, 20)
    state = _init(estimator, task, opt, objective, getkey())
    assert np.asarray(state.steps_left).tolist() == [5, 10, 15, 20]
    call = eqx.filter_jit(estimator)
    resets = []
    for _ in range(9):
        _, state, stats = call(task, opt, state, objective, key=getkey())
        resets.append(int(stats.resets))
    assert resets == [0] + [1] * 8


def test_horizon_changes_without_another_trace(getkey):
    task, opt, objective = Bowl(), sgd(0.1), Trajectory()
    traces = []

    @eqx.filter_jit
    def call(estimator, state, key):
        traces.append(1)
        return estimator(task, opt, state, objective, key=key)

    state = _init(BPTT(4, 5, 20), task, opt, objective, getkey())
    for horizon in (6, 9, 60):
        _, state, _ = call(BPTT(4, 5, horizon), state, getkey())
    assert len(traces) == 1


@pytest.mark.parametrize(
    "together", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))]
)
def test_how_many_episodes_advance_together_changes_nothing(together):
    task, objective, key, opt = Bowl(), Trajectory(), jr.key(3), OPTIMIZERS["adam"](jr.key(4))
    grads, _, stats = _call(BPTT(4, 3, 30, together=together), task, opt, objective, key)
    other, _, other_stats = _call(BPTT(4, 3, 30), task, opt, objective, key)  # all four
    np.testing.assert_allclose(flat(grads), flat(other), rtol=1e-12)
    assert float(stats.loss) == pytest.approx(float(other_stats.loss), rel=1e-14)


@eqx.filter_jit
def _init(estimator, task, opt, objective, key):
    return estimator.init(task, opt, objective, key=key)


@eqx.filter_jit
def _call(estimator, task, opt, objective, key):
    state = estimator.init(task, opt, objective, key=key)
    return estimator(task, opt, state, objective, key=key)
