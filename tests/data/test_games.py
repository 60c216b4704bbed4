"""Published games from a folder: what is in them, and files that are damaged or forged."""

from pathlib import Path

import jax
import jax.random as jr
import numpy as np
import pytest

from steppe.data.games import FILE, condition_numbers, matrix_games, seesaw_pairs, singular
from steppe.store.untrusted import FileError
from steppe.tasks.games.matrix import MatrixGame
from steppe.tasks.games.seesaw import Seesaw
from steppe.tasks.names import SEESAWS

PUBLISHED = Path(__file__).parents[3] / "shared" / "reference" / "games"
needs_file = pytest.mark.skipif(
    not (PUBLISHED / FILE).exists(), reason="the published games are not beside the project"
)
KEY = jr.key(0)


@pytest.fixture
def folder(tmp_path):
    """Two games of each kind, one matrix singular."""
    A = np.stack([np.diag([1.0, 4.0]), np.ones((2, 2))])
    arrays = {"dim2_train": A.reshape(2, 4), "dim1_test": np.array([0.5, 1.0])}
    np.savez(tmp_path / FILE, **arrays, seesaw_range3_test=np.array([[0.1, 0.9], [0.3, 0.95]]))
    return tmp_path


def test_games_are_read_from_a_folder(folder):
    A = matrix_games(str(folder), 2, "train")
    assert A.shape == (2, 2, 2) and A[0, 1, 1] == 4
    np.testing.assert_array_equal(condition_numbers(A), [4, np.inf])
    np.testing.assert_array_equal(singular(A), [False, True])
    assert matrix_games(str(folder), 1, "test").shape == (2, 1, 1)
    assert seesaw_pairs(str(folder), 3).shape == (2, 2)


def test_tasks_draw_from_what_is_read(folder):
    task = MatrixGame(2, folder=str(folder))
    found = np.asarray(jax.vmap(task.sample)(jr.split(KEY, 20)))
    assert set(found[:, 1, 1]) == {1.0, 4.0}
    bounded = MatrixGame(2, folder=str(folder), largest_condition=4.0)
    assert np.all(np.asarray(jax.vmap(bounded.sample)(jr.split(KEY, 20)))[:, 1, 1] == 4)
    with pytest.raises(
        ValueError, match=r"none of the 2 matrices .* condition number of 3 or less"
    ):
        MatrixGame(2, folder=str(folder), largest_condition=3.0)
    pairs = jax.vmap(Seesaw(3, str(folder)).sample)(jr.split(KEY, 20))
    assert set(zip(*map(np.asarray, (pairs["a"], pairs["b"])), strict=True)) == {
        (0.1, 0.9),
        (0.3, 0.95),
    }


BAD = {
    "no archive": (b"games", "found no npz file"),
    "missing": ({"dim2_test": np.ones((1, 4))}, "found no array dim2_train, expected one beside"),
    "shape": ({"dim2_train": np.ones((3, 5))}, r"of the shape \(3, 5\), expected real numbers"),
    "flat": ({"dim2_train": np.ones(4)}, r"of the shape \(4,\), expected real numbers"),
    "empty": ({"dim2_train": np.ones((0, 4))}, r"of the shape \(0, 4\), expected real numbers"),
    "scalar": ({"dim2_train": np.ones(())}, r"of the shape \(\), expected real numbers"),
    "words": ({"dim2_train": np.array([["a"] * 4])}, "found <U1 of the shape"),
    "complex": ({"dim2_train": np.ones((1, 4), complex)}, "found complex128 of the shape"),
    "NaN": ({"dim2_train": np.full((1, 4), np.nan)}, "found entries that are NaN or huge"),
    "infinite": ({"dim2_train": np.full((1, 4), np.inf)}, "found entries that are NaN or huge"),
    "huge": ({"dim2_train": np.full((1, 4), 1e300)}, "found entries that are NaN or huge"),
    "pickle": ({"dim2_train": np.array([[{}] * 4])}, "found an array of 'object'"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_gets_one_sentence(name, tmp_path):
    content, words = BAD[name]
    if isinstance(content, bytes):
        (tmp_path / FILE).write_bytes(content)
    else:
        np.savez(tmp_path / FILE, **content)
    with pytest.raises(FileError, match=words) as refusal:
        MatrixGame(2, folder=str(tmp_path))
    said = str(refusal.value)
    assert "\n" not in said and said.endswith("or none to draw games.")


def test_a_folder_that_is_none_and_a_split_that_is_none(tmp_path):
    with pytest.raises(FileError, match="found no file, expected one of this name"):
        seesaw_pairs(str(tmp_path), 1)
    with pytest.raises(ValueError, match="no split 'eval'; did you mean 'valid'"):
        matrix_games(str(tmp_path), 5, "eval")


@needs_file
def test_three_in_ten_of_the_published_matrices_are_singular():
    shares = {}
    for split, count in (("train", 256), ("valid", 128), ("test", 128)):
        A = matrix_games(str(PUBLISHED), 5, split)
        assert A.shape == (count, 5, 5) and np.all((A == 0) | ((A >= 0.5) & (A <= 1)))
        shares[split] = singular(A).mean(), (condition_numbers(A) < 20).mean()
        one = matrix_games(str(PUBLISHED), 1, split)
        assert one.shape == (count, 1, 1) and one.min() >= 0.5 and one.max() <= 1
    for bad, good in (shares["train"], shares["test"]):
        assert 0.29 < bad < 0.32 and 0.4 < good < 0.43
    bounded = MatrixGame(5, folder=str(PUBLISHED), split="test", largest_condition=20.0)
    assert bounded.matrices is not None and len(bounded.matrices) == 55


@needs_file
def test_the_published_seesaws_are_in_their_ranges():
    for number, ends in SEESAWS.items():
        pairs = seesaw_pairs(str(PUBLISHED), number)
        assert pairs.shape == (512, 2)
        for x, (low, high) in zip(pairs.T, ends, strict=True):
            assert low <= x.min() and x.max() <= high
