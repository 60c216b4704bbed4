"""Supervised and Demonstrated: distances to the truth, and to a path to it, worked out by hand."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.core.loss import Composite, LeastSquares
from steppe.core.regularizer import L1
from steppe.core.task import AbstractFormula
from steppe.core.window import open_window, score
from steppe.objectives.supervised import Demonstrated, Supervised
from steppe.optimizers.classic.from_optax import sgd
from steppe.tasks.suite import build

TRUTH = jnp.array([2.0, -1.0])


class Halving(AbstractFormula):
    """½‖x − b‖² from 0 with b = (4, 0): SGD with rate ½ halves the distance to b."""

    told: bool = True

    sample = lambda self, key: ()
    init = lambda self, instance, key: jnp.zeros(2)
    target = lambda self, instance: None
    metrics = lambda self, params, instance, batch, key: {}

    def loss(self, instance, batch, key):
        squares = LeastSquares(jnp.eye(2), jnp.array([4.0, 0.0]))
        return Composite(squares, L1(0.0), jnp.ones(()), TRUTH if self.told else None)


def value(objective, task, length=3):
    opt = sgd(0.5)
    window = open_window(task, opt, objective, jr.key(0), jnp.asarray(length))
    return float(score(task, opt, window, objective, length, key=jr.key(1))[0].value)


PATH = np.array([[2.0, 0.0], [3.0, 0.0], [3.5, 0.0]])
AFTER = np.sum((PATH - np.asarray(TRUTH)) ** 2, axis=1) / 2


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("last", AFTER[2]),
        ("uniform", AFTER.mean()),
        ("sum", AFTER.sum()),
        (jnp.array([0.0, 1.0, 0.0]), AFTER[1]),
        (jnp.array([1.0, 0.5, 2.0]), AFTER @ [1.0, 0.5, 2.0]),
    ],
)
def test_the_distance_to_the_truth_and_not_to_the_minimum(weights, expected):
    assert value(Supervised(weights), Halving()) == pytest.approx(expected, rel=1e-12)


def test_of_a_plain_loss_the_truth_is_the_solution_that_the_task_knows():
    """x ← x − ½ · 2 (x − x*) is at x* in one step; half of that is half way."""
    task = build("rastrigin-shifted", particles=2, alpha=1e-9)
    opt = sgd(0.25)
    window = open_window(task, opt, Supervised("sum"), jr.key(0), jnp.asarray(2))
    found = score(task, opt, window, Supervised("sum"), 2, key=jr.key(1))[0].value
    start, best = window.episode.params, np.asarray(task.target(window.episode.instance))
    off = np.sum((np.asarray(start) - best) ** 2)
    assert float(found) == pytest.approx(off * (1 / 4 + 1 / 16) / 2, rel=1e-6)


def test_what_it_lacks_is_said():
    with pytest.raises(ValueError, match="Halving does not tell; give the `Composite` of its loss"):
        value(Supervised(), Halving(told=False))
    with pytest.raises(TypeError, match="Supervised needs a loss of the form Composite"):
        value(Supervised(), build("rastrigin-dm"))
    with pytest.raises(ValueError, match="weights is 'first', expected one of"):
        Supervised("first")
    with pytest.raises(ValueError, match=r"have the shape \(2,\), but the unroll has 3 steps"):
        value(Supervised(jnp.ones(2)), Halving())


# A walk of two steps of ½ is at ½ and at 0 again, from a start at 0; then comes the truth.
WALK = np.array([[0.5, 0.5], [0.0, 0.0], TRUTH])
OFF = np.sum((PATH - WALK) ** 2, axis=1) / 2


@pytest.mark.parametrize(("weights", "expected"), [("uniform", OFF.mean()), ("last", OFF[2])])
def test_the_distance_to_a_walk_and_then_to_the_truth(weights, expected):
    found = value(Demonstrated(2, 0.5, weights), Halving())
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_walk_goes_on_from_one_unroll_to_the_next():
    task, opt, objective = Halving(), sgd(0.5), Demonstrated(2, 0.5, "sum")
    window = open_window(task, opt, objective, jr.key(0), jnp.asarray(3))
    first, window = score(task, opt, window, objective, 1, key=jr.key(1))[:2]
    second = score(task, opt, window, objective, 2, key=jr.key(1))[0]
    assert float(first.value + second.value) == pytest.approx(OFF.sum(), rel=1e-12)


def test_a_walk_needs_a_truth_steps_and_a_length():
    with pytest.raises(ValueError, match="Demonstrated needs the truth"):
        value(Demonstrated(2, 0.5), Halving(told=False))
    with pytest.raises(ValueError, match="walk"):
        Demonstrated(walk=1)
    with pytest.raises(ValueError, match="stride"):
        Demonstrated(stride=0.0)
