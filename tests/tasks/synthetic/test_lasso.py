"""Lasso: against NumPy, soft thresholding, and fixed data."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.tasks.names import TASKS
from steppe.tasks.synthetic.equations import Equations
from steppe.tasks.synthetic.lasso import Lasso

NAMES = ("lasso-dm", "lasso")
DM, SCALE = (dict(TASKS[name].arguments) for name in NAMES)

EYE = Equations(jnp.eye(3)[None], jnp.array([[2.0, -0.3, -5.0]]))


def test_the_loss_equals_numpy(getkey):
    task = Lasso(n=3, instances=4, l1=0.7)

    @jax.jit
    def look(key):
        instance = task.sample(key)
        x = task.init(instance, jr.fold_in(key, 1))
        return instance, x, task.loss(instance, (), key)(x)

    instance, x, value = look(getkey())
    expected = 0.0
    for W, y, z in zip(*map(np.asarray, (instance.W, instance.y, x)), strict=True):
        expected += (0.5 * np.sum((W @ z - y) ** 2) + 0.7 * np.abs(z).sum()) / 4
    assert float(value) == pytest.approx(expected, rel=1e-12)


def test_soft_thresholding_is_optimal_where_w_is_the_identity():
    """There x*ᵢ = sign(yᵢ) max(|yᵢ| − l1, 0): no coordinate can be moved to a lower value."""
    task = Lasso(n=3, l1=0.5)
    best = jnp.array([[1.5, 0.0, -4.5]])
    loss = jax.jit(jax.vmap(lambda x: task.loss(EYE, (), jr.key(0))(x)))
    moves = 1e-3 * jnp.concatenate([jnp.eye(3), -jnp.eye(3)])[:, None]  # (6, 1, 3)
    assert np.all(loss(best[None] + moves) > loss(best[None]))
    slope = jax.jit(jax.grad(lambda x: task.loss(EYE, (), jr.key(0))(x)))(best)
    # At the kink the slope of |x| is taken as 0, so what is left is −yᵢ.
    np.testing.assert_allclose(slope, [[0, 0.3, 0]], atol=1e-12)


def test_with_a_seed_all_instances_are_one_and_starts_are_not(getkey):
    task = Lasso(**DM | {"instances": 3}, seed=0)
    one, other = task.sample(getkey()), task.sample(getkey())
    assert np.array_equal(one.W, other.W) and np.array_equal(one.y, other.y)
    assert not np.array_equal(task.init(one, getkey()), task.init(one, getkey()))


def test_the_published_sets_have_their_sizes_and_laws():
    assert Lasso(**DM) == Lasso(2, 128, "uniform", 0.005, 0.01)
    assert Lasso(**SCALE) == Lasso(20, 1, "normal", 1.0, 1.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n": 0}, "n must be at least 1, got 0"),
        ({"instances": 0}, "instances must be at least 1, got 0"),
        ({"data": "cauchy"}, "data must be one of uniform, normal, got 'cauchy'"),
        ({"l1": -0.1}, "l1 must not be negative, got -0.1"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        Lasso(**arguments)
