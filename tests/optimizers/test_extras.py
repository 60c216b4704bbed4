"""Features of time and a learned weight decay, of RNNProp and DM: closed forms and a slow loop."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

import steppe
from steppe.optimizers.learned.dm import DM
from steppe.optimizers.learned.extras import retold, time_features
from steppe.optimizers.learned.rnnprop import RNNProp
from steppe.zoo.io import manifest
from tests.optimizers.learning import followed
from tests.reference.lstm import logistic

STEPS, N = 4, 3
TIMED = {"time_scales": (1.0, 7.0), "horizon": 3}
MAKE = {
    "dm": lambda **extra: DM((3,), scale=0.1, key=jr.key(0), **extra),
    "rnnprop": lambda **extra: RNNProp((3,), 2, scale=0.1, key=jr.key(0), **extra),
}
both = pytest.mark.parametrize("name", MAKE)


def run(opt, grads, params):
    """Parameters after each step on given gradients."""
    return np.asarray(followed(opt, grads, params))


def slow(opt, grads, params):
    """`run` in NumPy, a coordinate at a time, from the equations."""
    w = {jtu.keystr(at): np.asarray(x) for at, x in jtu.tree_leaves_with_path(opt)}
    hidden, out = opt.hidden[0], np.zeros(grads.shape)
    for i in range(grads.shape[1]):
        theta, m, v = float(params[i]), 0.0, 0.0
        h = c = np.zeros(hidden)
        for t, g in enumerate(np.asarray(grads)[:, i]):
            time = [np.tanh(t / tau - 1) for tau in opt.time_scales]
            time += [] if opt.horizon is None else [min(t / opt.horizon, 1.0)]
            if isinstance(opt, DM):
                size, sign = np.log(abs(g) + 1.1920929e-07) / 5, np.clip(g * np.exp(5.0), -1, 1)
                x = np.array([max(size, -1.0), sign, *time])
            else:
                m, v = 0.95 * m + 0.05 * g, 0.95 * v + 0.05 * g * g
                root = np.sqrt(v / (1 - 0.95 ** (t + 1))) + 1e-8
                x = np.array([m / (1 - 0.95 ** (t + 1)) / root, g / root, *time])
                x = x @ w[".inputs.w"] + w[".inputs.b"]
                x = np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)
            z = np.concatenate([x, h]) @ w[".lstm.layers[0].w_gates"]
            a, j, f, o = np.split(z + w[".lstm.layers[0].b_gates"], 4)
            c = logistic(f + 1) * c + logistic(a) * np.tanh(j)
            h = logistic(o) * np.tanh(c)
            y = (h @ w[".head.w"] + w[".head.b"])[0]
            u = opt.scale * (y if isinstance(opt, DM) else np.tanh(y))
            if opt.weight_decay:
                share = logistic((h @ w[".decay_head.w"] + w[".decay_head.b"])[0])
                u = u - opt.weight_decay * share * theta
            theta = theta + u
            out[t, i] = theta
    return out


@both
@pytest.mark.parametrize("extra", [{}, TIMED, {"weight_decay": 0.3}, TIMED | {"weight_decay": 0.3}])
def test_a_slow_loop_takes_the_same_steps(name, extra):
    opt, rng = MAKE[name](**extra), np.random.default_rng(0)
    grads, params = rng.standard_normal((STEPS, N)), 3 * rng.standard_normal(N)
    found = run(opt, jnp.asarray(grads), jnp.asarray(params))
    np.testing.assert_allclose(found, slow(opt, grads, params), rtol=1e-10)


@both
def test_without_gradients_parameters_shrink_by_exactly_the_learned_share(name):
    """The network's own update is 0 and its decay σ(b): θ_t = (1 − bound σ(b))ᵗ θ₀."""
    opt = MAKE[name](weight_decay=0.01)
    still = jtu.tree_map(jnp.zeros_like, (opt.head, opt.decay_head))
    still = eqx.tree_at(lambda x: x[1].b, still, jnp.array([0.7]))
    opt = eqx.tree_at(lambda o: (o.head, o.decay_head), opt, still)
    params = jnp.array([1.0, -3.0, 1e-6])
    found = run(opt, jnp.zeros((50, N)), params)
    factor = (1 - 0.01 * logistic(0.7)) ** np.arange(1, 51)
    np.testing.assert_allclose(found, factor[:, None] * np.asarray(params), rtol=1e-12)


@both
@pytest.mark.parametrize("far", [1e6, -1e6])
def test_the_decay_is_bounded_whatever_the_network_says(name, far):
    opt = MAKE[name](weight_decay=0.01)
    opt = eqx.tree_at(lambda o: o.decay_head.b, opt, jnp.array([far]))
    plain = eqx.tree_at(lambda o: o.decay_head, opt, None)  # what it does without
    params, g = jnp.array([2.0, -1.0, 0.5]), jnp.ones(N)
    given = {"grads": g, "params": params}
    rows = opt.start(N, params.dtype)
    with_decay, without = (o.advance(given, rows, jnp.asarray(1))[0] for o in (opt, plain))
    share = 0.01 if far > 0 else 0.0
    np.testing.assert_allclose(without - with_decay, share * params, rtol=1e-12)


def test_time_is_counted_in_steps_taken_and_stops_at_the_horizon():
    features = lambda count: np.asarray(time_features(jnp.asarray(count), (10.0,), 4, jnp.float32))
    np.testing.assert_allclose(features(1), [np.tanh(-1.0), 0], rtol=1e-6)
    np.testing.assert_allclose(features(11), [0, 1], atol=1e-7)
    np.testing.assert_allclose(features(3), [np.tanh(-0.8), 0.5], rtol=1e-6)
    np.testing.assert_array_equal(features(2**31 - 1), [1, 1])


def test_counts_beyond_the_range_of_half_precision_are_finite():
    found = time_features(jnp.asarray(10**9), (1.0, 1e9), 10**9, jnp.float16)
    assert found.dtype == jnp.float16 and np.isfinite(np.asarray(found, np.float32)).all()


@both
def test_off_they_are_not_there(name):
    """The same arrays from the same key, and the same number of them, as before they existed."""
    off, on = MAKE[name](), MAKE[name](weight_decay=0.1)
    assert off.decay_head is None and off.asks == () and on.asks == ("params",)
    for a, b in zip(*map(jtu.tree_leaves, (off.lstm, on.lstm)), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(off.head.w, on.head.w)


@both
def test_another_horizon_is_told_to_the_same_weights(name, tmp_path):
    opt = MAKE[name](horizon=3)
    longer = retold(opt, 30)
    assert longer.horizon == 30 and type(longer) is type(opt)
    for a, b in zip(*map(jtu.tree_leaves, (opt, longer)), strict=True):
        np.testing.assert_array_equal(a, b)
    rng = np.random.default_rng(1)
    grads, params = rng.standard_normal((STEPS, N)), rng.standard_normal(N)
    moved = run(longer, jnp.asarray(grads), jnp.asarray(params))
    np.testing.assert_allclose(moved, slow(longer, grads, params), rtol=1e-10)
    assert np.abs(moved - run(opt, jnp.asarray(grads), jnp.asarray(params))).max() > 1e-6
    steppe.save(tmp_path / "opt.safetensors", longer)
    assert manifest(tmp_path / "opt.safetensors")["hyper"]["horizon"] == 30
    with pytest.raises(ValueError, match="trained without a horizon"):
        retold(MAKE[name](), 5)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"time_scales": (1.0, 0.0)}, "time_scales must be positive numbers of steps, got 0.0"),
        ({"time_scales": (np.inf,)}, "time_scales must be positive"),
        ({"weight_decay": 1.0}, "weight_decay must be a share from 0 to below 1"),
        ({"weight_decay": -0.1}, "weight_decay must be a share"),
        ({"weight_decay": np.nan}, "weight_decay must be a share"),
    ],
)
@both
def test_what_cannot_be_is_refused_in_a_sentence(name, extra, words):
    with pytest.raises(ValueError, match=words):
        MAKE[name](**extra)


@both
def test_a_decay_without_parameters_is_refused_in_a_sentence(name):
    opt = MAKE[name](weight_decay=0.1)
    with pytest.raises(ValueError, match="asks for params, but update was not given it"):
        opt.update(jnp.ones(2), opt.init(jnp.ones(2)), None)
