"""What every estimator and every objective promises, run over all final classes found."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest
from examples import final_classes

from steppe.core.estimator import AbstractEstimator, Stats
from steppe.core.measure import AbstractMeasure
from steppe.core.objective import AbstractObjective
from steppe.core.optimizer import split_meta
from steppe.estimators.bptt import BPTT
from steppe.objectives.trajectory import Trajectory
from steppe.optimizers.learned.rnnprop import RNNProp
from steppe.tasks.quadratic import Quadratic

ESTIMATORS = {"BPTT": lambda: BPTT(2, 2, 6)}
OBJECTIVES = {"Trajectory": lambda: Trajectory("ramp", "ratio", "fresh")}


@pytest.mark.parametrize(
    ("base", "examples"),
    [(AbstractEstimator, ESTIMATORS), (AbstractObjective, OBJECTIVES), (AbstractMeasure, {})],
    ids=["estimators", "objectives", "measures"],
)
def test_every_final_class_has_an_example(base, examples):
    assert {cls.__name__ for cls in final_classes(base)} == set(examples)


@pytest.fixture(scope="module", params=[(e, o) for e in ESTIMATORS for o in OBJECTIVES], ids=str)
def run(request):
    """Two calls of an estimator on an objective, compiled; and how often it was traced."""
    estimator, objective = ESTIMATORS[request.param[0]](), OBJECTIVES[request.param[1]]()
    task, opt = Quadratic(3), RNNProp((2,), 2, key=jr.key(0))
    traces = []

    @eqx.filter_jit
    def call(state, key):
        traces.append(1)
        return estimator(task, opt, state, objective, key=key)

    start = estimator.init(task, opt, objective, key=jr.key(1))
    first = call(start, jr.key(2))
    second = call(first[1], jr.key(3))
    again = call(start, jr.key(2))
    return opt, start, first, second, again, len(traces)


def test_the_meta_gradient_has_the_structure_shapes_and_dtypes_of_theta(run):
    opt, _, (grads, _, _), *_ = run
    theta, _ = split_meta(opt)
    assert jtu.tree_structure(grads) == jtu.tree_structure(theta)
    for g, t in zip(jtu.tree_leaves(grads), jtu.tree_leaves(theta), strict=True):
        assert (g.shape, g.dtype) == (t.shape, t.dtype)


def test_the_state_keeps_its_types_so_that_one_trace_serves_all_calls(run):
    _, start, (_, state, _), _, _, traces = run
    kind = lambda x: (x.shape, x.dtype, getattr(x, "weak_type", False))
    shapes = lambda tree: [kind(x) for x in jtu.tree_leaves(tree)]
    assert shapes(start) == shapes(state)
    assert traces == 1


def test_equal_keys_give_equal_bits(run):
    _, _, first, _, again, _ = run
    for a, b in zip(jtu.tree_leaves(first[0]), jtu.tree_leaves(again[0]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_statistics_are_scalars_and_agree_with_the_gradient(run):
    _, _, (grads, _, stats), *_ = run
    assert isinstance(stats, Stats)
    assert all(leaf.shape == () for leaf in jtu.tree_leaves(stats))
    norm = np.sqrt(sum(float(jnp.sum(g**2)) for g in jtu.tree_leaves(grads)))
    assert float(stats.grad_norm) == pytest.approx(norm, rel=1e-12)
    assert int(stats.nonfinite) == 0


def test_episodes_go_on_where_they_stood(run):
    _, start, (_, state, _), (_, later, _), *_ = run
    assert np.all(np.asarray(state.episode.step) > np.asarray(start.episode.step))
    assert not np.array_equal(
        jtu.tree_leaves(state.episode.params)[0], jtu.tree_leaves(later.episode.params)[0]
    )
