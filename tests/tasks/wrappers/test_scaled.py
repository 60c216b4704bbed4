"""Augmented tasks: the same problem in other coordinates, and with a bowl beside it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

from examples import pictures
from steppe.core.episode import begin, unroll
from steppe.core.loss import Composed
from steppe.core.task import Problem
from steppe.flatness.products import gauss_newton_product
from steppe.optimizers.classic.from_optax import sgd
from steppe.tasks import MLP, Classify, Scaled, WithBowl
from tests.tasks.ellipse import D, Ellipse

KEY, OTHER = jr.key(0), jr.key(1)
TASK = Ellipse()
D2 = np.square(D)


@eqx.filter_jit
def parts(task):
    """A problem on a drawn instance, a start, and there the value, the gradient and the metrics."""
    instance = task.sample(KEY)
    problem, x = Problem(task, instance, (), KEY), task.init(instance, OTHER)
    return problem, x, *problem.value_and_grad(x), task.metrics(x, instance, (), KEY)


def test_value_gradient_and_metrics_are_those_at_c_times_params():
    """The gradient is c ⊙ ∇f(c ⊙ θ), and c ⊙ θ₀ is a start of the task."""
    problem, x, value, g, found = parts(Scaled(TASK))
    a, c = (np.asarray(part) for part in problem.instance)
    z = c * np.asarray(x)
    np.testing.assert_allclose(z, TASK.init(a, OTHER), rtol=1e-12)
    assert float(value) == pytest.approx(np.sum(D2 * (z - a) ** 2) / 2, rel=1e-12)
    np.testing.assert_allclose(g, c * D2 * (z - a), rtol=1e-12)
    assert list(found) == ["first"]
    assert float(found["first"]) == pytest.approx(z[0], rel=1e-12)


def test_gradient_descent_is_descent_preconditioned_by_c_squared():
    task, opt = Scaled(TASK, 1.0), sgd(0.03)

    @jax.jit
    def run(key):
        episode = begin(task, opt, key)
        return episode, unroll(task, opt, episode, 4, lambda step: ())[0].params

    episode, after = run(KEY)
    a, c = (np.asarray(part) for part in episode.instance)
    z = c * np.asarray(episode.params)
    for _ in range(4):
        z = z - 0.03 * c**2 * D2 * (z - a)
    np.testing.assert_allclose(c * after, z, rtol=1e-12)


def test_log_scales_are_uniform_and_each_coordinate_has_its_own():
    task = Scaled(Classify(pictures(), MLP(hidden=(40,))), 2.0)
    _, c = eqx.filter_jit(lambda task, key: task.sample(key))(task, KEY)
    logs = np.log(np.concatenate([leaf.ravel() for leaf in jtu.tree_leaves(c)]))
    assert len(logs) == 36 * 40 + 40 + 40 * 3 + 3 == len(np.unique(logs))
    assert np.abs(logs).max() <= 2.0
    # U(−2, 2) has mean 0, variance 4/3 and fourth moment 16/5; four standard errors
    error = 4 / np.sqrt(len(logs))
    assert abs(logs.mean()) < error * np.sqrt(4 / 3)
    assert abs((logs**2).mean() - 4 / 3) < error * np.sqrt(16 / 5 - 16 / 9)


def test_a_spread_of_zero_changes_nothing():
    np.testing.assert_array_equal(Scaled(TASK, 0.0).sample(KEY)[1], 1.0)


def test_the_bowl_adds_its_mean_square_and_the_metrics_stay():
    problem, (x, psi), value, (g, slope), found = parts(WithBowl(TASK, 5))
    a, v = (np.asarray(part) for part in problem.instance)
    assert v.shape == psi.shape == (5,) and np.all(v != psi)
    x, psi = np.asarray(x), np.asarray(psi)
    f = np.sum(D2 * (x - a) ** 2) / 2
    assert float(value) == pytest.approx(f + np.mean((psi - v) ** 2), rel=1e-12)
    np.testing.assert_allclose(g, D2 * (x - a), rtol=1e-12)
    np.testing.assert_allclose(slope, 2 / 5 * (psi - v), rtol=1e-12)
    assert {name: float(value) for name, value in found.items()} == {
        "first": float(x[0]),
        "plain_loss": pytest.approx(f, rel=1e-12),
    }


@pytest.mark.parametrize("wrap", [Scaled, WithBowl])
def test_a_wrapped_composed_loss_gives_measures_its_gauss_newton_matrix(wrap):
    """G = C D² C of the scaled ellipse; with the bowl, D² and 2/n beside it."""

    @jax.jit
    def product(key):
        task = wrap(TASK)
        instance = task.sample(key)
        loss, x = Problem(task, instance, (), key).loss(), task.init(instance, OTHER)
        assert isinstance(loss, Composed)
        ones = jtu.tree_map(jnp.ones_like, x)
        return instance[1], gauss_newton_product(loss, x, ones)

    c, found = product(KEY)
    if wrap is Scaled:
        np.testing.assert_allclose(found, np.square(c) * D2, rtol=1e-12)
    else:
        np.testing.assert_allclose(found[0], D2, rtol=1e-12)
        np.testing.assert_allclose(found[1], 2 / 20, rtol=1e-12)


def test_wrappers_nest():
    problem, (x, psi), _, _, found = parts(Scaled(WithBowl(TASK, 2), 1.0))
    (_, v), (c_x, c_psi) = problem.instance
    assert x.shape == c_x.shape == (3,) and psi.shape == c_psi.shape == v.shape == (2,)
    assert set(found) == {"first", "plain_loss"}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Scaled(TASK, -1.0), r"spread must be a number from 0 up, got -1\.0"),
        (lambda: WithBowl(TASK, 0), "WithBowl: n must be at least 1, got 0"),
    ],
)
def test_mistakes_are_explained(make, words):
    with pytest.raises(ValueError, match=words):
        make()
