"""Perception: planted lags are found, energies are the squared taps of linear rules."""

import dataclasses
import json

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from steppe.core.expression import Variable, parse, size
from steppe.core.optimizer import AbstractOptimizer
from steppe.distillation import table
from steppe.distillation.perception import Perceived, energy, field, of_task, perceived
from steppe.distillation.record import Runs
from steppe.optimizers.classic.from_optax import FromOptax
from steppe.optimizers.learned.symbolic import Symbolic
from steppe.report.plots import perception
from steppe.store.untrusted import Source, checked
from steppe.tasks.synthetic.quadratic import Quadratic

SOURCE = Source("a record", "record it again")
DRAW = np.random.default_rng(0)
G = DRAW.normal(size=(6, 60, 4))  # white: its past tells nothing of it


def delayed(x, lag):
    return np.concatenate([np.zeros_like(x[:, :lag]), x[:, : x.shape[1] - lag]], axis=1)


@pytest.mark.parametrize(
    ("u", "window"),
    [
        (-G, 1),
        (0.5 * delayed(G, 3), 4),
        (np.tanh(5 * delayed(G, 3)) - 0.1 * G, 4),
        (sum(0.5**k * delayed(G, k) for k in range(20)), 3),  # 1 − 0.25³ = .984, 1 − .25² = .9375
    ],
)
def test_the_window_is_that_of_the_planted_rule(u, window):
    found = field({"g": G}, u)
    assert found.window == window
    assert (
        len(found.r2) == 20 and max(found.r2[: window - 1], default=0) < 0.95 <= found.r2[-1] + 0.1
    )


def test_the_window_is_of_all_inputs_together_and_nothing_tells_noise():
    other = DRAW.normal(size=G.shape)
    assert field({"g": G, "x": other}, G + delayed(other, 6)).window == 7
    assert field({"g": G}, 0 * G).window == 0
    assert field({"g": G}, other).r2[-1] < 0.1


def test_energies_of_a_linear_filter_are_its_squared_taps():
    taps = np.array([0.5, 0.2, 0.0, -0.1])
    rule = Symbolic("0.5 * g + 0.2 * g[1] - 0.1 * g[3]")
    found = energy(rule, jnp.asarray(G[0]), jnp.zeros(G[0].shape), key=jr.key(0))
    np.testing.assert_allclose(found.energies[:4], taps**2, atol=1e-6)
    assert max(found.energies[4:]) == 0
    lag = 1 + (0.2**2 + 3 * 0.1**2) / np.sum(taps**2)
    assert found.mean_lag == pytest.approx(lag, rel=1e-6)


def test_energies_of_momentum_fall_like_squared_powers():
    rule, zeros = FromOptax(optax.sgd, learning_rate=0.1, momentum=0.8), jnp.zeros(G[0].shape)
    found = energy(rule, jnp.asarray(G[0]), zeros, key=jr.key(0), lags=12)
    np.testing.assert_allclose(found.energies, 0.01 * 0.8 ** (2 * np.arange(12)), rtol=1e-9)


def test_relative_energies_do_not_know_the_size_of_gradients():
    zeros = jnp.zeros(G[0].shape)
    of = lambda size, relative: energy(
        Symbolic("-0.01 * mn95"), size * jnp.asarray(G[0]), zeros, key=jr.key(0), relative=relative
    )
    np.testing.assert_allclose(of(1e-3, True).energies, of(1.0, True).energies, rtol=1e-4)
    assert of(1e-3, False).energies[0] > 1e5 * of(1.0, False).energies[0]


class Normalized(AbstractOptimizer):
    """The mean of the last two gradients over its length: every coordinate feels every other."""

    def init(self, params, *, key=None):
        return jnp.zeros_like(params)

    def update(self, grads, state, params, **extra):
        mean = grads + 0.5 * state
        return -mean / jnp.linalg.norm(mean), grads


def test_a_rule_that_mixes_coordinates_has_the_squares_of_the_whole_jacobian():
    g = jnp.asarray(G[0, :4])
    mean = np.asarray(g[3] + 0.5 * g[2])
    norm = np.linalg.norm(mean)
    jacobian = np.eye(4) / norm - np.outer(mean, mean) / norm**3
    right = np.mean(np.sum(jacobian**2, 0))
    found = [
        energy(Normalized(), g, jnp.zeros_like(g), key=k, lags=2, ends=(4,)).energies
        for k in jr.split(jr.key(2), 200)
    ]
    np.testing.assert_allclose(np.mean(found, 0), [right, 0.25 * right], rtol=0.1)


def test_the_runs_of_a_task_are_looked_at():
    found = of_task(
        Symbolic("-0.01 * g[2]"), Quadratic(n=3), key=jr.key(0), runs=2, steps=8, lags=5
    )
    assert found.mean_lag == pytest.approx(3) and np.argmax(found.energies) == 2
    raw = of_task(
        Symbolic("-0.01 * g[2]"),
        Quadratic(n=3),
        key=jr.key(0),
        runs=2,
        steps=8,
        lags=5,
        relative=False,
    )
    assert raw.energies[2] == pytest.approx(1e-4)


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("g", 1), ("-g", 2), ("-0.01 * g", 3), ("g[3] + 1", 3), ("square(g)", 2), ("g^2", 3),
        ("tanh(2 * g)", 4), ("aq(g, m9)", 3), ("m9 / sqrt(v9 + 1e-8)", 6),
        ("-0.01 * tanh(1.3 * mn95 + 0.2 * gn95[1])", 10),
    ],
)  # fmt: skip
def test_complexity_counts_nodes(text, nodes):
    assert size(parse(text)) == nodes


def runs(u):
    return Runs(G, u, np.zeros(4, int), ("w",))


def test_recorded_runs_tell_both():
    rule = Symbolic("-0.01 * gn95[2]")
    u = -0.01 * delayed(table.inputs(G, [Variable("gn95")])[Variable("gn95")], 2)
    found = perceived(rule, runs(u), key=jr.key(0))
    assert found is not None and found.window == 3
    assert found.mean_lag == pytest.approx(3, abs=0.7)  # the average in it looks further back
    assert int(np.argmax(found.energies)) == 2
    assert checked(json.loads(json.dumps(dataclasses.asdict(found))), Perceived, SOURCE) == found
    mixing = perceived(Normalized(), runs(u), key=jr.key(0))
    assert mixing == dataclasses.replace(found, energies=(), mean_lag=None)
    assert (
        perceived(rule, Runs(G[:, :19], u[:, :19], np.zeros(4, int), ("w",)), key=jr.key(0)) is None
    )


def test_the_picture_shows_both():
    both = Perceived(window=2, r2=(0.5, 0.97, 1.0), energies=(1.0, 0.25), mean_lag=1.2)
    picture = perception(both)
    assert picture.startswith("<svg") and "lag" in picture
    assert "energy" not in perception(dataclasses.replace(both, energies=(), mean_lag=None))


@pytest.mark.parametrize(
    ("inputs", "u", "sentence"),
    [
        ({}, G, "got 0 inputs"),
        ({"g": G[:1]}, G[:1], "at least two runs"),
        ({"g": G[:, :19]}, G[:, :19], "two runs of 20 steps"),
        ({"g": G[:, :, 0]}, G, "g has shape"),
        ({"g": np.where(G > 2, np.nan, G)}, G, "finite"),
    ],
)
def test_bad_records_are_refused(inputs, u, sentence):
    with pytest.raises(ValueError, match=sentence):
        field(inputs, u)


def test_too_few_steps_are_refused():
    g = jnp.zeros((3, 2))
    with pytest.raises(ValueError, match="3 steps are too few for 20 lags"):
        energy(Symbolic(), g, g, key=jr.key(0))
    with pytest.raises(ValueError, match="an end must be a whole number from 2 to 3"):
        energy(Symbolic(), g, g, key=jr.key(0), lags=2, ends=(1,))
    with pytest.raises(ValueError, match="steps must be at least 5"):
        of_task(Symbolic(), Quadratic(n=3), key=jr.key(0), steps=4, lags=5)
