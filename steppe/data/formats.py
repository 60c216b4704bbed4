"""File formats of image data sets: IDX (MNIST), npz, and CIFAR-10's "python batches".

IDX: two zero bytes, the element type (8 = unsigned byte), the number of axes, every axis as a
big-endian 32-bit integer, then the elements.

A python batch is a pickle, and a pickle is a program. We run it on a machine with three
instructions: the names of NumPy's array, dtype and array constructor all resolve to one inert
record, which keeps what it is given; any other name is refused. The array is then put together
from the recorded shape and bytes, so NumPy's own unpickling is never reached.

Nothing here guesses: each wrong file is one sentence with the file, the finding and the remedy.
"""

import gzip
import io
import math
import pickle
import zipfile
import zlib
from pathlib import Path

import numpy as np

AGAIN = "download or copy it again"


def read_idx(path: Path, axes: int) -> np.ndarray:
    """Read an IDX file of unsigned bytes, plain or gzipped, with `axes` axes."""
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":  # gzip, whatever the file is called
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path} is a damaged gzip file ({error}); {AGAIN}.") from error
    magic, header = bytes((0, 0, 8, axes)), 4 + 4 * axes
    if len(data) >= 4 and data[:4] != magic:
        raise ValueError(
            f"{path} starts with the bytes {data[:4].hex()}, expected {magic.hex()} (IDX, "
            f"unsigned bytes, {axes} axes); {AGAIN}, and do not swap images and labels."
        )
    if len(data) < header:
        raise ValueError(
            f"{path} has {len(data)} bytes, less than its {header} bytes of IDX header; {AGAIN}."
        )
    shape = tuple(np.frombuffer(data, ">u4", axes, offset=4).tolist())
    if len(data) - header != math.prod(shape):
        raise ValueError(
            f"{path} announces the shape {shape}, that is {math.prod(shape)} bytes, but "
            f"{len(data) - header} bytes follow; {AGAIN}."
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read x_train, y_train, x_test, y_test of an npz file, under any of the common spellings."""
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not an npz file (not a complete zip archive); {AGAIN}.")
    keys = {}
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as entries:
            given = {key.lower().replace("_", "").replace("-", ""): key for key in entries.files}
            for part, spellings in _spellings().items():
                keys[part] = next((given[word] for word in spellings if word in given), None)
            arrays = {part: entries[key] for part, key in keys.items() if key is not None}
    except Exception as error:  # a damaged archive raises nearly anything
        raise ValueError(
            f"{path} cannot be read as an npz file ({error}); {AGAIN}, or save plain arrays of "
            "numbers."
        ) from error
    if None in keys.values():
        missing = ", ".join(part for part, key in keys.items() if key is None)
        raise ValueError(
            f"{path} has the arrays {', '.join(sorted(given.values())) or '(none)'}, which leaves "
            f"{missing} missing; name them x_train, y_train, x_test, y_test."
        )
    for part, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{path}: the entry {keys[part]} is not an array; {AGAIN}.")
    return arrays


def _spellings() -> dict[str, list[str]]:
    letters = {"x": ("x", "images", "image", "data"), "y": ("y", "labels", "label", "targets")}
    return {
        f"{letter}_{part}": [s for word in words for s in (word + part, part + word)]
        for part in ("train", "test")
        for letter, words in letters.items()
    }


class _Record:
    """Arguments of a pickle for `numpy.ndarray`, `numpy.dtype` or `_reconstruct`, never run."""

    arguments: tuple = ()  # on the class, as a pickle may skip __init__
    state: object = ()

    def __init__(self, *arguments):
        self.arguments = arguments

    def __setstate__(self, state):
        self.state = state


class _BatchUnpickler(pickle.Unpickler):
    def find_class(self, module, name):
        known = ("numpy.core.multiarray", "numpy._core.multiarray")
        if (module in known and name == "_reconstruct") or (
            module == "numpy" and name in ("ndarray", "dtype")
        ):
            return _Record
        raise pickle.UnpicklingError(
            f"it asks for {module + '.' + name!r}, which no such batch needs"
        )


def read_cifar_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read images (n, 32, 32, 3) as uint8 and labels (n,) of one python batch."""
    try:
        batch = _BatchUnpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
    except OSError:
        raise
    except Exception as error:  # a damaged pickle raises nearly anything
        raise ValueError(
            f"{path} is not a CIFAR-10 python batch ({error}); {AGAIN} from a source you trust."
        ) from error
    batch = batch if isinstance(batch, dict) else {}
    batch = {
        key.decode(errors="replace") if isinstance(key, bytes) else key: batch[key] for key in batch
    }
    if not {"data", "labels"} <= batch.keys():
        raise ValueError(
            f"{path} holds {', '.join(map(repr, batch)) or 'nothing'}, expected data and labels; "
            "use the python version of CIFAR-10 (not CIFAR-100)."
        )
    rows = _bytes_of(batch["data"], path)  # (n, 3072): all red, all green, all blue
    try:
        y = np.asarray(batch["labels"])
    except ValueError as error:  # a ragged list
        raise ValueError(f"{path}: labels are not a list of numbers; {AGAIN}.") from error
    return rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), y


def _bytes_of(record, path: Path) -> np.ndarray:
    """The uint8 matrix (n, 3072) that a pickle describes: (version, shape, dtype, order, bytes)."""
    state = record.state if isinstance(record, _Record) else ()
    match state:
        case (_, (int(n), 3072), _Record(arguments=(b"u1" | "u1", *_)), fortran, bytes(raw)) if (
            len(raw) == n * 3072
        ):
            order = "F" if fortran else "C"
            return np.frombuffer(raw, np.uint8).reshape((n, 3072), order=order)
    raise ValueError(
        f"{path}: data is not an array of unsigned bytes with the shape (n, 3072); {AGAIN}."
    )


def check_images(x: np.ndarray, shape: tuple[int, ...], source: str) -> np.ndarray:
    """Images as (n, *shape): uint8 in 0 … 255, or float32 in [0, 1].

    Flattened images and a trailing channel axis of one are reshaped, channels-first colour
    images transposed, whole numbers up to 255 of any dtype become uint8.

    - `x`: images, (n, …), of any numeric dtype
    - `shape`: of one image, (height, width) or (height, width, channels)
    - `source`: named in error messages
    """
    n, given = len(x) if x.ndim else 0, x.shape
    if len(shape) == 3 and given[1:] == (shape[2], *shape[:2]):
        x = x.transpose(0, 2, 3, 1)
    elif len(shape) == 2 and given[1:] in ((math.prod(shape),), (*shape, 1)):
        x = x.reshape(n, *shape)
    if n == 0 or x.shape[1:] != shape:
        expected = ", ".join(map(str, shape))
        raise ValueError(
            f"{source} has the shape {given}, expected (n, {expected}) with n ≥ 1; reshape it."
        )
    if x.dtype == np.uint8:
        return x
    if x.dtype.kind not in "iuf":
        raise ValueError(
            f"{source} has the dtype {x.dtype}, expected uint8 or float32; convert it."
        )
    if not np.isfinite(x).all():
        bad = int((~np.isfinite(x)).sum())
        raise ValueError(
            f"{source} has {bad} values that are NaN or infinite, expected none; clean the file."
        )
    low, high = x.min(), x.max()
    if low >= 0 and high <= 1 and x.dtype.kind == "f":
        return x.astype(np.float32)
    if low >= 0 and high <= 255 and (x == np.round(x)).all():
        return x.astype(np.uint8)
    raise ValueError(
        f"{source} has values from {low} to {high}, expected floats in [0, 1] or whole numbers in "
        "0 … 255; rescale it."
    )


def check_labels(y: np.ndarray, n: int, classes: int, source: str) -> np.ndarray:
    """Labels as int32 (n,), each in 0 … classes − 1.

    - `y`: labels, (n,) or (n, 1), of any whole-number dtype
    - `n`: number of images
    - `classes`: number of classes
    - `source`: named in error messages
    """
    y = np.asarray(y)
    if y.shape not in ((n,), (n, 1)):
        raise ValueError(
            f"{source} has labels of shape {y.shape} for {n} images, expected ({n},); give one "
            "label per image, in files that belong together."
        )
    if y.dtype.kind not in "iu":
        raise ValueError(
            f"{source} has labels of dtype {y.dtype}, expected whole numbers; convert them."
        )
    if n and not (y.min() >= 0 and y.max() < classes):
        raise ValueError(
            f"{source} has labels from {y.min()} to {y.max()}, expected 0 … {classes - 1}; is it "
            "another data set?"
        )
    return y.reshape(n).astype(np.int32)
