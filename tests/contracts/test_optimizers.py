"""What every optimizer promises, tried on an example of every final class in the package."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest
from examples import final_classes
from examples_optimizers import OPTIMIZERS

from steppe.core import tree
from steppe.core.coordinatewise import AbstractCoordinatewise
from steppe.core.describe import describe, rebuild
from steppe.core.optimizer import AbstractOptimizer, join_meta, split_meta
from steppe.zoo import KINDS, load_optimizer, save_optimizer

STEPS = 3
ROUNDING = {"rtol": 1e-10, "atol": 1e-13}  # of float64, through a few hundred operations
COORDINATEWISE = [n for n, make in OPTIMIZERS.items() if isinstance(make(), AbstractCoordinatewise)]


@functools.cache
def example(name) -> AbstractOptimizer:
    return tree.strong(OPTIMIZERS[name]())


@pytest.fixture(params=OPTIMIZERS)
def opt(request) -> AbstractOptimizer:
    return example(request.param)


TREES = {
    "shapes": lambda: {"a": jnp.ones((2, 3)), "b": (jnp.ones(()), jnp.ones(4)), "c": jnp.ones(0)},
    "scalar": lambda: jnp.ones(()),
    "empty": lambda: {},
    "dtypes": lambda: [jnp.ones(2, d) for d in (jnp.float64, jnp.bfloat16, jnp.float32)],
}


def like(params, key):
    """Random numbers between 0.5 and 2, with random signs."""
    leaves, treedef = jtu.tree_flatten(params)
    keys = jr.split(key, len(leaves) or 1)
    draw = lambda k, leaf: jr.rademacher(k, leaf.shape) * jr.uniform(k, leaf.shape, minval=0.5)
    drawn = [draw(k, leaf).astype(leaf.dtype) for k, leaf in zip(keys, leaves, strict=False)]
    return jtu.tree_unflatten(treedef, drawn)


def steps(opt, params, key, **extra):
    """The updates of a few steps with random gradients, and the state after them."""
    key_init, key_run = jr.split(key)
    state, every = opt.init(params, key=key_init), []
    for k in jr.split(key_run, STEPS):
        updates, state = opt.update(like(params, k), state, params, **extra)
        params = tree.apply_updates(params, updates)
        every.append(updates)
    return every, state


fast_steps = eqx.filter_jit(steps)


def types(x):
    return jtu.tree_map(lambda leaf: (leaf.shape, leaf.dtype, getattr(leaf, "weak_type", False)), x)


def assert_close(x, y, **tolerance):
    limits = tolerance or ROUNDING
    close = lambda a, b: np.testing.assert_allclose(np.float64(a), np.float64(b), **limits)
    jtu.tree_map(close, x, y)


def test_every_final_class_has_an_example():
    without = final_classes(AbstractOptimizer) - {type(make()) for make in OPTIMIZERS.values()}
    assert not without, f"add to tests/examples_optimizers.py: {without}"


def test_every_final_class_can_be_read_from_a_checkpoint():
    assert final_classes(AbstractOptimizer) == set(KINDS.values())


def test_theta_is_all_floating_arrays_and_not_empty(opt):
    theta, rest = split_meta(opt)
    leaves = jtu.tree_leaves(theta)
    assert leaves and all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves)
    assert eqx.tree_equal(join_meta(theta, rest), opt)


@pytest.mark.parametrize("shape", TREES)
def test_updates_are_like_params_and_the_state_stays_like_itself(opt, shape, getkey):
    params = TREES[shape]()
    start = opt.init(params, key=getkey())
    updates, state = eqx.filter_jit(opt.update)(like(params, getkey()), start, params)
    assert types(updates) == types(params)
    assert types(state) == types(tree.strong(start))
    assert tree.finite(updates)
    assert tree.size(params) == 0 or tree.norm(jtu.tree_map(jnp.float64, updates)) > 0


def test_init_is_strongly_typed(opt, getkey):
    start = opt.init(TREES["shapes"](), key=getkey())
    assert types(start) == types(tree.strong(start))


def test_jit_changes_nothing(opt, getkey):
    params, key = like(TREES["shapes"](), getkey()), getkey()
    assert_close(fast_steps(opt, params, key), steps(opt, params, key))


def test_vmap_is_a_loop(opt, getkey):
    params, key = like(TREES["shapes"](), getkey()), jr.split(getkey(), 3)
    together = eqx.filter_jit(eqx.filter_vmap(steps, in_axes=(None, None, 0)))(opt, params, key)
    for i in range(3):
        alone = fast_steps(opt, params, key[i])
        assert_close(jtu.tree_map(lambda leaf, i=i: leaf[i], together), alone)


def test_vmap_over_theta_is_a_loop(opt, getkey):
    params, key = like(TREES["shapes"](), getkey()), getkey()
    theta, rest = split_meta(opt)
    stacked = jtu.tree_map(lambda w: jnp.stack([w, 1.1 * w]), theta)
    run = lambda theta: steps(join_meta(theta, rest), params, key)
    together = jax.jit(jax.vmap(run))(stacked)
    alone = run(jtu.tree_map(lambda w: 1.1 * w, theta))
    assert_close(jtu.tree_map(lambda leaf: leaf[1], together), alone)


def test_two_calls_trace_once(opt, getkey):
    params = TREES["dtypes"]()
    state, traces = tree.strong(opt.init(params, key=getkey())), []

    @eqx.filter_jit
    def step(opt, grads, state, params):
        traces.append(1)
        updates, state = opt.update(grads, state, params)
        return tree.apply_updates(params, updates), state

    for _ in range(3):
        params, state = step(opt, like(params, getkey()), state, params)
    theta, rest = split_meta(opt)
    other = join_meta(jtu.tree_map(lambda w: 1.1 * w, theta), rest)
    step(other, like(params, getkey()), state, params)
    assert len(traces) == 1


def test_unknown_extras_change_nothing(opt, getkey):
    params, key = like(TREES["shapes"](), getkey()), getkey()
    plain = fast_steps(opt, params, key, value=jnp.ones(()))
    assert eqx.tree_equal(fast_steps(opt, params, key, value=jnp.ones(()), stranger=key), plain)


def test_saved_and_loaded_it_gives_the_same_updates(opt, getkey, tmp_path):
    save_optimizer(tmp_path / "opt.safetensors", opt, seed=1)
    loaded, manifest = load_optimizer(tmp_path / "opt.safetensors")
    assert manifest["kind"] == type(opt).__name__ and manifest["recipe"] == {"seed": 1}
    assert eqx.tree_equal(loaded, opt)
    params, key = like(TREES["shapes"](), getkey()), getkey()
    assert eqx.tree_equal(fast_steps(loaded, params, key), fast_steps(opt, params, key))


def test_meta_gradient_is_that_of_finite_differences(opt, getkey):
    params, key = like(TREES["shapes"](), getkey()), getkey()
    theta, rest = split_meta(opt)
    weights = like(params, getkey())

    @jax.jit
    def f(theta):
        every, _ = steps(join_meta(theta, rest), params, key)
        return sum(tree.dot(weights, updates) for updates in every)

    direction = like(theta, getkey())
    h = 1e-6
    ends = [f(tree.add(theta, tree.scale(s * h, direction))) for s in (1, -1)]
    slope = tree.dot(jax.jit(jax.grad(f))(theta), direction)
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-5, abs=1e-8)


def test_meta_gradient_is_finite_where_gradients_are_zero(opt):
    params = jnp.ones(3)
    theta, rest = split_meta(opt)

    @jax.jit
    def f(theta):
        opt = join_meta(theta, rest)
        state, total = opt.init(params), jnp.zeros(())
        for _ in range(STEPS):
            updates, state = opt.update(jnp.zeros(3), state, params)
            total += updates.sum()
        return total

    assert tree.finite(jax.grad(f)(theta))


@pytest.mark.parametrize("name", COORDINATEWISE)
def test_coordinates_are_interchangeable(name, getkey):
    opt, order = example(name), jnp.asarray([3, 0, 4, 1, 2])
    state = permuted = opt.init(jnp.ones(5))
    for _ in range(STEPS):
        g = like(jnp.ones(5), getkey())
        u, state = opt.update(g, state, g)
        v, permuted = opt.update(g[order], permuted, g)
        assert_close(u[order], v)


@pytest.mark.parametrize("name", COORDINATEWISE)
@pytest.mark.parametrize("block", [1, 7, 10, 11])
def test_block_size_does_not_change_the_updates(name, block, getkey):
    opt = example(name)
    assert opt.block >= 1024
    description = describe(opt)
    description["hyper"]["block"] = block
    structure = jtu.tree_structure(rebuild(description, KINDS))
    cut = jtu.tree_unflatten(structure, jtu.tree_leaves(opt))
    params, key = like({"a": jnp.ones((4, 5)), "b": jnp.ones(3)}, getkey()), getkey()
    assert_close(fast_steps(cut, params, key)[0], fast_steps(opt, params, key)[0])
