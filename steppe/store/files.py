"""Files that are complete whenever they are there. Standard library only."""

import contextlib
import os
import secrets
import stat
from pathlib import Path


def write_atomically(path: str | os.PathLike, *parts: bytes | str) -> None:
    """Put these bytes (text in UTF-8) at `path`, or raise OSError and leave what was there.

    A reader sees the old file or the new one, never half of one, also after a power cut.
    The new file has the access rights of the old one, else those that `open` gives.
    """
    path = Path(path)
    # In the same folder, since a rename across file systems copies. The name does not contain
    # the other, so that one of 255 bytes, the longest there is, can be written too.
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
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
