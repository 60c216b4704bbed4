"""File formats of image data sets: IDX (MNIST) and npz. CIFAR-10's batches are in `cifar.py`.

IDX: two zero bytes, the element type (8 = unsigned byte), the number of axes, every axis as a
big-endian 32-bit integer, then the elements.

Nothing here guesses: each wrong file is one sentence with the file, the finding and the remedy.
Memory goes by what a file has, not by what it announces.
"""

import math
import os
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..store.npz import opened
from ..store.untrusted import FileError, Source, inflated, listed, open_file

AGAIN = "download or copy it again"
LARGEST = 2**28  # bytes of an IDX file, as unpacked; MNIST has 47 million
BLOCK = 2**16


def read_idx(path: Path, axes: int) -> np.ndarray:
    """Read an IDX file of unsigned bytes, plain or gzipped, with `axes` axes."""
    with open_file(path, Source(str(path), AGAIN)) as file:
        size = os.fstat(file.fileno()).st_size
        packed = file.read(2) == b"\x1f\x8b"  # gzip, whatever the file is called
        file.seek(0)
        header = 4 + 4 * axes
        start = _inflate(file, path, header) if packed else file.read(header)
        shape = _shape(start, axes, path)
        count = math.prod(shape)
        announced = f"{path} announces the shape {shape}, that is {count} bytes, but "
        if count > (most := min(LARGEST, inflated(size)) if packed else LARGEST):
            raise FileError(f"{announced}{most} are the most that {size} bytes may hold; {AGAIN}.")
        if not packed and size - header != count:
            raise FileError(f"{announced}{size - header} bytes follow; {AGAIN}.")
        file.seek(0)
        data = _inflate(file, path, header + count + 1) if packed else file.read(size + 1)
    if len(data) != header + count:
        more = len(data) > header + count
        raise FileError(
            f"{announced}{'more' if more else len(data) - header} bytes follow; {AGAIN}."
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def _shape(data: bytes | bytearray, axes: int, path: Path) -> tuple[int, ...]:
    """The shape that a header announces."""
    magic, header = bytes((0, 0, 8, axes)), 4 + 4 * axes
    if len(data) >= 4 and data[:4] != magic:
        raise FileError(
            f"{path} starts with the bytes {data[:4].hex()}, expected {magic.hex()} (IDX, "
            f"unsigned bytes, {axes} axes); {AGAIN}, and do not swap images and labels."
        )
    if len(data) < header:
        raise FileError(
            f"{path} has {len(data)} bytes, less than its {header} bytes of IDX header; {AGAIN}."
        )
    return tuple(np.frombuffer(data, ">u4", axes, offset=4).tolist())


def _inflate(file: BinaryIO, path: Path, most: int) -> bytearray:
    """The first bytes packed in a gzip file, at most `most`."""
    unpacker = zlib.decompressobj(wbits=31)  # gzip, with its checksum
    data, rest = bytearray(), b""
    try:
        while len(data) < most and not unpacker.eof:
            rest = unpacker.unconsumed_tail or file.read(BLOCK)
            if not rest:
                raise FileError(
                    f"{path} is a damaged gzip file (it ends before its end-of-stream mark); "
                    f"{AGAIN}."
                )
            data += unpacker.decompress(rest, min(BLOCK * 16, most - len(data)))
    except zlib.error as error:
        raise FileError(f"{path} is a damaged gzip file ({error}); {AGAIN}.") from None
    return data


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read x_train, y_train, x_test, y_test of an npz file, under any of the common spellings."""
    todo = f"{AGAIN}, or save plain arrays of numbers"
    with opened(path, Source(str(path), todo)) as entries:
        given = {name.lower().replace("_", "").replace("-", ""): name for name in entries.names}
        keys = {
            part: next((given[word] for word in spellings if word in given), None)
            for part, spellings in _spellings().items()
        }
        if None in keys.values():
            missing = ", ".join(part for part, key in keys.items() if key is None)
            raise FileError(
                f"{path} has the arrays {listed(sorted(given.values()))}, which leaves {missing} "
                "missing; name them x_train, y_train, x_test, y_test."
            )
        return {part: entries[key] for part, key in keys.items() if key is not None}


def _spellings() -> dict[str, list[str]]:
    letters = {"x": ("x", "images", "image", "data"), "y": ("y", "labels", "label", "targets")}
    return {
        f"{letter}_{part}": [s for word in words for s in (word + part, part + word)]
        for part in ("train", "test")
        for letter, words in letters.items()
    }


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
