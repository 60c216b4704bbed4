"""Families with a spread, and batches of points: against NumPy, and what is refused."""

import jax
import jax.random as jr
import numpy as np
import pytest

from steppe import tasks
from steppe.tasks.synthetic.functions import FUNCTIONS, Formula
from steppe.tasks.synthetic.lasso import Lasso
from steppe.tasks.synthetic.quadratic import Quadratic
from steppe.tasks.synthetic.rastrigin import Rastrigin

SIZES = {"n": 4, "instances": 3}
KINDS = (Lasso, Quadratic)


def factors(task, plain, keys):
    """σ of each instance, from a task that has none and the same keys."""
    wide, W = (jax.jit(jax.vmap(each.sample))(keys).W for each in (task, plain))
    ratio = np.asarray(wide) / np.asarray(W)
    np.testing.assert_allclose(ratio, ratio[:, :1, :1, :1] * np.ones_like(ratio), rtol=1e-5)
    return ratio[:, 0, 0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_spread_multiplies_w_alone_and_all_of_it_by_one_number(kind, getkey):
    keys = jr.split(getkey(), 90)
    found = factors(kind(**SIZES, spread=[0.1, 0.5, 1.0]), kind(**SIZES), keys)
    values, counts = np.unique(np.round(found, 6), return_counts=True)
    assert np.allclose(values, (0.1, 0.5, 1.0)) and counts.min() >= 12
    one, plain = kind(**SIZES, spread=100.0).sample(keys[0]), kind(**SIZES).sample(keys[0])
    assert np.array_equal(one.W, 100 * plain.W) and np.array_equal(one.y, plain.y)


def test_between_two_numbers_the_logarithm_of_the_spread_is_uniform(getkey):
    keys = jr.split(getkey(), 400)
    found = factors(Lasso(**SIZES, spread=(0.01, 100.0), between=True), Lasso(**SIZES), keys)
    logs = np.sort((np.log10(found) + 2) / 4)
    assert logs[0] >= 0 and logs[-1] <= 1
    assert np.abs(logs - (np.arange(400) + 0.5) / 400).max() < 0.09  # Kolmogorov, 99.7 %


@pytest.mark.parametrize("kind", KINDS)
def test_symmetric_labels_lie_between_minus_one_and_one(kind, getkey):
    y = np.asarray(kind(n=20, instances=50, labels="symmetric").sample(getkey()).y)
    assert y.min() < -0.98 and y.max() > 0.98 and np.abs(y).max() <= 1
    assert y.var() == pytest.approx(1 / 3, rel=0.1)


@pytest.mark.parametrize("kind", ["lasso", "quadratic"])
def test_the_families_of_m_l2o_differ_in_their_spread_alone(kind):
    trained = tasks.build(f"{kind}-m-l2o")
    assert trained.spread == (0.1, 0.5, 1.0) and trained.instances == 128 and trained.n == 10
    for sigma in (10.0, 100.0):
        assert tasks.build(f"{kind}-m-l2o-{sigma:g}") == tasks.build(f"{kind}-m-l2o", spread=sigma)


def test_the_textbook_rastrigin_draws_a_weight_for_each_instance(getkey):
    task = Rastrigin(
        **SIZES, data="textbook", factor=1.0, offset="n", box=3.0, alpha=[1.0, 0.5, 2.0]
    )

    @jax.jit
    @jax.vmap
    def look(key):
        instance = task.sample(key)
        x = task.init(instance, jr.fold_in(key, 1))
        return x, task.loss(instance, (), key)(x)

    xs, values = jax.device_get(look(jr.split(getkey(), 30)))
    assert 2.5 < np.abs(xs).max() <= 3
    ripples = (1 - np.cos(2 * np.pi * xs)).sum(2).mean(1)
    alphas = (values - (xs**2).sum(2).mean(1)) / ripples
    assert set(np.round(alphas, 4)) == {0.5, 1.0, 2.0}


@pytest.mark.parametrize("name", ["rosenbrock", "log-sum-exp"])
def test_points_side_by_side_are_the_mean_of_points_alone(name, getkey):
    row, several, one = FUNCTIONS[name], Formula(name, instances=5, start=0.7), Formula(name)

    @jax.jit
    def look(key):
        x = several.init((), key)
        alone = jax.vmap(lambda x: (row.f(*x), one.metrics(x, (), (), key)))(x)
        return x, several.loss((), (), key)(x), several.metrics(x, (), (), key), alone

    x, value, metrics, (values, each) = jax.device_get(look(getkey()))
    assert x.shape == (5, 2) == several.target(()).shape and len(np.unique(x)) == 10
    assert value == pytest.approx(values.mean(), rel=1e-6)
    for metric, numbers in each.items():
        assert metrics[metric] == pytest.approx(numbers.mean(), rel=1e-6)


def test_starts_side_by_side_have_the_deviation_that_was_asked_for(getkey):
    x = np.asarray(Formula(instances=3000, start=0.5).init((), getkey()))
    assert x.std() == pytest.approx(0.5, rel=0.05) and abs(x.mean()) < 0.03


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"spread": 0.0}, "spread must be positive, got 0.0"),
        (
            {"spread": (1.0, -2.0)},
            r"spread must be one or more positive numbers, got \(1.0, -2.0\)",
        ),
        ({"spread": ()}, "spread must be one or more positive numbers"),
        ({"spread": float("nan")}, "spread must be positive, got nan"),
        ({"spread": "wide"}, "spread must be a finite number, got 'wide'"),
        ({"between": True}, r"two numbers, the lower one first, such as \(0.1, 10.0\), got None"),
        ({"spread": (2.0, 1.0), "between": True}, "the lower one first"),
        ({"spread": (1.0, 2.0), "between": 1}, "between must be True or False, got 1"),
        ({"labels": "cauchy"}, "labels must be None or one of uniform, normal, symmetric"),
    ],
)
def test_a_wrong_spread_is_refused(kind, arguments, words):
    with pytest.raises(ValueError, match=f"{kind.__name__}: .*{words}"):
        kind(**arguments)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Rastrigin(alpha=0.0), "Rastrigin: alpha must be positive, got 0.0"),
        (lambda: Rastrigin(box=-1.0), "Rastrigin: box must be positive, got -1.0"),
        (lambda: Rastrigin(data="plain"), "data must be one of uniform, normal, textbook"),
        (lambda: Formula(instances=0), "Formula: instances must be at least 1, got 0"),
        (lambda: Formula(start=float("inf")), "Formula: start must be positive, got inf"),
    ],
)
def test_wrong_batches_of_points_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
