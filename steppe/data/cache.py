"""Arrays kept between runs: one npz file per name, with the SHA-256 of every array inside.

The folder is the environment variable STEPPE_CACHE, else the platform's cache folder
(~/.cache/steppe on Linux). A cache may only save time: whatever is wrong with the file or the
folder, the arrays are built again and the program goes on.
"""

import contextlib
import hashlib
import io
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ..store.files import to_json, write_atomically
from ..store.npz import opened
from ..store.untrusted import FileError, Source, parse_json

DIGESTS = "sha256"  # the entry of the npz file that holds {array name: SHA-256} as JSON


def folder() -> Path:
    """The folder of all caches; it need not exist yet."""
    if chosen := os.environ.get("STEPPE_CACHE"):
        with contextlib.suppress(RuntimeError):  # ~ of nobody
            return Path(chosen).expanduser()
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
        return Path(base) / "steppe" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "steppe"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "steppe"


def digests(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """SHA-256 of the bytes of each array, in C order."""
    return {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in arrays.items()}


def fetch(
    name: str,
    build: Callable[[], dict[str, np.ndarray]],
    sha256: Mapping[str, str] | None = None,
) -> dict[str, np.ndarray]:
    """The cached arrays of a name, or those of `build()`, which are then cached.

    - `name`: of the file in the cache
    - `build`: makes the arrays, by name
    - `sha256`: known digests by name; a cached copy of anything else is built again
    """
    arrays = read(name)
    if arrays is None or (sha256 is not None and digests(arrays) != sha256):
        arrays = build()
        write(name, arrays)
    return arrays


def read(name: str) -> dict[str, np.ndarray] | None:
    """The arrays under `name`, or None when they are absent or damaged."""
    try:
        path = folder() / f"{name}.npz"
        source = Source(str(path))
        with opened(path, source) as entries:
            arrays = {key: entries[key] for key in entries.names if key != DIGESTS}
            said = entries[DIGESTS].item() if DIGESTS in entries.names else "{}"
        intact = parse_json(str(said), source) == digests(arrays)
    except (FileError, RuntimeError, ValueError):  # there is no home folder, or not one text
        return None
    return arrays if intact else None


def write(name: str, arrays: Mapping[str, np.ndarray]) -> bool:
    """Store arrays under `name`; True if that worked.

    A reader sees the old file or the new one, never half of one.
    """
    try:
        target = folder() / f"{name}.npz"
        target.parent.mkdir(parents=True, exist_ok=True)
        entries = {**arrays, DIGESTS: np.array(to_json(digests(arrays)))}
        file = io.BytesIO()
        np.savez_compressed(file, allow_pickle=False, **entries)
        write_atomically(target, file.getvalue())
    except (OSError, RuntimeError):  # RuntimeError: there is no home folder
        return False
    return True
