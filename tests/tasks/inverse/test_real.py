"""Problems from photographs and tables: the data against NumPy, the minima against scikit-learn."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.core.rollout import episodes
from steppe.data import photographs as source
from steppe.data.photographs import alphabet, learn, photographs
from steppe.data.tables import table
from steppe.evaluation.rivals import coordinate_descent, logistic
from steppe.optimizers.classic.proximal import FISTA, ISTA
from steppe.tasks.inverse.optimum import optimum
from steppe.tasks.inverse.patches import ImagePatches
from steppe.tasks.inverse.tables import TabularLogistic

KEY = jr.key(4)


@pytest.fixture(scope="module")
def patches():
    return ImagePatches()


def test_patches_are_windows_of_the_photographs(patches):
    pictures = photographs()
    assert pictures.shape == (2, 427, 640) and 0 <= pictures.min() < 0.01 < 0.99 < pictures.max()
    for key in jr.split(KEY, 3):
        k, i, j = np.asarray(jr.randint(key, (3,), 0, jnp.array([2, 420, 633])))
        window = pictures[k, i : i + 8, j : j + 8]
        expected = (window - window.mean()) / (np.ptp(window) + 1e-3)
        np.testing.assert_allclose(patches.sample(key), expected.ravel(), atol=1e-5)


def test_atoms_have_length_one_and_the_published_curvature(patches):
    A = np.asarray(alphabet())
    np.testing.assert_allclose(np.linalg.norm(A, axis=0), 1, rtol=1e-6)
    loss = patches.loss(patches.sample(KEY), (), KEY)
    assert loss.smooth.A.shape == (64, 128) and loss.regularizer.weight == 0.5
    assert float(loss.lipschitz) == pytest.approx(np.linalg.norm(A, 2) ** 2, rel=1e-6)
    assert float(loss.lipschitz) == pytest.approx(26.5, abs=1)  # specs, math-l2o.md §7.1
    assert np.abs(A.T @ A - np.eye(128)).max() < 0.95  # no atom twice


def test_the_minimum_of_a_patch_is_proven_and_that_of_scikit_learn(patches):
    loss = patches.loss(patches.sample(KEY), (), KEY)
    found = optimum(loss)
    assert found.gap <= 1e-13
    assert coordinate_descent(loss, 1e-14).value == pytest.approx(found.value, rel=1e-10)
    used = patches.metrics(jnp.asarray(found.x), None, (), KEY)["used"]
    assert 0 < used < 0.2 and used == np.mean(found.x != 0)


def test_an_alphabet_of_another_size_is_learned_once(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPPE_CACHE", str(tmp_path))
    first = alphabet(2, 3)
    assert first.shape == (4, 3) and np.linalg.norm(first, axis=0) == pytest.approx(np.ones(3))
    monkeypatch.setattr(source, "learn", None)
    assert np.array_equal(alphabet(2, 3), first)
    with jax.enable_x64(False):
        task = ImagePatches(side=2, atoms=3)
        assert task.loss(task.sample(KEY), (), KEY).smooth.A.shape == (4, 3)


def value(A, windows):
    """Mean minimum of LASSO over windows, with some hundred steps of ISTA."""
    x, L = np.zeros((A.shape[1], len(windows))), np.linalg.norm(A, 2) ** 2
    for _ in range(300):
        z = x - A.T @ (A @ x - windows.T) / L
        x = np.sign(z) * np.maximum(np.abs(z) - 0.5 / L, 0)
    return np.mean(np.sum((A @ x - windows.T) ** 2, 0) / 2 + 0.5 * np.abs(x).sum(0))


@pytest.mark.slow
def test_the_shipped_alphabet_is_the_learned_one(patches):
    """Another release of scikit-learn may learn another one, that is as good."""
    windows = np.asarray(jax.vmap(patches.sample)(jr.split(KEY, 200)))
    assert value(alphabet(), windows) == pytest.approx(value(learn(8, 128), windows), rel=0.02)
    random = np.random.default_rng(0).standard_normal((64, 128))
    worse = value(random / np.linalg.norm(random, axis=0), windows)
    assert worse > 1.1 * value(alphabet(), windows)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("opt", "levels"),
    [(ISTA(), (7.2e-2, 4.4e-2, 8.0e-3)), (FISTA(), (4.3e-2, 1.3e-2, 4.3e-5))],
    ids=["ista", "fista"],
)
def test_gaps_on_patches_are_those_measured_by_other_code(patches, opt, levels):
    """Mean relative gap after 10, 20 and 100 steps (specs, math-l2o.md §7.1), within 3×."""
    keys = jr.split(KEY, 64)
    look = lambda episode, _: (
        patches.loss(episode.instance, (), KEY)(episode.params),
        episode.instance,
    )
    values, b = episodes(patches, opt, keys, 100, look, at=(10, 20, 100)).looks
    least = [optimum(patches.loss(b[i, 0], (), KEY)).value for i in range(64)]
    gaps = np.mean(np.asarray(values) / np.array(least)[:, None] - 1, axis=0)
    assert np.all(gaps < 3 * np.array(levels)) and np.all(gaps > np.array(levels) / 3), gaps


@pytest.mark.parametrize(
    ("name", "shape", "share"),
    [("breast-cancer", (569, 30), 0.63), ("odd-digits", (1797, 64), 0.5)],
)
def test_tables_are_in_units_of_their_spread(name, shape, share):
    A, y = table(name)
    assert A.shape == shape and set(y) == {0, 1} and y.mean() == pytest.approx(share, abs=0.01)
    np.testing.assert_allclose(A.mean(axis=0), 0, atol=1e-12)
    spread = A.std(axis=0)
    np.testing.assert_allclose(spread[spread > 0], 1)
    assert (spread == 0).sum() == (3 if name == "odd-digits" else 0)  # corners that are always 0


def test_the_minimum_of_a_table_is_proven_and_that_of_scikit_learn():
    task = TabularLogistic(weight=0.1)
    loss = task.loss((), (), KEY)
    assert float(loss(jnp.zeros(30))) == pytest.approx(np.log(2))
    A = np.asarray(loss.smooth.A)
    assert float(loss.lipschitz) == pytest.approx(np.linalg.norm(A, 2) ** 2 / (4 * 569), rel=1e-5)
    found = optimum(loss)
    assert found.gap <= 1e-13 and 0 < np.count_nonzero(found.x) < 10
    assert logistic(loss, 1e-12).value == pytest.approx(found.value, rel=1e-9)
    assert task.metrics(jnp.asarray(found.x), (), (), KEY)["accuracy"] > 0.9


def test_each_problem_has_rows_of_its_own():
    task = TabularLogistic("odd-digits", rows=20)
    one, two = (task.sample(key) for key in jr.split(KEY))
    assert len(set(np.asarray(one.rows))) == 20 and not np.array_equal(one.rows, two.rows)
    loss = task.loss(one, (), KEY)
    A, y = table("odd-digits")
    np.testing.assert_allclose(loss.smooth.A, A[np.asarray(one.rows)], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(loss.smooth.y, y[np.asarray(one.rows)])
    assert float(loss.lipschitz) == pytest.approx(float(loss.smooth.lipschitz()), rel=1e-5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ImagePatches(side=0), "ImagePatches: side must be at least 1, got 0"),
        (lambda: ImagePatches(weight=-1.0), "ImagePatches: weight must be at least 0, got -1"),
        (lambda: alphabet(428, 2), "alphabet: side must be at most 427, got 428"),
        (lambda: alphabet(8, 5000), "alphabet: atoms must be at most 4000, got 5000"),
        (lambda: TabularLogistic("iris"), "no table 'iris'; use one of breast-cancer, odd-digits"),
        (lambda: TabularLogistic(rows=600), "breast-cancer has 569 rows, got rows=600"),
    ],
)
def test_wrong_arguments_are_refused(make, words, tmp_path, monkeypatch):
    monkeypatch.setenv("STEPPE_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=words):
        make()
