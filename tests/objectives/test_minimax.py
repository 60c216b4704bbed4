"""Merit and Reward on runs whose numbers NumPy gives."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.core.loss import StructureError
from steppe.core.window import open_window, score
from steppe.objectives.minimax import Merit, Reward
from steppe.optimizers.classic.games import GDA
from steppe.tasks import Quadratic
from steppe.tasks.games.matrix import MatrixGame

TASK, OPT, T = MatrixGame(n=2), GDA(0.1, alternating=True), 4


@eqx.filter_jit
def two_windows(objective):
    window = open_window(TASK, OPT, objective, jr.key(0), jnp.asarray(2 * T))
    first, after = score(TASK, OPT, window, objective, T, key=jr.key(1))
    return window, first, score(TASK, OPT, after, objective, T, key=jr.key(2))[0]


def points(window):
    """x and y before the first step and after each of two windows."""
    A = np.asarray(window.episode.instance)
    x, y = (np.asarray(window.episode.params[player]) for player in ("min", "max"))
    found = [(x, y)]
    for _ in range(2 * T):
        x = x - 0.1 * A @ y
        y = y + 0.1 * A.T @ x
        found.append((x, y))
    return A, found


def square(A, x, y):
    return np.sum((A @ y) ** 2) + np.sum((A.T @ x) ** 2)


@pytest.mark.parametrize("transform", ["identity", "ratio", "log"])
def test_merit_is_the_square_of_the_gradient_after_each_step(transform):
    window, first, second = two_windows(Merit("uniform", transform))
    A, found = points(window)
    squares = np.array([square(A, *point) for point in found])
    how = {
        "identity": lambda s: s,
        "ratio": lambda s: s / squares[0],
        "log": lambda s: np.log(s / squares[0]),
    }[transform]
    for got, steps in ((first, slice(1, T + 1)), (second, slice(T + 1, None))):
        np.testing.assert_allclose(got.value, np.mean(how(squares[steps])), rtol=1e-12)
        visited = np.sum(squares[: steps.stop])
        np.testing.assert_allclose(got.parts["visited"], visited, rtol=1e-12)


def test_rewards_are_what_the_players_gain_by_their_moves():
    window, first, second = two_windows(Reward())
    A, found = points(window)
    f = lambda x, y: x @ A @ y
    for got, steps in ((first, range(1, T + 1)), (second, range(T + 1, 2 * T + 1))):
        pairs = [(*found[t - 1], *found[t]) for t in steps]
        of_min = sum(f(new_x, y) - f(x, y) for x, y, new_x, _ in pairs)
        of_max = sum(f(new_x, y) - f(new_x, new_y) for _, y, new_x, new_y in pairs)
        np.testing.assert_allclose(got.parts["reward_min"], of_min, rtol=1e-10)
        np.testing.assert_allclose(got.parts["reward_max"], of_max, rtol=1e-10)
        np.testing.assert_allclose(got.value, of_min + of_max, rtol=1e-10)
    squares = [square(A, *point) for point in found]
    np.testing.assert_allclose(second.parts["visited"], sum(squares), rtol=1e-12)


@pytest.mark.parametrize("objective", [Merit(), Reward()], ids=["merit", "reward"])
def test_what_is_no_game_is_refused_in_one_sentence(objective):
    with pytest.raises(StructureError, match=r"needs a loss of the form Saddle\(f\)") as refusal:
        eqx.filter_eval_shape(
            open_window, Quadratic(n=2), OPT, objective, jr.key(0), jnp.asarray(2)
        )
    assert "\n" not in str(refusal.value)


def test_a_wrong_transform_is_refused():
    with pytest.raises(ValueError, match="transform is 'square', expected one of"):
        Merit(transform="square")
