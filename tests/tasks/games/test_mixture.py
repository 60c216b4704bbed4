"""A GAN on a ring: its game by hand, its metrics on known samples, and a run."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.core.rollout import rollout
from steppe.optimizers.classic.descent_ascent import DescentAscent
from steppe.optimizers.classic.from_optax import FromOptax
from steppe.tasks.games.mixture import GANRing, energy_distance

KEY = jr.key(0)
SMALL = GANRing(modes=3, spread=0.3, latent=2, width=3, penalty=0.7, batch_size=5)
NORTH = {"angle": jnp.asarray(np.pi / 2)}


def network(layers, x):
    """Outputs, and the slope of the first one in x, of a tanh network in NumPy."""
    slope = np.eye(x.shape[1])[None]
    for layer in layers[:-1]:
        w, b = np.asarray(layer["w"]), np.asarray(layer["b"])
        x = np.tanh(x @ w + b)
        slope = slope @ w * (1 - x**2)[:, None, :]
    w, b = np.asarray(layers[-1]["w"]), np.asarray(layers[-1]["b"])
    return x @ w + b, (slope @ w)[:, :, 0]


def test_the_game_by_hand():
    params = SMALL.init(NORTH, KEY)
    x, z = map(np.asarray, SMALL.batch(NORTH, KEY))
    real, slope = network(params["max"], x)
    fake, _ = network(params["max"], network(params["min"], z)[0])
    log_sigmoid = lambda s: -np.log1p(np.exp(-s))
    penalty = 0.35 * np.mean(np.sum(slope**2, axis=1))
    expected = log_sigmoid(real).mean() + log_sigmoid(-fake).mean() - penalty
    assert SMALL.loss(NORTH, (x, z), KEY)(params) == pytest.approx(expected, rel=1e-10)


def test_data_are_on_the_ring():
    x, z = SMALL.full_batch(NORTH, split="test")
    centres = np.asarray(SMALL.centres(NORTH))
    np.testing.assert_allclose(centres[0], [0, 1], atol=1e-12)
    far = np.linalg.norm(np.asarray(x)[:, None] - centres, axis=-1)
    nearest = far.argmin(axis=1)
    assert np.all(abs(np.bincount(nearest) / len(x) - 1 / 3) < 0.1)
    assert far.min(axis=1).std() < 0.3 and z.shape == (512, 2)


def test_metrics_of_known_samples():
    """A generator whose weights are 0 puts all samples where its last bias is."""
    params = jax.tree.map(jnp.zeros_like, SMALL.init(NORTH, KEY))
    batch = SMALL.full_batch(NORTH, split="test")
    for place, modes, good in (([0.0, 1.2], 1 / 3, 1.0), ([0.0, 2.0], 0.0, 0.0)):
        params["min"][-1]["b"] = jnp.asarray(place)
        found = SMALL.metrics(params, NORTH, batch, KEY)
        assert (found["modes"], found["good"]) == (pytest.approx(modes), good)
        x = np.asarray(batch[0])
        own = np.linalg.norm(x[:, None] - x[None], axis=-1).sum() / (len(x) * (len(x) - 1))
        energy = 2 * np.linalg.norm(x - np.asarray(place), axis=1).mean() - own
        assert found["energy"] == pytest.approx(energy, rel=1e-10)


def test_the_energy_distance_of_equal_laws_is_small():
    x, y = np.random.default_rng(0).standard_normal((2, 400, 2))
    equal, other = energy_distance(x, y), energy_distance(x, y + 1)
    assert abs(equal) < 0.02 < 0.3 < other


@pytest.mark.slow
def test_adam_finds_all_modes():
    """In 2000 steps; at the start 2.5 % of the samples were good, and the energy 0.22."""
    task = GANRing()
    opt = DescentAscent(FromOptax("adam", learning_rate=2e-3, b1=0.5))
    look = lambda end: task.metrics(
        end.params, end.instance, task.full_batch(end.instance, split="test"), end.key
    )
    found = eqx.filter_jit(lambda key: rollout(task, opt, key, 2000, look).looks)(KEY)
    assert found["modes"] == 1 and found["good"] > 0.6 and found["energy"] < 0.02


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"modes": 0}, "GANRing: modes must be at least 1, got 0"),
        ({"spread": 0.0}, "GANRing: spread must be positive, got 0.0"),
        ({"penalty": -1.0}, "GANRing: penalty must be zero or positive, got -1.0"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        GANRing(**options)
