"""The saddle and the seesaw against their formulas, in NumPy."""

import jax
import jax.random as jr
import numpy as np
import pytest

from steppe.core.task import Problem
from steppe.tasks import build
from steppe.tasks.games.quadratic import QuadraticGame
from steppe.tasks.games.seesaw import Seesaw
from steppe.tasks.names import SEESAWS, SUITES

KEY = jr.key(0)
DISTANCES = {"distance", "distance_min", "distance_max"}


def at(u, v):
    return {"min": np.atleast_1d(np.asarray(u, float)), "max": np.atleast_1d(np.asarray(v, float))}


@pytest.mark.parametrize("coupling", [0.0, 1.0])
def test_the_saddle_by_hand(coupling):
    task, u, v = QuadraticGame(2, coupling), np.array([0.3, -0.4]), np.array([-0.2, 0.1])
    instance = {"a": np.array([0.9, 1.0]), "b": np.array([0.95, 0.91])}
    a, b, problem = instance["a"], instance["b"], Problem(task, instance, (), KEY)
    value, grads = problem.value_and_grad(at(u, v))
    assert value == pytest.approx(np.sum(a * u**2 - b * v**2 + 2 * coupling * u * v))
    down, up = 2 * a * u + 2 * coupling * v, -2 * b * v + 2 * coupling * u
    np.testing.assert_allclose(grads["min"], down)
    np.testing.assert_allclose(grads["max"], up)
    found = task.metrics(at(u, v), instance, (), KEY)
    merit = np.sqrt(down @ down + up @ up)
    whole = np.sqrt(u @ u + v @ v)
    expected = {"merit": merit, "distance": whole, "distance_min": 0.7, "distance_max": 0.3}
    assert {name: float(x) for name, x in found.items()} == pytest.approx(expected)
    assert problem.merit(at(u, v)) == pytest.approx(merit)
    assert problem.merit(task.target(instance)) == 0


def test_the_seesaw_by_hand_and_its_solutions():
    task, instance = Seesaw(), {"a": np.array(0.95), "b": np.array(0.92)}
    problem, (a, b), u, v = Problem(task, instance, (), KEY), (0.95, 0.92), 0.3, -0.2
    value, grads = problem.value_and_grad(at(u, v))
    assert value == pytest.approx(-b * v * np.sin(a * np.pi * u))
    assert grads["min"] == pytest.approx(-b * v * a * np.pi * np.cos(a * np.pi * u))
    assert grads["max"] == pytest.approx(-b * np.sin(a * np.pi * u))
    for k in range(4):  # every k/a solves it, and is no distance off
        found = task.metrics(at(k / a, 0), instance, (), KEY)
        assert max(map(float, found.values())) < 1e-14
    far = task.metrics(at(1.3, 0.5), instance, (), KEY)
    expected = {"distance_min": abs(1.3 - 1 / a), "distance_max": 0.5}
    expected["distance"] = np.hypot(*expected.values())
    assert {name: float(far[name]) for name in expected} == pytest.approx(expected)
    left = task.metrics(at(-1 / a, 0), instance, (), KEY)  # a solution that is not counted
    assert left["distance_min"] == pytest.approx(1 / a) and float(left["merit"]) < 1e-14


def test_a_seesaw_that_is_flat():
    instance = {"a": np.array(0.0), "b": np.array(1.0)}
    assert Seesaw(2).metrics(at(0.3, 0), instance, (), KEY)["distance_min"] == pytest.approx(0.3)


def test_every_range_is_the_published_one():
    for number, ends in SEESAWS.items():
        pairs = jax.jit(jax.vmap(Seesaw(number).sample))(jr.split(KEY, 500))
        for name, (low, high) in zip("ab", ends, strict=True):
            x, slack = np.asarray(pairs[name]), 0.03 * (high - low)
            assert low <= x.min() < low + slack and high - slack < x.max() <= high


def test_starts_are_in_the_cube():
    for name in ("saddle", "seesaw", "matrix-game", "matrix-game-5"):
        task = build(name)
        params = jax.jit(jax.vmap(lambda key, task=task: task.init(task.sample(key), key)))
        x = np.concatenate([np.ravel(leaf) for leaf in params(jr.split(KEY, 300)).values()])
        assert -0.5 <= x.min() < -0.48 and 0.48 < x.max() <= 0.5


def test_every_game_of_the_suite_has_its_metrics():
    for name in SUITES["games"]:
        task = build(name)

        def found(key, task=task):
            instance = task.sample(key)
            batch = task.full_batch(instance, split="test")
            return task.metrics(task.init(instance, key), instance, batch, key)

        own = {"modes", "good", "energy"} if name == "gan-ring" else DISTANCES
        assert set(jax.eval_shape(found, KEY)) == {"merit"} | own


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Seesaw(8), "Seesaw: range must be a whole number from 1 to 7, got 8"),
        (lambda: Seesaw(0), "Seesaw: range must be a whole number from 1 to 7, got 0"),
        (lambda: QuadraticGame(0), "QuadraticGame: n must be at least 1, got 0"),
        (lambda: QuadraticGame(coupling=float("nan")), "coupling must be a finite number, got nan"),
        (lambda: QuadraticGame(curvature=(1.0, 0.5)), r"two numbers, 0 ≤ low ≤ high, got \(1.0, 0"),
        (lambda: QuadraticGame(curvature=3), "QuadraticGame: curvature must be two numbers"),
    ],
)
def test_what_cannot_be_meant_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
