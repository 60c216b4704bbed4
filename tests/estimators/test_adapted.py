"""Adapted against closed forms, central differences and a loop in NumPy, in float64."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import optax
import pytest
from examples_optimizers import OPTIMIZERS
from jaxtyping import Array

from steppe.core.optimizer import AbstractOptimizer, join_meta, split_meta
from steppe.core.task import AbstractFormula
from steppe.estimators.adapted import Adapted
from steppe.estimators.bptt import BPTT
from steppe.estimators.es import ES
from steppe.objectives.trajectory import Trajectory
from steppe.optimizers.adaptable import Adaptable
from steppe.optimizers.learned.learned_adam import LearnedAdam, LearningRateSchedule
from steppe.optimizers.learned.rnnprop import RNNProp
from steppe.tasks.synthetic.quadratic import Quadratic
from steppe.train.loop import MetaTrainingError, meta_train
from steppe.train.step import meta_step, start
from tests.reference.unroll import central_differences, flat, slow_unroll

LAST = Trajectory("last", "identity")
SUM = Trajectory("sum", "identity")
ADAM = LearnedAdam(0.1, 0.5, 0.5, 0.1)


class Goals(AbstractFormula):
    """½ (x − x_j)ᵀ H_j (x − x_j) of the instance (H_j, x_j)."""

    n: int = 4

    def sample(self, key):
        return jnp.eye(self.n), jnp.zeros(self.n)

    def init(self, instance, key):
        return jr.normal(key, (self.n,))

    def loss(self, instance, batch, key):
        H, goal = instance
        return lambda x: (x - goal) @ (H @ (x - goal)) / 2

    def target(self, instance):
        return instance[1]

    def metrics(self, params, instance, batch, key):
        return {}


class Jump(AbstractOptimizer):
    """Jumps to θ, so that the loss after a step is that of the task at θ."""

    theta: Array

    def init(self, params, *, key=None):
        return ()

    def update(self, grads, state, params, **extra):
        return self.theta - params, state


class TwoTensors(AbstractOptimizer):
    """`Jump` to a vector of two tensors."""

    a: Array
    b: Array

    def init(self, params, *, key=None):
        return ()

    def update(self, grads, state, params, **extra):
        return jnp.concatenate([self.a, self.b]) - params, state


class Rate(AbstractOptimizer):
    """Gradient descent with the learned rate θ."""

    theta: Array

    def init(self, params, *, key=None):
        return ()

    def update(self, grads, state, params, **extra):
        return jtu.tree_map(lambda g: -self.theta * g, grads), state


class Plain(AbstractOptimizer):
    """Hides that `base` is coordinatewise."""

    base: AbstractOptimizer

    def init(self, params, *, key=None):
        return self.base.init(params, key=key)

    def update(self, grads, state, params, **extra):
        return self.base.update(grads, state, params, **extra)


@eqx.filter_jit
def begin(estimator, task, opt, objective, key):
    return estimator.init(task, opt, objective, key=key)


@eqx.filter_jit
def call(estimator, task, opt, state, objective, key):
    return estimator(task, opt, state, objective, key=key)


def bits(x):
    """Leaves as NumPy arrays, keys of random numbers as their data."""
    is_key = lambda leaf: jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    leaves = jtu.tree_leaves(eqx.filter(x, eqx.is_array))
    return [np.asarray(jr.key_data(leaf) if is_key(leaf) else leaf) for leaf in leaves]


def equal(x, y):
    return all(np.array_equal(a, b) for a, b in zip(bits(x), bits(y), strict=True))


def bowls(rng, *, equal=False):
    """Three curvatures below 1 and three minima, of four variables."""
    roots = rng.normal(size=(3, 4, 4))
    H = roots @ roots.transpose(0, 2, 1)
    H *= 0.9 / np.linalg.norm(H, 2, (1, 2))[:, None, None]
    return np.tile(0.8 * np.eye(4), (3, 1, 1)) if equal else H, rng.normal(size=(3, 4))


def closed_form(H, goals, rate, steps, order):
    """Zero of Σ_j A_j (θ − θ_j), A_j = (I − αH_j)ᴺ H_j (I − αH_j)ᴺ, or with one of the powers."""
    shrink = np.linalg.matrix_power(np.eye(4) - rate * H, steps)
    A = (shrink if order == 2 else np.eye(4)) @ H @ shrink
    return np.linalg.solve(A.sum(0), np.einsum("jab,jb->a", A, goals))


@pytest.fixture(scope="module")
def goals():
    """The meta-gradient on bowls, as a function of θ: linear, so five points give its zero."""
    task, rng = Goals(), np.random.default_rng(0)

    def minimiser(estimator, H, minima):
        state = begin(estimator, task, Jump(jnp.zeros(4)), LAST, jr.key(0))
        state = eqx.tree_at(
            lambda s: s.episode.instance, state, (jnp.asarray(H), jnp.asarray(minima))
        )

        def gradient(at):
            opt = Jump(jnp.asarray(at))
            return np.asarray(call(estimator, task, opt, state, LAST, jr.key(1))[0].theta)

        at_zero = gradient(np.zeros(4))
        A = np.stack([gradient(e) - at_zero for e in np.eye(4)], axis=1)
        return np.linalg.solve(A, -at_zero)

    return minimiser, bowls(rng), bowls(rng, equal=True)


BASE = BPTT(3, 1, 1000, stagger=False)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("order", [1, 2])
def test_the_minimiser_on_bowls_is_the_closed_form(order, steps, goals):
    """And where all curvatures are equal, that of every rate is the mean of the minima."""
    minimiser, unlike, alike = goals
    for rate in (0.3, 0.8):
        estimator = Adapted(BASE, rate, steps, order=order)
        found = minimiser(estimator, *unlike)
        np.testing.assert_allclose(found, closed_form(*unlike, rate, steps, order), atol=1e-8)
        assert np.abs(found - closed_form(*unlike, 0.0, steps, order)).max() > 1e-2
        np.testing.assert_allclose(minimiser(estimator, *alike), alike[1].mean(0), atol=1e-9)


@pytest.mark.parametrize(
    ("how", "rows"),
    [
        ({}, None),
        pytest.param({}, 2, marks=pytest.mark.slow),
        pytest.param({"steps": 3, "order": 2, "inner": "adam"}, None, marks=pytest.mark.slow),
    ],
)
def test_at_rate_zero_on_the_same_window_it_is_bptt_to_the_last_bit(how, rows):
    """Over a reset, state and statistics too."""
    task, opt, objective = Quadratic(3), RNNProp((3,), 2, key=jr.key(0)), Trajectory()
    base = BPTT(4, 3, 6, rows=rows)
    ours = Adapted(base, 0.0, **how)
    state = begin(base, task, opt, objective, jr.key(1))
    assert equal(state, begin(ours, task, opt, objective, jr.key(1)))
    other = state
    for k in range(3):
        grads, state, stats = call(ours, task, opt, state, objective, jr.key(k))
        expected, other, plain = call(base, task, opt, other, objective, jr.key(k))
        assert equal((grads, state), (expected, other))
        assert equal((stats.loss, stats.grad_error), (plain.loss, plain.grad_error))
        assert float(stats.parts["adapted_gain"]) == 0
        assert int(stats.nonfinite) == 0 and int(stats.resets) == int(plain.resets)


def test_at_rate_zero_on_the_next_window_it_is_bptt_one_window_later():
    task, opt = Quadratic(3), ADAM
    base = BPTT(4, 3, 600, stagger=False)
    state = begin(base, task, opt, SUM, jr.key(1))
    ours = Adapted(base, 0.0, outer="next")
    for _ in range(2):
        grads, after, stats = call(ours, task, opt, state, SUM, jr.key(2))
        later = call(base, task, opt, state, SUM, jr.key(2))[1]
        assert equal(after, later)  # the episode goes on as with BPTT
        expected, _, plain = call(base, task, opt, later, SUM, jr.key(2))
        np.testing.assert_allclose(flat(grads), flat(expected), rtol=1e-12)
        assert float(stats.loss) == pytest.approx(float(plain.loss), rel=1e-13)
        state = after


@pytest.mark.parametrize(
    ("opt", "kind", "second"),
    [
        (ADAM, {"steps": 2, "inner": "adam"}, False),
        pytest.param(ADAM, {"steps": 3}, True, marks=pytest.mark.slow),
        pytest.param(Plain(ADAM), {"steps": 2}, False, marks=pytest.mark.slow),
        (Plain(ADAM), {"steps": 1, "outer": "next"}, True),
    ],
)
def test_second_order_is_the_central_difference_of_the_formula(opt, kind, second):
    """Of all that θ does if the base differentiates the gradients of the task, else of all else."""
    task, objective, rate, length = Quadratic(3), Trajectory(), 0.4, 2
    base = BPTT(1, length, 100, second_order=second)
    state = begin(base, task, opt, objective, jr.key(1))
    state = call(base, task, opt, state, objective, jr.key(5))[1]  # not the first window
    exact = Adapted(base, rate, order=2, **kind)
    grads, _, stats = call(exact, task, opt, state, objective, jr.key(2))
    rough = call(Adapted(base, rate, **kind), task, opt, state, objective, jr.key(2))[0]

    window = jtu.tree_map(lambda leaf: leaf[0], state)
    unmoved, tx = opt, optax.adam(rate) if kind.get("inner") == "adam" else optax.sgd(rate)

    def run(opt, episode, handed=None):
        return slow_unroll(
            task, opt, episode, length, objective, window.memo, key=jr.key(0), handed=handed
        )

    def formula(opt, held):
        """The loss after adaptation; with `held`, lists of gradients of the task at each visit."""
        seen = []
        visit = lambda: None if held is None else held[len(seen)]
        theta, rest = split_meta(opt)
        memory, now = tx.init(theta), theta
        for _ in range(kind["steps"]):
            handed = run(join_meta(now, rest), window.episode, visit())[2]
            given = None if second else jax.lax.stop_gradient(handed)
            loss = lambda t, given=given: run(join_meta(t, rest), window.episode, given)[0]
            seen.append(handed)
            updates, memory = tx.update(jax.grad(loss)(now), memory, now)
            now = optax.apply_updates(now, updates)
        start = window.episode
        if kind.get("outer") == "next":
            start = run(unmoved, window.episode)[1]  # where θ has led, a constant
        value, _, handed = run(join_meta(now, rest), start, visit())
        return value, [*seen, handed]

    value, held = formula(opt, None)
    f = eqx.filter_jit(lambda opt: formula(opt, None if second else held)[0])
    assert float(stats.loss) == pytest.approx(float(value), rel=1e-10)
    differences = central_differences(f, opt)
    np.testing.assert_allclose(flat(grads), differences, rtol=1e-5, atol=1e-8)
    assert np.abs(flat(rough) - differences).max() > 1e-3


@pytest.mark.parametrize("name", ["l2o-scale", "gru", "sam", "guarded"])
def test_every_kind_of_optimizer_has_a_second_order(name):
    """Also one whose state is packed by a function with a derivative of its own."""
    task, opt = Quadratic(3), OPTIMIZERS[name]()
    estimator = Adapted(BPTT(2, 2, 4, second_order=True), 0.1, 2, order=2)
    state = begin(estimator, task, opt, SUM, jr.key(0))
    grads, *_ = eqx.filter_eval_shape(call, estimator, task, opt, state, SUM, jr.key(0))
    shapes = lambda x: [leaf.shape for leaf in jtu.tree_leaves(x)]
    assert shapes(grads) == shapes(split_meta(opt)[0])


def test_next_is_the_published_loop():
    """Three meta-updates with two episodes in NumPy, with the counter as published and without."""
    task, length, rate, lr = Quadratic(2), 3, 0.5, 0.3
    base = BPTT(2, length, 300, stagger=False)
    opt = LearnedAdam(0.3, 0.5, 0.6, 0.05)
    start = begin(base, task, opt, SUM, jr.key(1))
    found = {}
    for published in (False, True):
        estimator = Adapted(base, rate, outer="next", published_counter=published)
        now, state = opt, start
        for k in range(3):
            grads, state, _ = call(estimator, task, now, state, SUM, jr.key(k))
            theta, rest = split_meta(now)
            now = join_meta(jtu.tree_map(lambda t, g: t - lr * g, theta, grads), rest)
        found[published] = flat(split_meta(now)[0])
        expected = published_loop(task, opt, start, rate, lr, length, published)
        np.testing.assert_allclose(found[published], expected, rtol=1e-6)
    assert np.abs(found[True] - found[False]).max() > 1e-4


def published_loop(task, opt, start, rate, lr, length, published):
    """Numbers of Adam after three meta-updates: NumPy, slopes by central differences."""
    sigmoid = lambda z: 1 / (1 + np.exp(-z))
    surfaces, states = [], []
    for e in range(2):
        instance = jtu.tree_map(lambda leaf, e=e: leaf[e], start.episode.instance)
        x = np.asarray(start.episode.params[e])
        loss = task.loss(instance, (), jr.key(0))
        surfaces.append((jax.jit(loss), jax.jit(jax.grad(loss))))
        states.append((x, np.zeros_like(x), np.zeros_like(x), 0))

    def window(theta, state, surface, handed=None):
        """Σ of the losses after each step, the state after, and the gradients."""
        x, m, v, count = state
        log_lr, b1, b2, log_eps = theta[0], sigmoid(theta[1]), sigmoid(theta[2]), theta[3]
        total, given = 0.0, []
        for t in range(length):
            g = np.asarray(surface[1](x)) if handed is None else handed[t]
            m, v, count = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2, count + 1
            step = m / (1 - b1**count) / (np.sqrt(v / (1 - b2**count)) + np.exp(log_eps))
            x = x - np.exp(log_lr) * step
            total += float(surface[0](x))
            given.append(g)
        return total, (x, m, v, count), given

    def slope(theta, state, surface):
        _, after, given = window(theta, state, surface)
        side = lambda e: window(theta + e, state, surface, given)[0]
        return np.array([side(e) - side(-e) for e in 1e-5 * np.eye(4)]) / 2e-5, after

    theta = flat(split_meta(opt)[0])
    for _ in range(3):
        total = np.zeros(4)
        for e, surface in enumerate(surfaces):
            g, after = slope(theta, states[e], surface)
            outer = (*after[:3], states[e][3] if published else after[3])
            total += slope(theta - rate * g, outer, surface)[0]
            states[e] = after
        theta = theta - lr * total / 2
    return theta


CURVATURES = np.array([1.0, 10.0, 100.0])


def test_the_trained_start_beats_transfer_by_the_predicted_ratio():
    """A learned rate on curvatures 1, 10, 100: one step of adaptation mends only the last.

    G_j(θ) = ½ h_j (1 − θ h_j)², so that H_j = h_j³ and θ_j = 1/h_j. With α = 1/H_3 the gain is
    known, and training without adaptation does not have it.
    """
    task, h = Goals(1), CURVATURES
    H, best, rate = h**3, 1 / h, 1e-6
    base = BPTT(3, 1, 1000, stagger=False, second_order=True)
    state = begin(base, task, Rate(jnp.asarray(0.0)), LAST, jr.key(0))
    place = lambda s: (s.episode.instance, s.episode.params)
    instances = jnp.asarray(h[:, None, None]), jnp.zeros((3, 1))
    state = eqx.tree_at(place, state, (instances, jnp.ones((3, 1))))

    def trained(estimator, A):
        """Gradient descent on θ, from 1, at the rate of which it converges in a step or two."""
        theta = jnp.asarray(1.0)
        for _ in range(5):
            grads, *_ = call(estimator, task, Rate(theta), state, LAST, jr.key(1))
            theta = theta - grads.theta / A.mean()
        return float(theta)

    def after_adaptation(theta):
        """By the library: the loss of the adapted, at the start given."""
        opt = Rate(jnp.asarray(theta))
        return float(call(Adapted(base, rate), task, opt, state, LAST, jr.key(1))[2].loss)

    A = H * (1 - rate * H) ** 2
    minimiser = lambda A: (A @ best) / A.sum()
    loss = lambda theta: np.mean(A * (theta - best) ** 2) / 2
    predicted = loss(minimiser(A)) / loss(minimiser(H))
    assert predicted < 0.1
    ours = trained(Adapted(base, rate, order=2), A)
    transfer, control = trained(base, H), trained(Adapted(base, 0.0, order=2), H)
    assert ours == pytest.approx(minimiser(A), rel=1e-6)
    ratio = lambda theta: after_adaptation(theta) / after_adaptation(transfer)
    assert ratio(ours) == pytest.approx(predicted, rel=0.05)
    assert ratio(control) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize(("order", "steps"), [(1, 1), (2, 2)])
def test_the_rates_that_an_optimizer_carries_have_the_gradient_of_the_formula(order, steps):
    """And θ too, with order 2. Expected: central differences of the closed form, in NumPy."""
    H, minima = bowls(np.random.default_rng(1))
    task, theta, logs = Goals(), np.array([1.0, -2.0, 0.5, 3.0]), np.log([0.3, 0.7])
    opt = Adaptable(TwoTensors(jnp.asarray(theta[:2]), jnp.asarray(theta[2:])))
    opt = eqx.tree_at(lambda o: o.log_rates, opt, jnp.asarray(logs))
    estimator = Adapted(BASE, 9.0, steps, order=order)  # whose rate is not used
    state = begin(estimator, task, opt, LAST, jr.key(0))
    instances = jnp.asarray(H), jnp.asarray(minima)
    state = eqx.tree_at(lambda s: s.episode.instance, state, instances)
    grads, _, stats = call(estimator, task, opt, state, LAST, jr.key(1))

    def loss(x):
        at = np.tile(x[:4], (3, 1))
        for _ in range(steps):
            at = at - np.repeat(np.exp(x[4:]), 2) * np.einsum("jab,jb->ja", H, at - minima)
        return np.einsum("ja,jab,jb->", at - minima, H, at - minima) / 6

    x = np.concatenate([theta, logs])
    expected = np.array([loss(x + e) - loss(x - e) for e in 1e-5 * np.eye(6)]) / 2e-5
    assert float(stats.loss) == pytest.approx(loss(x), rel=1e-12)
    found = flat(grads)  # a, b, the rates
    of = slice(None) if order == 2 else slice(4, None)
    np.testing.assert_allclose(found[of], expected[of], rtol=1e-7)
    assert np.abs(expected[4:]).min() > 1e-3


def test_the_gain_is_the_loss_without_adaptation_minus_that_with_it():
    """To first order on the next window: the nearer, the smaller the rate."""
    task, base = Quadratic(3), BPTT(4, 2, 600, stagger=False, second_order=True)
    state = begin(base, task, ADAM, SUM, jr.key(1))
    for outer, rate, close in (("same", 0.05, 1e-9), ("next", 1e-5, 1e-3)):
        still, moved = (
            call(Adapted(base, rate, outer=outer), task, ADAM, state, SUM, jr.key(2))[2]
            for rate in (0.0, rate)
        )
        gain = float(moved.parts["adapted_gain"])
        assert gain == pytest.approx(float(still.loss - moved.loss), rel=close) and gain > 0
        assert float(still.parts["adapted_gain"]) == 0


def test_adaptation_that_diverges_is_counted_and_theta_kept():
    task, opt = Quadratic(3), LearningRateSchedule(2, 0.1)
    estimator = Adapted(BPTT(2, 2, 4), 1e300, 2)
    tx = optax.adam(0.1)
    how = {"estimator": estimator, "objective": SUM, "meta_tx": tx}
    state = start(task, opt, **how, key=jr.key(0))
    after, stats = eqx.filter_jit(meta_step)(task, state, **how)
    assert int(stats.nonfinite) == int(stats.episodes) == 2
    assert equal((after.opt, after.meta_state), (state.opt, state.meta_state))
    assert np.all(np.asarray(after.est_state.steps_left) == 0)  # begun afresh at the next call
    with pytest.raises(MetaTrainingError, match=r"100% .* or the rate of adaptation, clip"):
        meta_train(task, opt, **how, steps=2, log_every=1, key=jr.key(0))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"base": ES()}, "base must be a BPTT, got ES"),
        ({"rate": -1e-3}, "rate must be one finite number from 0 on, got -0.001"),
        ({"rate": float("nan")}, "rate must be one finite number from 0 on, got nan"),
        ({"rate": None}, "rate must be one finite number"),
        ({"rate": float("inf")}, "rate must be one finite number"),
        ({"rate": "fast"}, "rate must be one finite number from 0 on, got 'fast'"),
        ({"rate": jnp.ones(2)}, "rate must be one finite number"),
        ({"rate": jnp.asarray(1j)}, "rate must be one finite number"),
        ({"rate": [[1e-3], []]}, "rate must be one finite number"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"steps": 1.5}, "steps must be a whole number"),
        ({"outer": "previous"}, "outer is 'previous', expected 'same' or 'next'"),
        ({"order": 3}, "order is 3, expected 1 or 2"),
        ({"order": True}, "order is True"),
        ({"inner": ["sgd"]}, "inner is"),
        ({"base": BPTT(2, 2, 4, rows=1), "order": 2}, "Use rows=None, or order=1"),
        ({"published_counter": True}, 'needs outer="next"'),
    ],
)
def test_bad_input_is_refused_in_a_sentence(given, said):
    with pytest.raises(ValueError, match="Adapted: ") as error:
        Adapted(**{"base": BPTT(2, 2, 4)} | given)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_the_published_counter_needs_an_optimizer_that_counts():
    estimator = Adapted(BPTT(2, 2, 4), outer="next", published_counter=True)
    task, opt = Quadratic(2), Rate(jnp.asarray(0.1))
    state = begin(estimator, task, opt, SUM, jr.key(0))
    with pytest.raises(ValueError, match="published_counter"):
        eqx.filter_eval_shape(call, estimator, task, opt, state, SUM, jr.key(0))


def test_the_rate_changes_without_another_trace():
    task, opt, traces = Quadratic(2), LearningRateSchedule(2, 0.1), []

    @eqx.filter_jit
    def loss(estimator, state):
        traces.append(1)
        return estimator(task, opt, state, SUM, key=jr.key(0))[2].loss

    base = BPTT(2, 2, 4)
    state = begin(base, task, opt, SUM, jr.key(0))
    losses = {float(loss(Adapted(base, rate), state)) for rate in (0.0, 0.01, 0.1)}
    assert len(traces) == 1 and len(losses) == 3


def test_a_rate_beyond_single_precision_is_refused_where_that_is_used():
    with jax.enable_x64(False), pytest.raises(ValueError, match="got 1e"):
        Adapted(BPTT(2, 2, 4), rate=1e39)
