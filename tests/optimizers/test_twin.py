"""Twin against a slow loop in NumPy, and what its training by rewards may see."""

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
from steppe.core.window import open_window, score
from steppe.objectives.minimax import Reward
from steppe.optimizers.learned.twin import Twin
from steppe.tasks import Quadratic
from steppe.tasks.games.matrix import MatrixGame

TASK, STEPS = MatrixGame(n=2), 3
TRICKS = {"scale": 1.0, "memory": 1e-4, "sign_steps": 2, "deviation": 0.01}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(layer, x, h, c):
    """One step of an LSTM without a forget bias, its gates in the order i, j, f, o; rows last."""
    units = len(h)
    bias = np.asarray(layer.b_gates) + (np.arange(4 * units) // units == 2)
    z = np.asarray(layer.w_gates).T @ np.concatenate([x, h]) + bias[:, None]
    i, j, f, o = np.split(z, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(j)
    return sigmoid(o) * np.tanh(c), c


def slow(opt, A, x, y, states):
    """The points of a run of xᵀAy, one gate after the other."""
    points = []

    def step(rule, seen, own, t):
        for k, layer in enumerate(rule.lstm.layers):
            own[k] = list(lstm(layer, seen, *own[k]))
            seen = own[k][0]
            own[k] = [opt.memory * s for s in own[k]]
        raw = (np.asarray(rule.head.w).T @ seen + np.asarray(rule.head.b)[:, None])[0]
        if t < opt.sign_steps:
            return np.linspace(1e-4, 0.1, opt.sign_steps)[t] * np.sign(raw)
        return opt.scale * raw

    for t in range(STEPS):
        x = x + step(opt.rule_min, np.stack([A @ y, A.T @ x]), states[0], t)
        y = y + step(opt.rule_max, np.stack([A.T @ x, A @ y]), states[1], t)
        points.append((x, y))
    return points


@eqx.filter_jit
def run(opt, key):
    start = begin(TASK, opt, key)
    _, points = unroll(TASK, opt, start, STEPS, lambda step: step.after.params)
    return start, points


@pytest.mark.parametrize("tricks", [{}, TRICKS], ids=["ours", "published"])
def test_a_run_is_that_of_a_slow_loop_in_numpy(tricks):
    opt = Twin((3, 2), **tricks, key=jr.key(0))
    start, points = run(opt, jr.key(1))
    given = start.opt_state.min, start.opt_state.max
    states = [[[np.asarray(s.h), np.asarray(s.c)] for s in of] for of in given]
    drawn = np.concatenate([np.ravel(part) for of in states for layer in of for part in layer])
    assert (0.003 < np.std(drawn) < 0.03) if tricks else not np.any(drawn)
    x, y = (np.asarray(start.params[player]) for player in ("min", "max"))
    found = slow(opt, np.asarray(start.instance), x, y, states)
    for name, k in (("min", 0), ("max", 1)):
        expected = np.stack([point[k] for point in found])
        np.testing.assert_allclose(points[name], expected, rtol=1e-12, atol=1e-14)


def test_weights_begin_as_those_of_pytorch_do():
    opt = Twin((50, 50), key=jr.key(0))
    for layer in opt.rule_min.lstm.layers:
        biases = layer.b_gates + (jnp.arange(200) // 50 == 2)
        assert np.max(np.abs(layer.w_gates)) <= 50**-0.5 and np.max(np.abs(biases)) <= 2 * 50**-0.5
        assert np.std(layer.w_gates) == pytest.approx((3 * 50) ** -0.5, rel=0.05)
        assert np.std(biases) == pytest.approx((2 / 3 / 50) ** 0.5, rel=0.2)  # two of them


@eqx.filter_jit
def rewards(theta, rest, key):
    """Gradients in θ of the reward of either player over a window."""

    def reward(theta, name):
        opt, horizon = join_meta(theta, rest), jnp.asarray(STEPS)
        window = open_window(TASK, jax.lax.stop_gradient(opt), Reward(), key, horizon)
        return score(TASK, opt, window, Reward(), STEPS, key=key)[0].parts[name]

    return [jax.grad(reward)(theta, name) for name in ("reward_min", "reward_max")]


def test_no_reward_depends_on_what_the_other_player_has_learned():
    """Exactly, and neither player goes unrewarded (finite differences of the first reward)."""
    opt = Twin((3,), key=jr.key(0))
    theta, rest = split_meta(opt)
    of_min, of_max = rewards(theta, rest, jr.key(2))
    assert all(not np.any(leaf) for leaf in jtu.tree_leaves((of_min.rule_max, of_max.rule_min)))
    for mine in (of_min.rule_min, of_max.rule_max):
        assert all(np.any(leaf) for leaf in jtu.tree_leaves(mine))


def test_a_reward_is_differentiated_in_moves_alone():
    """Against central differences of Φ on the inputs of the run as it was, weighted by ∂f."""
    opt = Twin((3,), key=jr.key(0))
    theta, rest = split_meta(opt)
    of_min, _ = rewards(theta, rest, jr.key(2))
    window = open_window(TASK, opt, Reward(), jr.key(2), jnp.asarray(STEPS))
    keep = lambda step: (step.before.params, step.after.params)
    _, (before, _) = unroll(TASK, opt, window.episode, STEPS, keep)
    A = np.asarray(window.episode.instance)
    x, y = (np.asarray(before[player]) for player in ("min", "max"))

    @jax.jit
    def frozen(rule):
        states, total = window.episode.opt_state.min, 0.0
        for t in range(STEPS):
            raw, states = rule(jnp.stack([A @ y[t], A.T @ x[t]]), states)
            total += opt.scale * raw @ (A @ y[t])  # f is linear in the move
        return -total

    direction = jtu.tree_map(lambda w: jnp.cos(jnp.arange(w.size)).reshape(w.shape), opt.rule_min)
    h = 1e-6
    moved = lambda a: jtu.tree_map(lambda w, d: w + a * h * d, opt.rule_min, direction)
    slope = (frozen(moved(1)) - frozen(moved(-1))) / (2 * h)
    assert float(tree.dot(of_min.rule_min, direction)) == pytest.approx(-float(slope), rel=1e-7)


def test_what_it_cannot_play_is_refused_in_one_sentence():
    opt, other = Twin((2,), key=jr.key(0)), {"min": jnp.ones(2), "max": jnp.ones(3)}
    with pytest.raises(ValueError, match="2 and 3 coordinates, which cannot be paired; give other"):
        opt.init(other)
    Twin((2,), other=False, key=jr.key(0)).init(other)
    with pytest.raises(TypeError, match=r"Twin needs a loss of the form Saddle\(f\)"):
        task = Quadratic(n=2)
        start = task.init(task.sample(jr.key(0)), jr.key(0))
        problem = begin(TASK, opt, jr.key(0))
        players = {"min": start, "max": start}
        own = draw(task, task.sample(jr.key(0)), jr.key(0), split="train")
        opt.update(players, problem.opt_state, players, problem=own)
    with pytest.raises(ValueError, match="its first state is random; give init"):
        Twin((2,), deviation=0.01, key=jr.key(0)).init({"min": jnp.ones(2), "max": jnp.ones(2)})
    for wrong, words in (
        ({"hidden": ()}, "hidden is .*, expected layers of units"),
        ({"hidden": (0,)}, "hidden must be a whole number from 1"),
        ({"scale": 0.0}, "scale must be positive"),
        ({"memory": 1.5}, "memory lie in 0 … 1"),
        ({"other": "yes"}, "other must be True or False"),
        ({"sign_steps": -1}, "sign_steps must be a whole number from 0"),
        ({"deviation": float("nan")}, "deviation must be a finite number"),
    ):
        with pytest.raises(ValueError, match=words):
            Twin(**{"hidden": (2,), "key": jr.key(0)} | wrong)
