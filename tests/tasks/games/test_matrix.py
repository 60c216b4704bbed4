"""Matrix games against their closed forms, and the condition numbers of what is drawn."""

import jax
import jax.random as jr
import numpy as np
import pytest

from steppe.tasks.games.matrix import MatrixGame

KEY = jr.key(0)


def test_gradients_merit_distances_and_target():
    task = MatrixGame(3)
    A = task.sample(KEY)
    p, loss = task.init(A, KEY), task.loss(A, (), KEY)
    x, y = np.asarray(p["min"]), np.asarray(p["max"])
    down, up = np.asarray(A) @ y, np.asarray(A).T @ x
    np.testing.assert_allclose(loss.grad_min(p), down, rtol=1e-10)
    np.testing.assert_allclose(loss.grad_max(p), up, rtol=1e-10)
    merit = np.sqrt(down @ down + up @ up)
    found = task.metrics(p, A, (), KEY)
    assert found == {
        "merit": pytest.approx(merit, rel=1e-10),
        "distance": pytest.approx(np.sqrt(x @ x + y @ y), rel=1e-10),
        "distance_min": pytest.approx(np.abs(x).sum(), rel=1e-10),
        "distance_max": pytest.approx(np.abs(y).sum(), rel=1e-10),
    }
    best = task.target(A)
    assert float(loss.merit(best)) == 0 and not any(np.any(part) for part in best.values())


def test_the_bilinear_game_draws_what_it_always_drew():
    """A, x₀ and y₀ as plain draws from their keys, so that older records are of these problems."""
    task = MatrixGame()
    np.testing.assert_array_equal(task.sample(KEY), jr.normal(KEY, (5, 5)))
    for key, part in zip(jr.split(KEY), ("min", "max"), strict=True):
        np.testing.assert_array_equal(task.init(np.eye(5), KEY)[part], jr.normal(key, (5,)))


def drawn(task, count):
    return np.asarray(jax.jit(jax.vmap(task.sample))(jr.split(KEY, count)))


def test_the_published_laws():
    """Entries of ½ … 1, half of them 0 with five unknowns; 29 % of such matrices are singular."""
    one = drawn(MatrixGame(1, "uniform", "uniform"), 500)
    assert 0.5 <= one.min() < 0.51 and 0.99 < one.max() <= 1
    five = drawn(MatrixGame(5, "bernoulli-uniform", "uniform"), 500)
    there = five[five != 0]
    assert there.min() >= 0.5 and there.max() <= 1
    assert abs((five == 0).mean() - 0.5) < 4 * 0.5 / np.sqrt(five.size)
    assert 0.25 < (np.linalg.matrix_rank(five) < 5).mean() < 0.35


def test_no_matrix_is_worse_conditioned_than_allowed():
    task = MatrixGame(5, "bernoulli-uniform", "uniform", largest_condition=20.0)
    found = drawn(task, 100)
    assert np.linalg.cond(found).max() <= 20 * (1 + 1e-9)
    assert len(np.unique(found.round(12), axis=0)) == 100


def test_where_no_matrix_is_allowed_the_episode_is_not_finite():
    assert np.all(np.isnan(MatrixGame(4, largest_condition=1.0).sample(KEY)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n": 0}, "MatrixGame: n must be at least 1, got 0"),
        ({"law": "normale"}, "MatrixGame: there is no law 'normale'; did you mean 'normal'"),
        ({"start": "cube"}, "MatrixGame: there is no start 'cube'"),
        ({"largest_condition": 0.5}, "largest_condition must be at least 1, got 0.5"),
        ({"largest_condition": float("nan")}, "largest_condition must be a finite number, got nan"),
        ({"folder": "nowhere"}, "found no file, expected one of this name; give the folder of the"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        MatrixGame(**options)
