"""SelfAdapting moves θ by the derivative of the loss that it meets, carried beside the run."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import steppe
from steppe.core import tree
from steppe.core.episode import begin, unroll
from steppe.core.optimizer import AbstractOptimizer
from steppe.core.rollout import episodes
from steppe.core.task import Problem
from steppe.evaluation.tuning import tune
from steppe.interop.optax import to_optax
from steppe.optimizers.classic.from_optax import adam, sgd
from steppe.optimizers.guarded import Guarded
from steppe.optimizers.learned.rnnprop import RNNProp
from steppe.optimizers.self_adapting import BENT, FARTHEST, SelfAdapting, self_adapting
from steppe.tasks.synthetic.quadratic import Quadratic

TASK, STEPS, WIDTH, KEY = Quadratic(3), 5, 1e-5, jr.key(0)


class Recurrent(AbstractOptimizer):
    """h ← tanh(w₁h + w₂g), u = v₁h + v₂g: the least rule whose state knows of θ."""

    w: jax.Array = eqx.field(converter=jnp.asarray)
    v: jax.Array = eqx.field(converter=jnp.asarray)

    def init(self, params, *, key=None):
        return jnp.zeros_like(params)

    def update(self, grads, state, params, **extra):
        h = jnp.tanh(self.w[0] * state + self.w[1] * grads)
        return self.v[0] * h + self.v[1] * grads, h


RULE = Recurrent(np.array([0.6, 0.2]), np.array([-0.3, -0.05]))
DIRECTIONS = ("updates", ".w", ".v")


@eqx.filter_jit
def slopes(opt):
    """⟨g, ẋ⟩ of every direction at each step, and the gradients."""

    def look(step):
        g = step.problem.grad(step.before.params)
        return opt.slopes(step.before.opt_state, g), g

    return unroll(TASK, opt, begin(TASK, opt, jr.key(1)), STEPS, look)[1]


@jax.jit
def run(phi, given, held):
    """The loss at each step, where step t is taken by RULE scaled by φ_t.

    Where gradients are `held`: ⟨given_t, x_t⟩, with the given gradients at all steps.
    """
    episode = begin(TASK, RULE, jr.key(1))
    f = lambda x: TASK.loss(episode.instance, (), episode.key)(x)

    def step(carry, row):
        (x, state), (phi, given) = carry, row
        g = jnp.where(held, given, jax.grad(f)(x))
        w, v = (jnp.exp(p) * leaf for p, leaf in zip(phi[1:], (RULE.w, RULE.v), strict=True))
        u, state = Recurrent(w, v).update(g, state, x)
        return (x + jnp.exp(phi[0]) * u, state), jnp.where(held, jnp.vdot(given, x), f(x))

    return jax.lax.scan(step, (episode.params, RULE.init(episode.params)), (phi, given))[1]


def differences(memory, given=None):
    """Σ_τ γ^{t−1−τ} dF(x_t)/dφ_τ by central differences, a direction and a step τ at a time."""
    held, given = given is not None, np.zeros((STEPS, 3)) if given is None else given
    found = np.zeros((STEPS, len(DIRECTIONS)))
    for tau, d in np.ndindex(found.shape):
        h = np.zeros(found.shape)
        h[tau, d] = WIDTH
        change = np.asarray(run(h, given, held) - run(-h, given, held)) / (2 * WIDTH)
        for t in range(tau + 1, STEPS):
            found[t, d] += memory ** (t - 1 - tau) * change[t]
    return found


@pytest.mark.parametrize("memory", [0.7, 1.0])
def test_tangents_of_second_order_are_finite_differences_of_the_loss(memory):
    found, _ = slopes(SelfAdapting(RULE, 0.0, memory, "tensors", second_order=True))
    expected = differences(memory)
    assert np.abs(expected[1:]).min() > 1e-7  # of every direction, at every step
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_tangents_of_first_order_are_those_where_gradients_do_not_change():
    found, given = slopes(SelfAdapting(RULE, 0.0, 0.7, "tensors"))
    expected = differences(0.7, given)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    exact = differences(0.7)
    assert np.abs(found[-1] - exact[-1]).max() > 0.01 * np.abs(exact[-1]).max()


def test_the_size_of_updates_follows_the_cosine_with_what_led_here():
    rate, memory, lr = 0.2, 0.6, 0.4
    curvature, x = np.array([1.0, 4.0]), np.array([1.0, -0.5])
    opt = SelfAdapting(sgd(lr), rate, memory, "updates")
    state = opt.init(jnp.asarray(x))
    phi, x_dot, seen = 0.0, np.zeros(2), []
    for _ in range(4):
        g = curvature * x
        sizes = np.linalg.norm(g) * np.linalg.norm(x_dot)
        phi -= rate * (g @ x_dot / sizes if sizes else 0.0)
        u = -np.exp(phi) * lr * g
        x_dot = memory * x_dot + u
        updates, state = opt.update(jnp.asarray(g), state, jnp.asarray(x))
        np.testing.assert_allclose(updates, u, rtol=1e-12)
        np.testing.assert_allclose(state.log_scales, [phi], rtol=1e-12, atol=1e-15)
        x, seen = x + u, [*seen, phi]
    assert min(np.diff(seen)) < 0


@eqx.filter_jit
def curve(opt, task=TASK, steps=STEPS):
    return unroll(task, opt, begin(task, opt, jr.key(3)), steps, lambda step: step.value)[1]


@pytest.mark.parametrize("directions", ["updates", "tensors"])
def test_at_rate_0_the_steps_are_those_of_the_base(directions):
    same = SelfAdapting(RULE, 0.0, directions=directions)
    np.testing.assert_array_equal(curve(same), curve(RULE))
    assert np.any(curve(SelfAdapting(RULE, 0.5, directions=directions)) != curve(RULE))


def test_a_rate_that_is_an_array_is_the_number():
    """A static field that holds an array cannot be compared, nor compiled for."""
    opt = SelfAdapting(RULE, jnp.asarray(0.25), np.float32(0.5))
    assert (opt.rate, opt.memory) == (0.25, 0.5) and hash((opt.rate, opt.memory))
    assert Guarded(sgd(0.1), sgd(0.1), decay=jnp.asarray(0.5)).decay == 0.5


def test_tensors_move_and_single_numbers_do_not():
    assert SelfAdapting(adam(0.1)).names == ("updates",)
    opt = SelfAdapting(RULE, directions="tensors")
    assert opt.names == DIRECTIONS
    bent = opt.at(jnp.array([5.0, 0.5, -0.5]))
    np.testing.assert_allclose(bent.w, np.exp(0.5) * RULE.w)
    np.testing.assert_allclose(bent.v, np.exp(-0.5) * RULE.v)
    scales = opt.scales(opt.init(jnp.ones(2)))
    assert list(scales) == list(opt.names) and set(map(float, scales.values())) == {1.0}


def test_log_scales_keep_within_their_bounds():
    for rate, sign in ((100.0, 1), (1e308, -1)):
        opt = SelfAdapting(RULE, rate, directions="tensors")
        state = opt.init(jnp.ones(2))
        far = eqx.tree_at(lambda s: s.x_dot, state, jnp.ones_like(state.x_dot))
        phi = opt.update(sign * jnp.ones(2), far, jnp.ones(2))[1].log_scales
        np.testing.assert_allclose(phi, [-sign * FARTHEST, *[-sign * BENT] * (len(phi) - 1)])


def test_what_is_not_finite_moves_nothing_and_is_forgotten():
    opt = SelfAdapting(RULE, directions="tensors")
    x = jnp.ones(2)
    _, state = opt.update(x, opt.init(x), x)
    assert tree.norm(state.x_dot) > 0
    _, after = opt.update(jnp.array([jnp.nan, 1.0]), state, x)
    assert [int(opt.counts(s)["nonfinite gradients"]) for s in (state, after)] == [0, 1]
    np.testing.assert_array_equal(after.log_scales, state.log_scales)
    np.testing.assert_array_equal(after.base, state.base)
    assert tree.finite((after.x_dot, after.s_dot))


def test_under_its_guard_a_run_outlives_a_gradient_that_is_not_finite():
    opt, problem = self_adapting(RULE, 0.5), Problem(TASK, TASK.sample(KEY), (), KEY)
    x = TASK.init(problem.instance, KEY)
    state = eqx.tree_at(lambda s: s.base.log_scales, opt.init(x), jnp.array([0.25]))
    step = eqx.filter_jit(lambda g, state, x: opt.update(g, state, x, problem=problem))
    for bad in (False, True, False):
        before = state
        u, state = step(jnp.nan * x if bad else problem.grad(x), state, x)
        x = x + u
        assert tree.finite(x) and tree.finite(eqx.filter(state, eqx.is_inexact_array))
        kept = np.array_equal(state.base.log_scales, before.base.log_scales)
        assert kept or not bad
    assert state.rejections >= 1 and state.base.nonfinite == 1 and state.base.log_scales[0] != 0


def test_with_the_loss_as_a_guard_it_is_never_above_the_base():
    wild = SelfAdapting(sgd(0.3), 2.0, 0.0)
    base, own, guarded = (curve(o) for o in (sgd(0.3), wild, Guarded(wild, sgd(0.3))))
    assert np.any(own > 1.1 * base)  # or there would be nothing to guard
    assert np.all(guarded <= base * (1 + 1e-12))


def test_what_it_has_learned_outlasts_a_rejection():
    """A step e⁵ times too long is rejected; its factor goes on moving from there, or from 1."""
    opt, problem = self_adapting(sgd(0.3), 0.5), Problem(TASK, TASK.sample(KEY), (), KEY)
    x = TASK.init(problem.instance, KEY)
    for restart in (False, True):
        guarded = dataclasses.replace(opt, restart=restart)
        state = eqx.tree_at(lambda s: s.base.log_scales, guarded.init(x), jnp.array([5.0]))
        _, after = guarded.update(problem.grad(x), state, x, problem=problem)
        assert after.rejections == 1
        assert float(after.base.log_scales[0]) == (0 if restart else 5)
        assert bool(after.base.x_dot.any()) is not restart
    assert not opt.restart and opt.base.directions == "updates"
    assert self_adapting(sgd(0.3)).base.rate == SelfAdapting(sgd(0.3)).rate


def test_in_optax_it_is_the_same_and_needs_no_parameters():
    opt = SelfAdapting(RULE, 0.5, directions="tensors")
    x = jnp.asarray([1.0, -2.0])
    tx, guarded = to_optax(opt), to_optax(opt, guard=True)
    state, alone, watched = tx.init(x), opt.init(x), guarded.init(x)
    for t in range(3):
        g = jnp.cos(t + x)
        expected, alone = opt.update(g, alone, x)
        updates, state = tx.update(g, state)
        safe, watched = guarded.update(g, watched, x)
        np.testing.assert_allclose(updates, expected, rtol=1e-12)
        np.testing.assert_allclose(safe, expected, rtol=1e-12)
        x = x + updates


def test_a_run_goes_on_bit_by_bit_from_a_state_that_was_written(tmp_path):
    opt, x = SelfAdapting(RULE, 0.5, directions="tensors"), jnp.asarray([1.0, -2.0])
    step = jax.jit(lambda x, state: opt.update(jnp.cos(x), state, x))
    u, state = step(x, opt.init(x))
    eqx.tree_serialise_leaves(tmp_path / "state.eqx", state)
    back = eqx.tree_deserialise_leaves(tmp_path / "state.eqx", opt.init(x))
    assert eqx.tree_equal(step(x + u, back), step(x + u, state))


class Still(AbstractOptimizer):
    """Stays where it is."""

    def init(self, params, *, key=None):
        return ()

    def update(self, grads, state, params, **extra):
        return 0 * grads, state


def test_a_rule_that_stays_has_nothing_to_adapt():
    opt = SelfAdapting(Still(), 1.0)
    updates, state = opt.update(jnp.ones(2), opt.init(jnp.ones(2)), jnp.ones(2))
    assert not updates.any() and not state.log_scales.any()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rate": -0.1}, "rate must be zero or positive, got -0.1"),
        ({"rate": float("nan")}, "rate"),
        ({"memory": 1.5}, "memory must lie in 0 … 1, got 1.5"),
        ({"memory": "long"}, "memory must be a finite number, got 'long'"),
        ({"directions": "all"}, "directions is 'all', expected 'updates' or 'tensors'"),
        ({"directions": ["updates"]}, "directions"),
        ({"second_order": 1}, "second_order must be True or False, got 1"),
        ({"base": jnp.sin}, "expected a steppe optimizer"),
        ({"base": SelfAdapting(sgd(0.1))}, "does not adapt itself yet"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(given, said):
    with pytest.raises(ValueError, match="SelfAdapting: ") as error:
        SelfAdapting(**{"base": RULE} | given)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_without_a_problem_second_order_is_refused():
    opt = SelfAdapting(RULE, second_order=True)
    with pytest.raises(ValueError, match=r"SelfAdapting: second_order .* needs gradients alone"):
        opt.update(jnp.ones(2), opt.init(jnp.ones(2)), jnp.ones(2))


@pytest.mark.parametrize("wrap", [SelfAdapting, self_adapting])
def test_pytorch_refuses_its_file_in_a_sentence(tmp_path, wrap):
    torch = pytest.importorskip("torch")
    path = tmp_path / "opt.safetensors"
    steppe.save(path, wrap(RNNProp((2,), 2, key=jr.key(0))))
    with pytest.raises(
        ValueError, match=r"kind '(SelfAdapting|Guarded)', expected one of"
    ) as error:
        steppe.torch.LearnedOptimizer([torch.ones(2)], path)
    said = str(error.value)
    assert "save the RNNProp inside it, its `base`, or run it in JAX." in said and "\n" not in said


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_in_optax_under_jit_dtypes_are_kept_and_the_size_of_updates_moves(dtype):
    """Along one gradient that does not change, each step is longer than the one before."""
    opt, x = SelfAdapting(sgd(0.125), 0.25), {"w": jnp.zeros(3, dtype), "b": jnp.zeros((), dtype)}
    tx = to_optax(opt)
    step, state = jax.jit(tx.update), tx.init(x)
    types = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state)
    g = jax.tree.map(jnp.ones_like, x)
    sizes = []
    for _ in range(3):
        updates, state = step(g, state)
        assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype(dtype)}
        sizes.append(float(updates["b"]))
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state) == types
    np.testing.assert_allclose(sizes, -0.125 * np.exp([0, 0.25, 0.5]), rtol=2e-2)


def ends(opt, task, keys):
    """Mean ln loss after 500 steps."""
    look, value = lambda *_: (), lambda step: step.value
    run = eqx.filter_jit(lambda opt: episodes(task, opt, keys, 500, look, observe=value))
    return float(jnp.mean(jnp.log(run(opt).steps[:, -1])))


@pytest.mark.slow
def test_a_shipped_rule_far_from_its_training_ends_within_twice_tuned_adam():
    """Systems whose entries have deviation 100: alone rnnprop-v1 ends thirty times above Adam."""
    task = steppe.tasks.build("lasso-m-l2o-100")
    keys, opt = jr.split(jr.key(1), 4), steppe.load("rnnprop-v1")
    grid = np.geomspace(1e-4, 1.0, 33)
    found = tune(task, adam, grid=grid.tolist(), horizon=500, seeds=4, key=jr.key(0))
    tuned = ends(adam(found.best), task, keys)
    assert ends(opt, task, keys) > tuned + np.log(10)
    for directions in ("updates", "tensors"):
        assert ends(SelfAdapting(opt, directions=directions), task, keys) < tuned + np.log(2)
