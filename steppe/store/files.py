"""Files that are complete whenever they are there. Standard library only."""

import contextlib
import json
import math
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")


def write_atomically(path: str | os.PathLike, *parts: bytes | str) -> None:
    """Put these bytes (text in UTF-8) at `path`, or raise OSError and leave what was there.

    A reader sees the old file or the new one, never half of one, also after a power cut.
    The new file has the access rights of the old one, else those that `open` gives. Where `path`
    is a symbolic link, the file that it names is replaced.
    """
    check_name(path)
    path = Path(os.path.realpath(path))  # what a link names, so that the link stays one
    temporary = temporary_beside(path)
    try:
        with open(temporary, "xb") as file:
            file.writelines(part.encode() if isinstance(part, str) else part for part in parts)
            with contextlib.suppress(OSError):  # nothing to keep, or not ours to change
                os.chmod(temporary, stat.S_IMODE(os.stat(path).st_mode))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def check_name(path: str | os.PathLike) -> None:
    """Raise ValueError for what no file or folder can be called: "", NUL, half a character."""
    text = os.fspath(path)
    try:
        usable = bool(text) and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        usable = False
    if not usable:
        raise ValueError(f"{text!r} is no name that a file or folder can have; give another.")


def temporary_beside(path: Path) -> Path:
    """A new name in the same folder, since a rename across file systems copies.

    It does not contain the other name: one of 255 bytes, the longest there is, can be written too.
    """
    return path.with_name(f".{secrets.token_hex(8)}.tmp")


def sweep(folder: Path) -> None:
    """Remove the temporary files of processes that were killed while they wrote into a folder."""
    for left in folder.glob(".*.tmp"):
        if TEMPORARY.fullmatch(left.name):
            left.unlink(missing_ok=True)


@contextlib.contextmanager
def made(folder: Path) -> Iterator[None]:
    """A folder, made with its parents; at the end those that are new and empty go again."""
    new = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        with contextlib.suppress(OSError):  # of the first that holds something
            for place in new:
                place.rmdir()


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the file system can."""
    if os.name != "posix":
        return
    # The new file is complete and in place, and some network file systems refuse this.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def to_json(content: object, **how: Any) -> str:
    """JSON that every reader takes: null stands for NaN and infinities.

    - `how`: keyword arguments of `json.dumps`

    >>> to_json({"loss": float("nan")})
    '{"loss": null}'
    """
    return json.dumps(finite(content), allow_nan=False, **how)


def finite(value: Any) -> Any:
    """The same with None for NaN and infinities, which JSON does not know."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(name): finite(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(part) for part in value]
    return value
