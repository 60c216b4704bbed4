"""descend: against a plain loop over steps, and levels against a look-up in its path."""

import dataclasses

import jax.random as jr
import numpy as np
import pytest

from steppe.core import tree
from steppe.core.episode import begin, unroll
from steppe.core.task import Problem
from steppe.evaluation.levels import CALIBRATION, MEASURED, descend, looked
from steppe.optimizers.classic.from_optax import sgd
from steppe.tasks import build
from steppe.tasks.synthetic.quadratic import Bowl

LOOKED = ("train_loss", "valid_loss", "valid_accuracy", "test_loss", "test_accuracy", "size")
KEYS = jr.split(jr.key(3), 2)
LEVELS = (1.8, 2.1, 1e-9)


@pytest.fixture(scope="module")
def digits():
    task = build("digits-mlp", hidden=(), start="lecun")
    return task, descend(task, sgd(1.0), horizon=12, every=4, levels=LEVELS, keys=KEYS)


def test_the_path_is_that_of_a_loop(digits):
    task, found = digits
    assert found["steps"] == [4, 8, 12]
    for run, key in enumerate(KEYS):
        key_begin, key_loss = jr.split(key)
        episode = begin(task, sgd(1.0), key_begin)
        for look in range(3):
            episode, _ = unroll(task, sgd(1.0), episode, 4, lambda step: ())
            expected = {"size": tree.dot(episode.params, episode.params)}
            for split in ("train", "valid", "test"):
                batch = task.full_batch((), split=split)
                problem = Problem(task, (), batch, key_loss)
                accuracy = task.metrics(episode.params, (), batch, key_loss)["accuracy"]
                expected[f"{split}_loss"] = problem.value(episode.params)
                expected[f"{split}_accuracy"] = accuracy
            for name in LOOKED:
                np.testing.assert_allclose(
                    found["path"][name][run][look], expected[name], rtol=1e-4
                )


def test_levels_are_where_the_path_first_passes_them(digits):
    _, found = digits
    assert list(found["at"]) == ["2.1", "1.8", "1e-09", "stop", "end"]
    assert looked() == LOOKED
    path = {name: np.array(found["path"][name]) for name in LOOKED}
    for level in (2.1, 1.8):
        for run in range(len(KEYS)):
            first = int(np.argmax(path["train_loss"][run] <= level))
            assert path["train_loss"][run][first] <= level
            for name in LOOKED:
                at = found["at"][str(level)][name][run]
                np.testing.assert_allclose(at, path[name][run][first], rtol=1e-4)
    names = LOOKED + CALIBRATION + MEASURED
    assert all(found["at"]["1e-09"][name] == [None, None] for name in names)
    for name in LOOKED:
        np.testing.assert_allclose(found["at"]["end"][name], path[name][:, -1], rtol=1e-4)


def test_the_validated_stop_is_the_look_of_least_validation_loss():
    """Of 40 digits 12 have a wrong label: learned by heart, the validation loss rises again."""
    task = build("digits-mlp", hidden=(), start="lecun")
    y = task.dataset.y.at[:12].set((task.dataset.y[:12] + 1) % 10)
    few = dataclasses.replace(task.dataset, y=y, splits=((0, 40), (40, 1497), (1497, 1797)))
    task = dataclasses.replace(task, dataset=few)
    how = {"horizon": 200, "every": 10, "levels": (), "keys": KEYS, "curved": False}
    found = descend(task, sgd(1.0), **how)
    path = {name: np.array(found["path"][name]) for name in LOOKED}
    best = path["valid_loss"].argmin(axis=1)
    assert np.all((best > 0) & (best < len(found["steps"]) - 1))
    stop = found["at"]["stop"]
    assert stop["step"] == [found["steps"][k] for k in best]
    for name in LOOKED:
        np.testing.assert_allclose(stop[name], path[name][[0, 1], best], rtol=1e-4)
    for where in ("stop", "end"):  # one number more is fitted, on other data than the test
        at = {name: np.array(values) for name, values in found["at"][where].items()}
        assert np.all(at["test_scaled_loss"] < at["test_loss"])
        assert np.all((at["test_ece"] > 0) & (at["test_ece"] < 1))


def test_curvature_is_that_of_the_bowl():
    """½(5x² + y²): H = diag(5, 1), trace 6 for any signs, Σ θᵢ²Hᵢᵢ = 2f, rise ≈ 6σ²/2."""
    task = Bowl(condition=5.0)
    found = descend(task, sgd(0.01), horizon=6, every=3, levels=(), keys=KEYS)["at"]["end"]
    np.testing.assert_allclose(found["trace"], 6, rtol=1e-4)
    np.testing.assert_allclose(found["top_eigenvalue"], 5, rtol=1e-4)
    loss = np.array(found["train_loss"])
    np.testing.assert_allclose(found["adaptive_trace"], 2 * loss, rtol=1e-3)
    assert found["test_accuracy"] == [None, None]


def test_what_diverges_is_none_and_nothing_else():
    """x, y ← (1 − 3λ)(x, y): overflows."""
    found = descend(Bowl(condition=5.0), sgd(3.0), horizon=80, every=40, levels=(), keys=KEYS)
    assert found["path"]["train_loss"][0][-1] is None
    assert found["at"]["end"]["train_loss"] == [None, None]


def test_curvature_can_be_left_out_and_bad_lengths_are_refused():
    found = descend(Bowl(), sgd(0.1), horizon=2, every=1, levels=(1e9,), keys=KEYS, curved=False)
    assert set(found["at"]["end"]) == set(found["at"]["1000000000.0"]) == set(LOOKED)
    how = {"horizon": 2, "every": 1, "levels": (), "keys": KEYS}
    valid = descend(Bowl(), sgd(0.1), **how, held_out=("valid",))
    assert set(valid["path"]) == {"train_loss", "valid_loss", "valid_accuracy", "size"}
    assert set(descend(Bowl(), sgd(0.1), **how, held_out=("test",))["at"]) == {"end"}
    with pytest.raises(ValueError, match="multiple of every, both at least 1, got 5 and 2"):
        descend(Bowl(), sgd(0.1), horizon=5, every=2, levels=(), keys=KEYS)


def test_equal_keys_are_equal_problems():
    task = build("digits-mlp", hidden=(), start="lecun")
    slow, fast = (
        descend(task, sgd(lr), horizon=2, every=2, levels=(), keys=KEYS, curved=False)
        for lr in (0.0, 1e-6)
    )
    np.testing.assert_allclose(slow["path"]["train_loss"], fast["path"]["train_loss"], rtol=1e-3)
