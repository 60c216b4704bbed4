"""Published games, read from a folder that has `matrix_and_seesaw.npz`.

    matrix_games(folder, 5, "test")     (128, 5, 5): matrices A of xᵀAy
    seesaw_pairs(folder, 3)             (512, 2): a and b of −b v sin(aπu)

The numbers are those of VITA-Group/Open-L2O, `L2O-Minimax/dataset` (MIT), from text files put into
one file: arrays `dim1_train`, `dim5_eval`, `seesaw_range3_test` and so on, matrices row by row.
"""

import math
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from ..core.messages import did_you_mean
from ..core.types import Split
from ..store.npz import opened
from ..store.untrusted import FileError, Source

FILE = "matrix_and_seesaw.npz"
SPLITS = {"train": "train", "valid": "eval", "test": "test"}  # ours: theirs
REMEDY = "give the folder of the published games, or none to draw games"
LARGEST = 1e6  # of an entry's size


def matrix_games(folder: str, n: int, split: Split) -> Float[np.ndarray, "count n n"]:
    """The published matrices with n rows. Raises FileError, one sentence."""
    if split not in SPLITS:
        raise ValueError(f"There is no split {split!r}; {did_you_mean(str(split), SPLITS)}")
    flat = _read(folder, f"dim{n}_{SPLITS[split]}", n * n)
    return flat.reshape(-1, n, n)


def seesaw_pairs(folder: str, number: int) -> Float[np.ndarray, "count 2"]:
    """The published pairs (a, b) of a range, those for tests. Raises FileError, one sentence."""
    return _read(folder, f"seesaw_range{number}_test", 2)


def condition_numbers(A: Float[np.ndarray, "count n n"]) -> Float[np.ndarray, " count"]:
    """Largest over smallest singular value of each matrix; infinite where it is singular."""
    sizes = np.linalg.svd(A, compute_uv=False)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(singular(A), math.inf, sizes[:, 0] / sizes[:, -1])


def singular(A: Float[np.ndarray, "count n n"]) -> Bool[np.ndarray, " count"]:
    """True for each matrix whose rank is not full but for rounding: its game has many solutions."""
    return np.linalg.matrix_rank(A) < A.shape[-1]


def _read(folder: str, name: str, width: int) -> Float[np.ndarray, "count width"]:
    """One array of the file, as rows of `width` finite numbers."""
    path = Path(folder) / FILE
    source = Source(str(path), REMEDY, FileError)
    with opened(path, source) as entries:
        if name not in entries.names:
            known = ", ".join(sorted(entries.names)[:20])[:300] or "nothing"
            raise source.refuse(f"no array {name}", f"one beside {known}")
        found = entries[name]
    source = source.part(name)
    right = found.shape[1:] in ((width,), () if width == 1 else (width,)) and found.ndim > 0
    if found.dtype.kind not in "fiu" or not right or not len(found):
        raise source.refuse(
            f"{found.dtype} of the shape {found.shape}", f"real numbers of the shape (n, {width})"
        )
    numbers = found.astype(np.float64).reshape(-1, width)
    if not np.all(np.abs(numbers) <= LARGEST):  # NaN neither
        raise source.refuse("entries that are NaN or huge", f"finite ones up to {LARGEST:g}")
    return numbers
