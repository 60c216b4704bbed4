"""SparseUpdates against a slow loop that has an optimizer of its own for each tensor."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest
from examples_optimizers import OPTIMIZERS

from steppe.core import coordinatewise, tree
from steppe.core.episode import begin, unroll
from steppe.interop.optax import to_optax
from steppe.optimizers.adaptable import Adaptable
from steppe.optimizers.classic.from_optax import FromOptax, adam, sgd
from steppe.optimizers.classic.sam import SAM
from steppe.optimizers.guarded import Guarded
from steppe.optimizers.learned.learned_adam import LearnedAdam
from steppe.optimizers.learned.rnnprop import RNNProp
from steppe.optimizers.learned.scale import Scale
from steppe.optimizers.sparse_updates import SparseUpdates
from steppe.tasks import build
from steppe.testing import gradients

STEPS = 8
APART = {"problem_mean": False, "key": jr.key(0)}  # no level of the problem: tensors are alone
BASES = {
    "blocks": lambda: RNNProp(hidden=(2,), features=2, block=4, key=jr.key(0)),
    "parts": lambda: LearnedAdam(0.1),
    "optax": lambda: adam(0.1),
    "tensors": lambda: Scale((3, 2), 2, (0.01, 0.1), **APART),
    "inside": lambda: Adaptable(LearnedAdam(0.1)),
}
SIZES = (3, 7, 0, 3)


def parameters():
    return [jnp.ones(size) for size in SIZES]


@eqx.filter_jit
def sparse(opt, keys):
    """Updates of all steps and the states after them; gradients are known beforehand."""
    params = parameters()

    def step(state, given):
        grads, key = given
        updates, state = opt.update(grads, state, params, key=key)
        return state, (updates, state)

    return jax.lax.scan(step, opt.init(params), (table(), keys))[1]


def table():
    each = [gradients(parameters(), t) for t in range(STEPS)]
    return jtu.tree_map(lambda *g: jnp.stack(g), *each)


@eqx.filter_jit
def alone(opt, g, state):
    return opt.update([g], state, [jnp.ones(g.shape)])


def counted(state, t):
    """The state with all its counts at t."""
    whole = lambda x: jnp.issubdtype(x.dtype, jnp.integer)
    return jtu.tree_map(lambda x: jnp.full_like(x, t) if whole(x) else x, state)


@pytest.mark.parametrize("name", BASES)
def test_each_tensor_has_an_optimizer_of_its_own_that_sleeps_with_it(name, monkeypatch):
    monkeypatch.setattr(coordinatewise, "LARGE_TENSOR", 5)  # a part alone, others together
    base = BASES[name]()
    opt = SparseUpdates(base, (0.4, 0.6))
    found, states = sparse(opt, jr.split(jr.key(3), STEPS))
    moved = np.array([np.any(np.asarray(u) != 0, -1) for u in found if u.shape[1]]).T
    filled = [k for k, size in enumerate(SIZES) if size]
    for column, k in enumerate(filled):
        assert 0 < moved[:, column].sum() < STEPS
        state = base.init([parameters()[k]])
        for t in np.flatnonzero(moved[:, column]):
            if name != "tensors":  # the trained start of L2O-Scale is that of its own first step
                state = counted(state, t)
            u, state = alone(base, table()[k][t], state)
            np.testing.assert_allclose(found[k][t], u[0], rtol=1e-10, atol=1e-14)
    sizes = np.array([SIZES[k] for k in filled])
    shares = moved @ sizes / sizes.sum()
    made = np.cumsum(shares)
    np.testing.assert_allclose(opt.counts(states)["full_updates"], made, rtol=1e-12)


def test_sam_rests_by_tensor_and_takes_its_gradient_at_all():
    """In one step from a state: momentum of what rests stays, of what moves is that of SAM."""
    task, rule = build("quadratic", n=4), SAM(FromOptax("sgd", learning_rate=0.1, momentum=0.9))

    @eqx.filter_jit
    def ends(opt):
        start = begin(task, opt, jr.key(0))
        return start, unroll(task, opt, start, 1, lambda step: ())[0]

    start, end = ends(SparseUpdates(rule, 0.5))
    _, full = ends(rule)
    trace = lambda state: jtu.tree_leaves(state.base)[0]
    if np.any(end.params != start.params):
        np.testing.assert_array_equal(end.params, full.params)
        np.testing.assert_array_equal(trace(end.opt_state.base), trace(full.opt_state))
    else:
        assert not np.any(trace(end.opt_state.base))
    assert SparseUpdates(rule, 0.5).gradients_per_step == 2


def test_tensors_move_as_often_as_they_should_and_each_for_itself():
    params = [jnp.ones(n) for n in (1, 2, 3, 4, 5, 6)]
    opt = SparseUpdates(sgd(1.0))
    keys = jr.split(jr.key(0), 4000)
    moved = eqx.filter_jit(jax.vmap(lambda key: opt.update(params, opt.init(params), params,
                                                           key=key)[0]))(keys)  # fmt: skip
    moved = np.array([u[:, 0] != 0 for u in moved])
    shares = np.array([0.1, 0.1, 0.3, 0.3, 0.5, 0.5])
    np.testing.assert_allclose(opt.probabilities(params), shares)
    np.testing.assert_allclose(moved.mean(1), shares, atol=0.03)  # 4 standard deviations
    for a, b in itertools.combinations(range(6), 2):
        together = np.mean(moved[a] & moved[b])
        assert together == pytest.approx(shares[a] * shares[b], abs=0.03)
    assert opt.expected(params) == pytest.approx(shares @ np.arange(1, 7) / 21)


def test_where_all_move_it_is_the_base_bit_for_bit():
    base = BASES["blocks"]()
    found, states = sparse(SparseUpdates(base, 1), jr.split(jr.key(3), STEPS))
    plain, own = sparse(base, jr.split(jr.key(3), STEPS))
    assert eqx.tree_equal((found, states.base), (plain, own))


def test_wrappers_that_go_by_all_tensors_are_refused():
    refused = set()
    for name, make in OPTIMIZERS.items():
        opt = eqx.filter_eval_shape(make)
        try:
            SparseUpdates(opt, 0.5)
        except ValueError as error:
            assert "wrap that one" in str(error)
            refused.add(name)
    assert refused >= {"watchdog", "self-adapting", "guarded", "shadow", "sparse-updates"}
    assert not refused & {"sam", "adaptable", "rnnprop", "adam", "l2o-scale", "entropy-sgd"}


def test_a_view_for_optax_has_a_key_for_each_step():
    tx, params = to_optax(SparseUpdates(sgd(1.0), 0.5), key=jr.key(0)), [jnp.ones(1)] * 8
    state, moves = tx.init(params), []
    for _ in range(3):
        updates, state = tx.update(params, state, params)
        moves.append(np.array([float(u[0]) != 0 for u in updates]))
    assert any(np.any(a != b) for a, b in itertools.pairwise(moves))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"shares": 0.0}, r"shares must be probabilities above 0 and up to 1, got \(0\.0,\)"),
        ({"shares": (0.5, 1.5)}, "shares must be probabilities above 0"),
        ({"shares": ()}, "shares must be probabilities above 0"),
        ({"shares": "half"}, "shares must be a finite number, got 'half'"),
        ({"base": None}, "base is a NoneType, expected a steppe optimizer"),
        ({"base": Guarded(sgd(0.1), sgd(0.1))}, r"wrap that one: Guarded\(SparseUpdates"),
        ({"base": SAM(Guarded(sgd(0.1), sgd(0.1)))}, r"wrap that one: Guarded\(SparseUpdates"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, words):
    with pytest.raises(ValueError, match=words) as refusal:
        SparseUpdates(**{"base": sgd(0.1)} | given)
    assert "\n" not in str(refusal.value)


def test_without_a_key_and_of_a_state_without_tensors_it_says_what_it_needs():
    x = {"a": jnp.ones(2), "b": jnp.ones(2)}
    opt = SparseUpdates(sgd(0.1), 0.5)
    with pytest.raises(ValueError, match=r"given no key\. Run it in `unroll`.*to_optax\(opt, key"):
        opt.update(x, opt.init(x), x)
    opt = SparseUpdates(FromOptax("lbfgs", learning_rate=0.1, linesearch=None), 0.5)
    with pytest.raises(ValueError, match=r"FromOptax remembers an array of shape .* no tensor"):
        opt.update(x, opt.init(x), x, key=jr.key(0))
    assert tree.size(x) == 4
