"""Divisions, wrong labels, fewer rows; tables; sequences against the entropy of their source."""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from examples import pictures
from steppe.data import Dataset, load, varied
from steppe.data.sequences import LETTERS, entropy, sequences, source

DATA = pictures((2, 2), classes=3)  # 1000 / 100 / 100


def rows(dataset, split):
    start, stop = dataset.splits[("train", "valid", "test").index(split)]
    x, y = np.asarray(dataset.x[start:stop]), np.asarray(dataset.y[start:stop])
    return sorted((one.tobytes(), int(label)) for one, label in zip(x, y, strict=True))


def all_rows(dataset):
    return sorted(row for split in ("train", "valid", "test") for row in rows(dataset, split))


def test_a_division_has_the_same_rows_in_other_parts():
    assert varied(DATA) is DATA
    one, again, other = (varied(DATA, split=k) for k in (1, 1, 2))
    assert jnp.array_equal(one.x, again.x) and jnp.array_equal(one.y, again.y)
    for found in (one, other):
        assert found.splits == DATA.splits and all_rows(found) == all_rows(DATA)
        assert rows(found, "test") != rows(DATA, "test")  # the test rows are others, too
    assert rows(one, "test") != rows(other, "test")


@pytest.mark.parametrize("split", (0, 3))
def test_so_many_labels_are_wrong_and_none_of_the_test(split):
    plain, noisy = varied(DATA, split=split), varied(DATA, split=split, noise=0.2)
    assert jnp.array_equal(plain.x, noisy.x)
    wrong = np.asarray(plain.y != noisy.y)
    assert wrong[:1100].sum() == 220 and wrong[1100:].sum() == 0
    assert 150 < wrong[:1000].sum() < 220  # in train and in valid
    moved = np.asarray((noisy.y - plain.y) % 3)[wrong]
    assert set(moved) == {1, 2}
    assert jnp.array_equal(varied(DATA, split=split, noise=0.2).y, noisy.y)


def test_train_may_be_shorter():
    found = varied(DATA, train=10)
    assert found.splits == ((0, 10), (10, 110), (110, 210)) and len(found.y) == 210
    for split in ("valid", "test"):
        assert rows(found, split) == rows(DATA, split)
    assert set(rows(found, "train")) <= set(rows(DATA, "train"))


def test_what_they_refuse():
    one = Dataset(DATA.x, 0 * DATA.y, DATA.splits, 1, "same", 1.0)
    for words, dataset, options in (
        ("split must be a whole number from 0 to .*, got 1.5", DATA, {"split": 1.5}),
        ("noise must be a share from 0 to 1, got 2.0", DATA, {"noise": 2.0}),
        ("train of pictures must be a whole number from 1 to 1000, got 0", DATA, {"train": 0}),
        ("same has one class", one, {"noise": 0.1}),
    ):
        with pytest.raises(ValueError, match=words):
            varied(dataset, **options)


@pytest.mark.parametrize(
    ("name", "shape", "classes", "sizes"),
    (
        ("breast-cancer", (30,), 2, (369, 100, 100)),
        ("wine", (13,), 3, (98, 40, 40)),
        ("mixture", (10,), 4, (1200, 600, 1200)),
    ),
)
def test_tables(name, shape, classes, sizes):
    pytest.importorskip("sklearn")
    found = load(name)
    assert (found.name, found.x.shape[1:], found.classes) == (name, shape, classes)
    assert tuple(stop - start for start, stop in found.splits) == sizes
    x = np.asarray(found.x)
    np.testing.assert_allclose([x.min(0), x.max(0)], [np.zeros(shape), np.ones(shape)])
    assert set(np.asarray(found.y)) == set(range(classes))


def test_wine_is_that_of_scikit_learn():
    """Of each row the order of its features and its label, found again by value."""
    datasets = pytest.importorskip("sklearn.datasets")
    x, y = datasets.load_wine(return_X_y=True)
    found = load("wine")
    back = np.asarray(found.x) * np.ptp(x, axis=0) + x.min(axis=0)
    nearest = np.abs(back[:, None] - x[None]).max(axis=-1).argmin(axis=1)
    assert sorted(nearest) == list(range(178))
    np.testing.assert_allclose(back, x[nearest], rtol=1e-5)
    assert np.array_equal(found.y, y[nearest])


def test_the_source_is_one_of_probabilities_and_its_entropy_is_in_its_bounds():
    T = source()
    np.testing.assert_allclose(T.sum(axis=-1), 1)
    assert T.shape == (LETTERS,) * 3 and T.min() > 0
    # three likely letters and a little besides; a source of equal letters has ln 16 = 2.77
    assert 0.3 < entropy() < 1.6


def test_no_model_of_pairs_beats_the_entropy_and_the_true_one_has_it():
    found = sequences((1500, 1, 1), length=33)
    letters = np.asarray(found.letters[:1500]).astype(int)
    T = source()
    chances = T[letters[:, :-2], letters[:, 1:-1], letters[:, 2:]]
    losses = -np.log(chances)
    error = losses.mean(axis=1).std() / np.sqrt(len(losses))  # rows are independent
    assert abs(losses.mean() - entropy()) < 4 * error < 0.05
    counts = np.ones((LETTERS,) * 2)
    np.add.at(counts, (letters[:, 1:-1], letters[:, 2:]), 1)  # of order 1
    worse = -np.log(counts / counts.sum(1, keepdims=True))[letters[:, 1:-1], letters[:, 2:]]
    assert worse.mean() > losses.mean() + 0.3


def test_sequences_of_another_split_are_others_and_batches_stay_in_their_part():
    one, again, other = (sequences((6, 4, 3), 8, split=k) for k in (0, 0, 1))
    assert jnp.array_equal(one.letters, again.letters)
    assert not jnp.array_equal(one.letters, other.letters)
    valid = {row.tobytes() for row in np.asarray(one.whole("valid"))}
    drawn = {row.tobytes() for row in np.asarray(one.batch(jr.key(0), 50, "valid"))}
    assert drawn == valid and len(valid) == 4
    assert one.whole("test", 2).shape == (2, 8)


def test_sequences_refuse_what_is_no_size():
    for words, sizes, length in (
        (r"sizes are \(4, 4\), expected three", (4, 4), 5),
        ("are 4200000 letters, 4194304 at most", (2100, 1050, 1050), 1000),
        ("length must be at least 3, got 2", (4, 4, 4), 2),
    ):
        with pytest.raises(ValueError, match=words):
            sequences(sizes, length)
