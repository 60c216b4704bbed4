"""The header of a checkpoint: all that can be known of one without JAX.

A checkpoint is a safetensors file:

    n (8 bytes, little endian) | header (n bytes of JSON) | the tensors' bytes, no gaps
    header = {"__metadata__": {"steppe": entry}, name: {"dtype", "shape", "data_offsets"}, …}
    entry  = {"sha256", "body_sha256", "format", "keys", "manifest"}, itself JSON text

`body_sha256` covers everything after the header. `sha256` covers the header, read with its
own 64 digits set to 0, hence names, dtypes, shapes, manifest and `body_sha256`: every bit of
the file counts, and the manifest can be trusted without reading the tensors.

Only the standard library is imported, and nothing found in a file is ever executed. The header is
read by hand because `sha256` covers its raw bytes, which the safetensors package does not give.
Format: https://huggingface.co/docs/safetensors (header limit: 100 MB, as there).
"""

import hashlib
import json
import math
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

FORMAT = 1
STEPS = "step-*.safetensors"  # names of the checkpoints of a run
HEADER_LIMIT = 100_000_000  # bytes, the limit of the safetensors format
BLANK = "0" * 64  # stands for `sha256` while it is being computed

# safetensors' name → (NumPy's name, bytes per number)
DTYPES = {
    "BOOL": ("bool", 1),
    "I8": ("int8", 1),
    "U8": ("uint8", 1),
    "I16": ("int16", 2),
    "U16": ("uint16", 2),
    "I32": ("int32", 4),
    "U32": ("uint32", 4),
    "I64": ("int64", 8),
    "U64": ("uint64", 8),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "F32": ("float32", 4),
    "F64": ("float64", 8),
    "C64": ("complex64", 8),
}

OTHER_FORMATS = {  # first bytes → what they mean
    b"PK": "a zip archive (NumPy .npz or PyTorch .pt)",
    b"\x93NUMPY": "a NumPy .npy file",
    b"\x89HDF": "an HDF5 file",
    b"\x1f\x8b": "a gzip archive",
}

RESTORE = "restore a copy or resume from an older checkpoint"
EXPORT = "export its arrays with the program that wrote it and store them with steppe's `save`"


class CheckpointError(ValueError):
    """A checkpoint cannot be written, read, or fitted to the expected tree."""


def complaint(path: str | os.PathLike, found: str, expected: str, todo: str) -> CheckpointError:
    """The one sentence all errors about a file are made of."""
    return CheckpointError(f"{os.fspath(path)}: found {found}, expected {expected}; {todo}.")


class Tensor(NamedTuple):
    dtype: str  # NumPy's name
    shape: tuple[int, ...]
    start: int  # first byte, counted from the end of the header
    stop: int


class Header(NamedTuple):
    tensors: dict[str, Tensor]
    keys: dict[str, str]  # tensor name → PRNG implementation, for typed keys
    manifest: dict
    body_sha256: str


def read_manifest(path: str | os.PathLike) -> dict:
    """The manifest of a checkpoint, checked; the tensors are not read."""
    return read_header(path).manifest


def read_header(path: str | os.PathLike) -> Header:
    """Names, dtypes, shapes and manifest, checked; the tensors are not read."""
    with _open(path) as file:
        return _header(file, path)


def described(header: Header, path: str | os.PathLike) -> dict:
    """{"kind": …, "hyper": …} of the optimizer in a file. CheckpointError if it holds none."""
    try:
        return {part: header.manifest[part] for part in ("kind", "hyper")}
    except (KeyError, TypeError):
        raise CheckpointError(
            f"{os.fspath(path)} is a checkpoint, but not of an optimizer: its manifest does not "
            "say which one; give model.safetensors of a finished run, or what `steppe.save` "
            "wrote."
        ) from None


def read(path: str | os.PathLike) -> tuple[Header, bytes]:
    """Header and tensor bytes, with every bit of the file checked."""
    with _open(path) as file:
        header = _header(file, path)
        body = file.read()
    if hashlib.sha256(body).hexdigest() != header.body_sha256:
        raise _damaged(path, "tensors that do not match their checksum")
    return header, body


def pack(tensors: Mapping[str, Tensor], keys: dict, manifest: object, body_sha256: str) -> bytes:
    """The first bytes of a checkpoint, up to where the tensors begin."""
    entry = {
        "sha256": BLANK,
        "body_sha256": body_sha256,
        "format": FORMAT,
        "keys": keys,
        "manifest": manifest,
    }
    codes = {name: code for code, (name, _) in DTYPES.items()}
    header: dict[str, dict] = {"__metadata__": {"steppe": json.dumps(entry)}}
    for name, (dtype, shape, start, stop) in tensors.items():
        header[name] = {"dtype": codes[dtype], "shape": shape, "data_offsets": [start, stop]}
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of 8 bytes
    digest = hashlib.sha256(text).hexdigest()
    # The first blank is `sha256`: it opens the entry, which opens the header.
    text = text.replace(BLANK.encode(), digest.encode(), 1)
    return len(text).to_bytes(8, "little") + text


def plain(value: object, where: str, special: Callable[[object, str], object]) -> object:
    """Copy `value` into dicts, lists, strings, numbers, booleans and None.

    Anything else is handed to `special(part, its place)`. Non-finite floats
    pass: Python's JSON writes them as NaN and Infinity.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [plain(part, f"{where}[{i}]", special) for i, part in enumerate(value)]
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise CheckpointError(
                    f"{where} has the key {name!r} of type {type(name).__name__}, but JSON has "
                    "string keys only: turn it into a string."
                )
        return {name: plain(part, f"{where}[{name!r}]", special) for name, part in value.items()}
    return special(value, where)


def _damaged(path, found: str) -> CheckpointError:
    return complaint(path, found, "an intact steppe checkpoint", f"it is damaged: {RESTORE}")


def _open(path) -> BinaryIO:
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise complaint(path, "a folder", "one file", "name a checkpoint inside it")
        if not stat.S_ISREG(mode):
            raise complaint(path, "a pipe or device", "a file on disk", "copy it to disk first")
        return open(path, "rb")
    except FileNotFoundError as error:
        here = sorted(p.name for p in Path(path).parent.glob("*.safetensors"))
        there = f"its folder has {', '.join(here[:8])}" if here else "its folder has no checkpoint"
        raise complaint(path, "no file", "a checkpoint", f"check the name ({there})") from error
    except OSError as error:
        reason = f"a file that cannot be read ({error.strerror})"
        raise complaint(path, reason, "a checkpoint", "check its permissions") from error


def _header(file: BinaryIO, path) -> Header:
    """Read and check everything before the tensors; leave `file` where they begin."""
    size = os.fstat(file.fileno()).st_size
    if size == 0:
        raise _damaged(path, "an empty file")
    opening = file.read(16)
    length = int.from_bytes(opening[:8], "little")
    # The length is believed only after this: no memory is taken on its word.
    if opening[8:9] != b"{" or length > min(size - 8, HEADER_LIMIT):
        raise _not_safetensors(file, path, size, opening, length)
    file.seek(8)
    text = file.read(length)
    try:
        index = json.loads(text)
        metadata = index.pop("__metadata__", {})
        if "steppe" not in metadata:
            found = "a safetensors file without steppe's manifest"
            raise complaint(path, found, "one written by steppe", EXPORT)
        entry = json.loads(metadata["steppe"])
        _check_format(entry["format"], path)
        _check_sha256(text, entry["sha256"])
        tensors = {name: _tensor(**fields) for name, fields in index.items()}
        body = _check_gapless(tensors)
        header = Header(tensors, entry["keys"], entry["manifest"], entry["body_sha256"])
    except CheckpointError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _damaged(path, f"a header that does not hold together ({error})") from error
    if size != 8 + length + body:
        raise _damaged(path, f"{size} bytes where its header announces {8 + length + body}")
    return header


def _not_safetensors(file, path, size: int, opening: bytes, length: int) -> CheckpointError:
    """Say what the file is instead, from its first and last bytes alone."""
    cut = _damaged(path, f"{size} bytes of which {length} should be its header")
    if opening[8:9] == b"{":
        return cut
    for magic, words in OTHER_FORMATS.items():
        if opening.startswith(magic):
            return complaint(path, words, "a steppe checkpoint", EXPORT)
    file.seek(-1, os.SEEK_END)
    # Pickles end in the STOP opcode. From protocol 2 on they begin with PROTO and its number,
    # before that with the opcode of a container or a class.
    proto = opening[:1] == b"\x80" and opening[1:2] <= b"\x05"
    if file.read(1) == b"." and (proto or opening[:1] in b"(c]}"):
        todo = "it was not loaded, because loading a pickle can run any code: " + EXPORT
        return complaint(path, "a pickle", "a steppe checkpoint", todo)
    unknown = complaint(path, "a file of an unknown format", "a steppe checkpoint", EXPORT)
    return cut if size < 16 else unknown


def _check_format(version: object, path) -> None:
    if type(version) is not int or version < 1:
        raise ValueError(f"format {version!r}")
    if version > FORMAT:
        found = f"a checkpoint of format {version}"
        todo = "it was written by a newer steppe: upgrade this one"
        raise complaint(path, found, f"format {FORMAT} at most", todo)


def _check_sha256(text: bytes, digest: str) -> None:
    if len(digest) != 64 or text.count(digest.encode()) != 1:
        raise ValueError("checksum missing")
    blanked = text.replace(digest.encode(), BLANK.encode())
    if hashlib.sha256(blanked).hexdigest() != digest:
        raise ValueError("checksum does not match")


def _tensor(dtype: str, shape: list[int], data_offsets: list[int]) -> Tensor:
    name, width = DTYPES[dtype]
    start, stop = data_offsets
    if any(type(n) is not int or n < 0 for n in (*shape, start)):
        raise ValueError("negative or fractional size")
    if stop - start != width * math.prod(shape):
        raise ValueError("a tensor's bytes do not fit its shape")
    return Tensor(name, tuple(shape), start, stop)


def _check_gapless(tensors: Mapping[str, Tensor]) -> int:
    """The number of bytes the tensors fill, from 0 on and without gap or overlap."""
    end = 0
    for _, _, start, stop in sorted(tensors.values(), key=lambda t: (t.start, t.stop)):
        if start != end:
            raise ValueError("gap or overlap between tensors")
        end = stop
    return end
