"""Every named synthetic task builds and evaluates; the suites hold what they say."""

import equinox as eqx
import jax
import jax.random as jr
import jax.tree_util as jtu
import pytest

from steppe.core.task import draw
from steppe.tasks.names import SUITES, TASKS
from steppe.tasks.suite import build
from steppe.tasks.synthetic.functions import FUNCTIONS

SYNTHETIC = [name for name, entry in TASKS.items() if entry.family == "synthetic"]


@pytest.mark.parametrize("name", SYNTHETIC)
def test_every_name_builds_a_task_with_a_loss_a_gradient_and_metrics(name):
    task = build(name)

    def play(key):
        instance = task.sample(key)
        params = task.init(instance, key)
        problem = draw(task, instance, key, split="train")
        whole = task.full_batch(instance, split="test")
        return params, problem.value_and_grad(params), task.metrics(params, instance, whole, key)

    params, (value, grads), metrics = jax.eval_shape(play, jr.key(0))
    assert value.shape == () and all(metric.shape == () for metric in metrics.values())
    assert jtu.tree_structure(params) == jtu.tree_structure(grads)


def test_suites_hold_known_names_once():
    for names in SUITES.values():
        assert len(set(names)) == len(names) and set(names) <= set(TASKS)


def test_every_synthetic_task_of_a_published_set_is_in_a_suite():
    listed = {name for names in SUITES.values() for name in names}
    ours = {"wells", *(name for name in SYNTHETIC if name.startswith("rastrigin-shifted"))}
    assert set(SYNTHETIC) - listed == ours
    assert SUITES["test-functions"] == tuple(FUNCTIONS)


def test_no_named_task_holds_arrays():
    for name in SYNTHETIC:
        assert not jtu.tree_leaves(eqx.filter(build(name), eqx.is_array)), name
