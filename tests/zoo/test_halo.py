"""HALO: the presets add what its paper adds, and what its code does; its meta-gradient is right."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

from steppe.core import tree
from steppe.core.episode import begin, unroll
from steppe.core.optimizer import join_meta, split_meta
from steppe.core.task import draw
from steppe.optimizers.learned.scale import Scale
from steppe.tasks import Quadratic
from steppe.testing import gradients
from steppe.zoo.assemble import assemble, objective
from steppe.zoo.presets import recipe
from steppe.zoo.recipe import Penalty

TASK, STEPS = Quadratic(4), 10
OPT = Scale((3, 2), 2, (0.01, 0.1), key=jr.key(0))
THETA, REST = split_meta(OPT)


@eqx.filter_jit
def score(theta, how, second_order=True):
    """Objective of an unroll, its parts, and the points passed."""
    opt, key = join_meta(theta, REST), jr.key(1)
    episode = begin(TASK, opt, key)
    problem = draw(TASK, episode.instance, key, split="train")
    memo = how.start(problem, episode, key=key)
    seen = lambda step: (how.observe(step, memo), step.after.params)
    end, (obs, path) = unroll(TASK, opt, episode, STEPS, seen, second_order=second_order)
    found = how(TASK, end, obs, memo, key=key)
    return found.value, (found.parts["base"], path, episode.instance)


@pytest.mark.parametrize(("name", "weight", "over"), [("halo", 1e-3, 1), ("halo-code", 5e-4, 4)])
def test_the_presets_add_the_sum_over_steps_of_squared_gradients(name, weight, over):
    how = recipe(name)
    value, (base, path, instance) = score(THETA, objective(how, TASK))
    W, y = np.asarray(instance.W[0]), np.asarray(instance.y[0])
    g = np.array([W.T @ (W @ x - y) for x in np.asarray(path)[:, 0]])
    assert how.estimator.unroll == STEPS == len(g)
    expected = weight * sum(np.vdot(own, own) for own in g) / over
    assert float(value - base) == pytest.approx(expected, rel=1e-10)


def test_it_is_l2o_scale_whose_gradients_are_constants_but_in_the_measure():
    how = recipe("halo")
    opt, made = assemble(how, TASK, key=jr.key(0))
    assert isinstance(opt, Scale) and not made["estimator"].second_order
    windows = how.estimator.horizon // how.estimator.unroll
    assert how.run.steps == 50 * windows and how.run.validate_every == windows


def test_the_meta_gradient_is_that_of_finite_differences():
    """With a large weight, so that the measure is most of it."""
    how = objective(recipe("halo", **{"penalty.weight": 10.0}), TASK)
    direction, h = gradients(THETA, 0), 1e-6
    moved = lambda a: jtu.tree_map(lambda w, d: w + a * h * d, THETA, direction)
    value = lambda theta: score(theta, how)[0]
    ends = [float(value(moved(a))) for a in (1, -1)]
    slope = float(tree.dot(eqx.filter_jit(jax.grad(value))(THETA), direction))
    assert slope == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-5)
    assert abs(slope) > 1e-3


def test_a_mean_is_of_the_gradient_alone():
    with pytest.raises(ValueError, match=r"`penalty.mean` was given \(True\), but trace does not"):
        Penalty(kind="trace", weight=1.0, mean=True)
    assert Penalty(kind="gradient-norm", weight=1.0, mean=True).mean
    assert jnp.ndim(objective(recipe("halo"), TASK).strength) == 0
