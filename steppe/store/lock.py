"""One writer a folder, on this machine: other threads and processes are refused at once.

The lock is `flock` on the folder itself, so it leaves no file, and the system frees it when the
process that holds it ends, in whatever way. Where there is none (Windows, some network file
systems), only the threads of one process are kept apart. Standard library only.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


class FolderInUseError(ValueError):
    """Another run writes into the folder."""


class _Hold:
    """A folder held by a thread of this process, which may lend it to one training of its own."""

    def __init__(self, lent: bool):
        self.thread, self.lent = threading.get_ident(), lent


_held: dict[tuple[int, int], _Hold] = {}  # by device and inode
_guard = threading.Lock()


@contextlib.contextmanager
def locked(folder: str | os.PathLike, *, borrow: bool = False) -> Iterator[None]:
    """Hold an existing folder; FolderInUseError where somebody else does.

    - `borrow`: where this thread holds the folder already, and has not lent it, that will do
    """
    descriptor = os.open(folder, os.O_RDONLY) if fcntl is not None else None
    try:
        found = os.stat(folder if descriptor is None else descriptor)
        name = (found.st_dev, found.st_ino)
        with _guard:
            hold = _held.get(name)
            lender = hold if borrow and hold is not None and not hold.lent else None
            if lender is not None and lender.thread == threading.get_ident():
                lender.lent = True
            else:
                if hold is not None or not (descriptor is None or _flocked(descriptor)):
                    raise FolderInUseError(
                        f"{Path(folder)} is in use by another run, which writes there; wait for "
                        "it, or give another folder."
                    )
                lender, _held[name] = None, _Hold(lent=borrow)
        try:
            yield
        finally:
            with _guard:
                if lender is not None:
                    lender.lent = False
                else:
                    del _held[name]
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _flocked(descriptor: int) -> bool:
    """Take the system's lock; False where another process has it."""
    assert fcntl is not None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


@contextlib.contextmanager
def exclusive(file: IO) -> Iterator[None]:
    """An open file for oneself, once others that ask for it like this are done with it."""
    if fcntl is None:
        yield
        return
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)
