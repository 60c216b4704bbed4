"""What every task promises, tried on an example of every final class in the package."""

import dataclasses
import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

from examples import TASKS, final_classes
from steppe.core import tree
from steppe.core.episode import begin, unroll
from steppe.core.optimizer import AbstractOptimizer
from steppe.core.task import AbstractTask, draw

SPLITS = ("train", "valid", "test")
ROUNDING = {"rtol": 1e-10, "atol": 1e-12}  # of float64, through a few hundred operations


class Descent(AbstractOptimizer):
    """Gradient descent, the least that `unroll` needs."""

    def init(self, params, *, key=None):
        return ()

    def update(self, grads, state, params, **extra):
        return tree.scale(-0.01, grads), state


@pytest.fixture(params=TASKS)
def task(request) -> AbstractTask:
    return TASKS[request.param]()


def begun(task, key, split="train"):
    """A problem on a fresh instance, and params to start from."""
    key_instance, key_params, key_problem = jr.split(key, 3)
    instance = task.sample(key_instance)
    return draw(task, instance, key_problem, split=split), task.init(instance, key_params)


def scores(problem, params):
    """All that a task computes."""
    value, grads = problem.value_and_grad(params)
    metrics = problem.task.metrics(params, problem.instance, problem.batch, problem.key)
    return value, grads, metrics


# Compiled once for all tests that use the same example; drawing is what takes time to compile.
fast_begun, fast_scores = eqx.filter_jit(begun), eqx.filter_jit(scores)


def bits(x):
    return [np.asarray(leaf).tobytes() for leaf in jtu.tree_leaves(x)]


def assert_close(x, y):
    jtu.tree_map(lambda a, b: np.testing.assert_allclose(a, b, **ROUNDING), x, y)


def assert_scalar(x):
    assert x.shape == () and x.dtype == jnp.float64 and not x.weak_type


def test_every_final_task_has_an_example():
    classes = final_classes(AbstractTask)
    if not classes:
        pytest.skip("the package has no final task")
    made = {type(make()) for make in TASKS.values()}
    missing = sorted(cls.__name__ for cls in classes - made)
    assert not missing, f"add an example of {', '.join(missing)} to TASKS in tests/examples.py"
    assert made <= classes


def test_constructor_arguments_are_fields_of_the_same_name(task):
    fields = {field.name for field in dataclasses.fields(task)}
    assert set(inspect.signature(type(task)).parameters) - {"key"} <= fields


def test_params_are_floating_point_arrays(task, getkey):
    _, params = fast_begun(task, getkey())
    leaves = jtu.tree_leaves(params)
    assert leaves and all(leaf.dtype == jnp.float64 for leaf in leaves)


@pytest.mark.parametrize("split", SPLITS)
def test_loss_and_metrics_are_strong_scalars_on_every_split(task, split, getkey):
    def report(key):
        problem, params = begun(task, key, split)
        whole = task.full_batch(problem.instance, split=split)
        return [
            (task.loss(problem.instance, batch, key)(params), metrics)
            for batch in (problem.batch, whole)
            for metrics in [task.metrics(params, problem.instance, batch, key)]
        ]

    for loss, metrics in jax.eval_shape(report, getkey()):
        assert_scalar(loss)
        for name, metric in metrics.items():
            assert isinstance(name, str)
            assert_scalar(metric)


def test_batches_of_all_splits_are_alike_but_for_the_rows(task, getkey):
    problem, _ = fast_begun(task, getkey())
    shapes = [
        jax.eval_shape(lambda key, s=split: task.batch(problem.instance, key, split=s), getkey())
        for split in SPLITS
    ]
    assert shapes[0] == shapes[1] == shapes[2]
    whole = jax.eval_shape(lambda: task.full_batch(problem.instance, split="test"))
    for drawn, all_rows in zip(jtu.tree_leaves(shapes[0]), jtu.tree_leaves(whole), strict=True):
        assert drawn.dtype == all_rows.dtype and drawn.shape[1:] == all_rows.shape[1:]


def test_jit_equals_eager(task, getkey):
    problem, params = fast_begun(task, getkey())
    assert_close(fast_scores(problem, params), scores(problem, params))


def test_vmap_equals_a_loop(task, getkey):
    def play(key, begun=begun, scores=scores):
        problem, params = begun(task, key)
        return problem.instance, problem.batch, params, scores(problem, params)

    keys = jr.split(getkey(), 3)
    loop = [play(key, fast_begun, fast_scores) for key in keys]
    assert_close(jax.jit(jax.vmap(play))(keys), jtu.tree_map(lambda *rows: np.stack(rows), *loop))


def test_the_gradient_is_that_of_the_loss(task, getkey):
    problem, params = fast_begun(task, getkey())
    rng = np.random.default_rng(0)
    v = jtu.tree_map(lambda leaf: rng.normal(size=leaf.shape), params)
    norm = np.sqrt(sum(np.sum(leaf**2) for leaf in jtu.tree_leaves(v)))
    moved = lambda h: jtu.tree_map(lambda p, v: np.asarray(p) + h * v, params, v)
    h = 1e-6 / norm
    ahead, behind = (float(fast_scores(problem, moved(s * h))[0]) for s in (1, -1))
    grads = fast_scores(problem, params)[1]
    slope = sum(jtu.tree_leaves(jtu.tree_map(lambda g, v: np.sum(np.asarray(g) * v), grads, v)))
    assert slope != 0
    assert (ahead - behind) / (2 * h) == pytest.approx(slope, rel=1e-4)


def test_loss_metrics_and_gradient_are_finite(task, getkey):
    """At the start and two small steps later."""
    for key in jr.split(getkey(), 3):
        problem, params = fast_begun(task, key)
        for _ in range(3):
            found = fast_scores(problem, params)
            assert tree.finite((params, found))
            params = jtu.tree_map(lambda p, g: p - 0.01 * np.asarray(g), params, found[1])


def test_float32_mode_computes_in_float32(task, getkey):
    key = getkey()
    with jax.enable_x64(False):
        shapes = jax.eval_shape(lambda key: (begun(task, key), scores(*begun(task, key))), key)
    dtypes = {leaf.dtype for leaf in jtu.tree_leaves(shapes)}
    assert jnp.dtype("float64") not in dtypes and jnp.dtype("float32") in dtypes


def test_an_episode_begins_with_strong_types(task, getkey):
    episode = jax.eval_shape(lambda key: begin(task, Descent(), key), getkey())
    assert not any(leaf.weak_type for leaf in jtu.tree_leaves(episode))


def test_two_unrolls_trace_once(task, getkey):
    """Without compiling: the types that come out are those that went in."""
    traces = []
    start = jax.eval_shape(lambda key: begin(task, Descent(), key), getkey())

    @eqx.filter_jit
    def advance(task, episode):
        traces.append(None)
        return unroll(task, Descent(), episode, 2, lambda step: step.value)

    episode, _ = eqx.filter_eval_shape(advance, task, start)
    _, values = eqx.filter_eval_shape(advance, task, episode)
    assert len(traces) == 1
    assert values.shape == (2,)


def test_the_same_key_gives_the_same_bits(task, getkey):
    key = getkey()
    assert bits(draws(task, key)) == bits(draws(task, key))


def test_different_keys_give_different_draws(task, getkey):
    (start1, batch1), (start2, batch2) = (draws(task, key) for key in jr.split(getkey()))
    assert bits(start1) != bits(start2)
    assert bits(batch1) != bits(batch2) or not bits(batch1)


def draws(task, key):
    problem, params = fast_begun(task, key)
    return (problem.instance, params), problem.batch


def test_episodes_do_not_hold_the_data(task, getkey):
    data = tree.size(eqx.filter(task, eqx.is_array))
    if data == 0:
        pytest.skip("this task holds no arrays")
    keys = jr.split(getkey(), 8)
    lanes = jax.eval_shape(jax.vmap(lambda key: begin(task, Descent(), key)), keys)
    assert max(leaf.size for leaf in jtu.tree_leaves(lanes)) < data / 10
