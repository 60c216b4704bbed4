"""Arrays of an npz file that nobody vouches for.

    with opened("mnist.npz", Source("mnist.npz")) as entries:
        entries.names                  of the arrays
        entries["x_train"]             one array, read now

An npz file is a zip archive of .npy files: a header that is a Python literal, then the numbers.
What the archive and the headers announce is compared with one another and with the file's size
before anything is unpacked. Arrays of objects, which are pickles, are refused.
"""

import contextlib
import io
import math
import os
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from .untrusted import Source, inflated, open_file, shown

DIRECTORY = 2**20  # bytes of an archive's table of contents: thousands of arrays
HEADER = 4096  # bytes of an array's header: type, order and shape
BLOCK = 2**20
KINDS = "biufcSU"  # NumPy's letters for numbers and texts


class Npz:
    """The arrays of an open archive, each read when it is asked for."""

    def __init__(self, archive: zipfile.ZipFile, size: int, source: Source):
        self._archive, self._source = archive, source
        found = archive.infolist()
        self._entries = {entry.filename.removesuffix(".npy"): entry for entry in found}
        self.names = list(self._entries)
        unpacked = sum(entry.file_size for entry in found)
        if unpacked > inflated(size):
            raise source.refuse(f"{unpacked} bytes packed into {size}", f"at most {inflated(size)}")
        for entry in found:
            _check_sizes(entry, size, source)

    def __getitem__(self, name: str) -> np.ndarray:
        entry, source = self._entries[name], self._source.part(shown(name))
        try:
            with self._archive.open(entry) as file:
                dtype, fortran, shape, header = _header(file, source)
                count = math.prod(shape)
                if count * dtype.itemsize != entry.file_size - header:
                    raise source.refuse(
                        f"{entry.file_size - header} bytes of {dtype} for the shape {shown(shape)}",
                        shown(count * dtype.itemsize),
                    )
                data = _bytes(file, entry.file_size - header)
                file.read(1)  # at the end the checksum is compared
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
            raise source.refuse(f"a damaged archive ({shown(str(error))})", "a whole one") from None
        if len(data) != entry.file_size - header:
            raise source.refuse("less than the archive announces", "a whole array")
        array = np.frombuffer(data, dtype) if count else np.zeros(0, dtype)
        return array.reshape(shape, order="F" if fortran else "C")


@contextlib.contextmanager
def opened(path: str | os.PathLike, source: Source) -> Iterator[Npz]:
    """The arrays of an npz file. Raises the error of `source`."""
    with open_file(path, source) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            archive = zipfile.ZipFile(_Careful(file))  # pyright: ignore
        except Exception as error:  # a damaged table of contents raises nearly anything
            words = shown(str(error))
            raise source.refuse(f"no npz file ({words})", "a whole zip archive of arrays") from None
        with archive:
            yield Npz(archive, size, source)


class _Careful:
    """A file from which no large piece is read at once, whatever sizes an archive announces."""

    def __init__(self, file: BinaryIO):
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable
        self._file = file

    def read(self, n: int = -1) -> bytes:
        if n > DIRECTORY:
            raise zipfile.BadZipFile(f"a table of contents of {n} bytes")
        return self._file.read(DIRECTORY if n < 0 else n)

    def close(self) -> None:
        pass


def _check_sizes(entry: zipfile.ZipInfo, size: int, source: Source) -> None:
    """Refuse sizes that contradict one another, and methods that NumPy does not use."""
    packed, unpacked = entry.compress_size, entry.file_size
    stored = entry.compress_type == zipfile.ZIP_STORED
    source = source.part(shown(entry.filename))
    if not stored and entry.compress_type != zipfile.ZIP_DEFLATED:
        raise source.refuse(f"the compression {entry.compress_type}", "none or deflate")
    if packed > size or (unpacked != packed if stored else unpacked > inflated(packed)):
        raise source.refuse(f"{unpacked} bytes packed into {packed} of {size}", "sizes that agree")


def _header(file, source: Source) -> tuple[np.dtype, bool, tuple[int, ...], int]:
    """Type, order, shape, and the bytes that say so."""
    start = file.read(8)
    wide = 2 if start[6:7] == b"\1" else 4
    if len(start) < 8 or start[:6] != b"\x93NUMPY" or start[6:] not in (b"\1\0", b"\2\0"):
        raise source.refuse("a file that is no .npy array", "an array")
    length = file.read(wide)
    size = int.from_bytes(length, "little")
    if size > HEADER:
        raise source.refuse(f"a header of {size} bytes", f"at most {HEADER}")
    text = io.BytesIO(length + file.read(size))
    read = np.lib.format.read_array_header_1_0 if wide == 2 else np.lib.format.read_array_header_2_0
    try:
        shape, fortran, dtype = read(text)
    except Exception as error:  # of the literal, or of what NumPy makes of it
        raise source.refuse(f"a header that is none ({shown(str(error))})", "one") from None
    if dtype.kind not in KINDS or dtype.itemsize == 0:
        raise source.refuse(f"an array of {shown(str(dtype))}", "plain numbers")
    if any(type(n) is not int or n < 0 for n in shape) or len(shape) > 32:
        raise source.refuse("a shape that no array has", "one")
    return dtype, fortran, shape, 8 + wide + size


def _bytes(file, size: int) -> bytearray:
    """So many bytes, or less if there are no more; memory grows with what is there."""
    data = bytearray()
    while len(data) < size and (block := file.read(min(BLOCK, size - len(data)))):
        data += block
    return data
