"""Special cases of the scheme, and the proof that it carries."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

from steppe.core.episode import begin, unroll
from steppe.core.loss import Composite, Plain
from steppe.core.optimizer import join_meta, split_meta
from steppe.core.regularizer import L1, ElasticNet, GroupL2
from steppe.core.task import Problem
from steppe.optimizers.classic.proximal import FISTA, ISTA
from steppe.optimizers.learned.math_l2o import Coefficients, MathL2O, structured_step
from steppe.tasks.inverse.recovery import SparseRecovery

TASK = SparseRecovery(rows=6, n=10, weight=0.05, start="normal")
KEY = jr.key(2)


def path(opt, steps):
    return unroll(TASK, opt, begin(TASK, opt, KEY), steps, lambda step: step.after.params)[1]


def by_hand(momentum, steps):
    """The scheme with P = 1/L, B = 1 and the momentum of each step."""
    first = begin(TASK, ISTA(), KEY)
    loss = TASK.loss(first.instance, (), KEY)
    x, ahead, found = first.params, jnp.zeros(10), []
    for k in range(steps):
        how = Coefficients(jnp.full(10, 1 / loss.lipschitz), jnp.full(10, momentum[k]))
        y = x + ahead
        x, ahead = structured_step(loss, x, y, jax.grad(loss.smooth)(y), how)
        found.append(x)
    return np.array(found)


def test_without_momentum_it_is_ista_and_with_fistas_it_is_fista():
    t = [1.0]
    for _ in range(50):
        t.append((1 + np.sqrt(1 + 4 * t[-1] ** 2)) / 2)
    nesterov = [(t[k] - 1) / t[k + 1] for k in range(50)]
    np.testing.assert_allclose(by_hand(np.zeros(50), 50), path(ISTA(), 50), atol=1e-12)
    np.testing.assert_allclose(by_hand(nesterov, 50), path(FISTA(), 50), atol=1e-12)


def weights(opt, key, size):
    """The same optimizer with θ ~ N(0, size²)."""
    theta, rest = split_meta(opt)
    leaves, treedef = jtu.tree_flatten(theta)
    keys = jr.split(key, len(leaves))
    drawn = [size * jr.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
    return join_meta(jtu.tree_unflatten(treedef, drawn), rest)


@eqx.filter_jit
def values(opt, keys, size):
    """The objective along runs with other weights on other problems, (draws, steps + 1)."""

    def one(key):
        key_theta, key_run = jr.split(key)
        drawn = weights(opt, key_theta, size)
        first = begin(TASK, drawn, key_run)
        _, path = unroll(TASK, drawn, first, 200, lambda step: step.after.params)
        loss = Problem(TASK, first.instance, (), key).loss()
        return jnp.concatenate([loss(first.params)[None], jax.vmap(loss)(path)])

    return jax.vmap(one)(keys)


@pytest.mark.parametrize(("use", "monotone"), [(("p",), False), (("p", "a"), True)])
def test_the_objective_never_rises_whatever_theta_is(use, monotone):
    opt = MathL2O(use, hidden=(4,), monotone=monotone, key=KEY)
    found = np.array(values(opt, jr.split(KEY, 500), 3.0))
    rises = np.diff(found, axis=1) > 1e-12 * np.abs(found[:, :-1])
    assert not rises.any() and np.isfinite(found).all()
    assert np.median(found[:, -1] / found[:, 0]) < 0.5  # and it does fall


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nor_does_it_where_theta_is_no_number_or_huge(bad, dtype):
    """The objective never rises, and falls all the same: what is no number is read as 0."""
    theta, rest = split_meta(MathL2O(hidden=(4,), monotone=True, key=KEY))
    theta = jtu.tree_map(lambda x: jnp.full(x.shape, bad, dtype), theta)
    opt = join_meta(theta, rest)
    real = lambda x: jnp.issubdtype(x.dtype, jnp.floating)
    first = jtu.tree_map(lambda x: x.astype(dtype) if real(x) else x, begin(TASK, opt, KEY))
    found = np.asarray(unroll(TASK, opt, first, 60, lambda step: step.value)[1])
    assert np.isfinite(found).all() and (np.diff(found) <= 0).all()
    if not bad < 0:  # P = 0 stands still
        assert found[-1] < 0.9 * found[0]


def test_steps_are_inside_the_bounds_of_the_proof_in_any_precision():
    """0 ≤ P ≤ 1.9998 / L of the 2σ of any number, half precision too."""
    loss = Composite(Plain(jnp.sum), L1(0.1), 3.0)
    z = jnp.asarray([-np.inf, -1e30, -90.0, -1.0, 0.0, 1.0, 90.0, 1e30, np.inf, np.nan])
    opt = MathL2O(("p",), hidden=(2,), monotone=True, key=KEY)
    heads = eqx.tree_at(lambda h: h.w, opt.heads, jnp.zeros((2, 1)))

    @jax.jit
    def P(bias, x):
        own = eqx.tree_at(lambda o: o.heads, opt, eqx.tree_at(lambda h: h.b, heads, bias[None]))
        return own.coefficients(loss, x, x, own.init(x).lstm)[0].P

    for dtype in (jnp.float32, jnp.float64):
        found = np.array([P(bias, jnp.ones(3, dtype)) for bias in z.astype(dtype)])
        assert found.min() == 0 and 1.999 / 3 < found.max() <= 1.9998001 / 3


def test_with_momentum_alone_it_does_rise():
    """So the test above can fail."""
    opt = MathL2O(("p", "a"), hidden=(4,), key=KEY)
    found = np.array(values(opt, jr.split(KEY, 500), 3.0))
    assert (np.diff(found, axis=1) > 1e-6).any(axis=1).mean() > 0.5


def test_steps_beyond_two_over_l_do_rise():
    """With random P inside the bounds no run of twenty steps ever rises, beyond them most do."""
    loss = TASK.loss(begin(TASK, ISTA(), KEY).instance, (), KEY)

    @jax.jit
    @jax.vmap
    def values(key, low, high):
        def step(x, key):
            P = jr.uniform(key, (10,), minval=low, maxval=high) / loss.lipschitz
            y = structured_step(loss, x, x, jax.grad(loss.smooth)(x), Coefficients(P))[0]
            return y, loss(x)

        return jax.lax.scan(step, jr.normal(key, (10,)), jr.split(key, 20))[1]

    keys, bounds = (
        jr.split(KEY, 500),
        jnp.repeat(jnp.array([[0.01, 1.99], [2.0, 4.0]]), 250, axis=0),
    )
    rises = np.diff(np.asarray(values(keys, *bounds.T)), axis=1) > 1e-12
    inside, outside = np.split(rises.any(axis=1), 2)
    assert not inside.any() and outside.mean() > 0.9


def test_the_meta_gradient_goes_through_the_smooth_part_and_where_it_is_live_through_the_inputs():
    def slopes(live):
        opt = MathL2O(hidden=(3,), live=live, key=KEY)
        theta, rest = split_meta(opt)

        @jax.jit
        def final(theta):
            opt = join_meta(theta, rest)
            last, _ = unroll(TASK, opt, begin(TASK, opt, KEY), 4, lambda step: ())
            return TASK.loss(last.instance, (), KEY)(last.params)

        ahead = jtu.tree_map(jnp.ones_like, theta)
        ends = [
            final(jtu.tree_map(lambda t, d, h=h: t + h * d, theta, ahead)) for h in (1e-6, -1e-6)
        ]
        return float(jax.jvp(final, (theta,), (ahead,))[1]), float((ends[0] - ends[1]) / 2e-6)

    exact, numeric = slopes(live=True)
    assert exact == pytest.approx(numeric, rel=1e-5)
    stopped, same = slopes(live=False)
    assert same == pytest.approx(numeric, rel=1e-9) and abs(stopped - exact) > 1e-3 * abs(exact)


def test_parameters_are_as_many_as_published():
    theta, _ = split_meta(MathL2O(("p", "a", "b", "b1", "b2"), key=KEY))
    # The published LSTM has two bias vectors a layer where ours has one.
    assert sum(leaf.size for leaf in jtu.tree_leaves(theta)) == 5805 - 2 * 80


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"use": ("q",)}, "use has 'q', expected parts of"),
        ({"use": ()}, r"use is \(\), expected some of"),
        ({"use": ("p", "p")}, "each once"),
        ({"hidden": ()}, r"hidden is \(\), expected layers"),
        ({"hidden": 5}, "hidden must be a tuple, got 5"),
        ({"hidden": (2.5,)}, "hidden must be a whole number from 1 to 65536, got 2.5"),
        ({"hidden": (10**9,)}, "hidden must be a whole number from 1 to 65536"),
        ({"use": None}, "use must be a tuple, got None"),
        ({"use": "pa"}, "use must be a tuple, got 'pa'"),
        ({"use": ("p", "b"), "monotone": True}, "proven for the parts p and a alone"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match="MathL2O: .*" + words):
        MathL2O(**arguments, key=KEY)


def test_what_has_no_proximal_map_of_such_steps_is_refused():
    task = SparseRecovery(rows=6, n=8, penalty="group")
    with pytest.raises(ValueError, match="GroupL2 has a proximal map for equal steps alone"):
        unroll(task, opt := MathL2O(hidden=(2,), key=KEY), begin(task, opt, KEY), 1, id)
    opt = MathL2O(("a",), hidden=(2,), key=KEY)
    last, _ = unroll(task, opt, begin(task, opt, KEY), 40, lambda step: ())
    loss = task.loss(last.instance, (), KEY)
    assert loss(last.params) < 0.9 * loss(jnp.zeros(8))


@pytest.mark.parametrize("L", [0, -1.0, None, np.nan, np.inf, jnp.asarray(-2.0)])
def test_constants_that_are_none_are_refused(L):
    with pytest.raises(ValueError, match="Composite: lipschitz must be positive, got"):
        Composite(Plain(jnp.sum), L1(0.1), L)


@pytest.mark.parametrize("make", [L1, lambda w: ElasticNet(0.1, w), lambda w: GroupL2(w, 2)])
@pytest.mark.parametrize("weight", [-0.1, None, np.nan])
def test_weights_that_are_not_convex_are_refused(make, weight):
    with pytest.raises(ValueError, match="must be zero or positive, got"):
        make(weight)
