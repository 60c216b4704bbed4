"""The header of a checkpoint: all that can be known of one without JAX.

A checkpoint is a safetensors file:

    n (8 bytes, little endian) | header (n bytes of JSON) | the tensors' bytes, no gaps
    header = {"__metadata__": {"steppe": entry}, name: {"dtype", "shape", "data_offsets"}, …}
    entry  = {"sha256", "body_sha256", "format", "keys", "manifest"}, itself JSON text

`body_sha256` covers everything after the header. `sha256` covers the header, read with its
own 64 digits set to 0, hence names, dtypes, shapes, manifest and `body_sha256`: every bit of
the file counts, and the manifest can be trusted without reading the tensors.

JAX and PyTorch read a checkpoint by the same steps: `read_header`, what the caller expects of it
(`fit.check_fit`), and only then the tensors. The standard library is enough, every number and name
passes through `untrusted`, and nothing found in a file is ever executed. The header is read by hand
because `sha256` covers its raw bytes, which the safetensors package does not give.
Format: https://huggingface.co/docs/safetensors
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import math
import os
import warnings
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from .hints import printable
from .untrusted import (
    Between,
    FileError,
    Length,
    OneOf,
    Source,
    checked,
    checked_table,
    open_file,
    parse_json,
    shown,
)

FORMAT = 1
STEPS = "step-*.safetensors"  # names of the checkpoints of a run
HEADER_LIMIT = 2**23  # bytes
VALUES = 2**17  # of JSON in a header, about eight a tensor
WHOLE = 2**1024  # whole numbers of a manifest are smaller in size, as those of a float are
CHUNK = 2**20  # bytes read at once where they are not kept
LISTED = 8  # names or mismatches spelled out in one message
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

DAMAGED = "it is damaged: restore a copy or resume from an older checkpoint"
SAVED = (
    "read it with the steppe that wrote it, register the class if it is yours, or give what was "
    "renamed its old name back"
)
EXPORT = "export its arrays with the program that wrote it and store them with steppe's `save`"


class CheckpointError(FileError):
    """A checkpoint cannot be written, read, or fitted to the expected tree."""


def complaint(path: str | os.PathLike, found: str, expected: str, todo: str) -> FileError:
    """The one sentence all errors about a checkpoint are made of."""
    return Source(os.fspath(path), todo, CheckpointError).refuse(found, expected)


Name = Annotated[str, Length(1024)]
Digest = Annotated[str, Length(64, 64)]


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


ENTRY = {
    "sha256": Digest,
    "body_sha256": Digest,
    "format": Annotated[int, Between(1, 2**31)],
    "keys": dict[Name, Annotated[str, Length(80)]],
    "manifest": dict,
}


@dataclasses.dataclass(frozen=True)
class Entry:
    """A tensor as the header has it."""

    dtype: Annotated[str, OneOf(DTYPES)]
    shape: Annotated[tuple[Annotated[int, Between(0, 2**48)], ...], Length(32)]
    data_offsets: tuple[Annotated[int, Between(0, 2**63)], Annotated[int, Between(0, 2**63)]]

    def __post_init__(self):
        start, stop = self.data_offsets
        if stop - start != DTYPES[self.dtype][1] * math.prod(self.shape):
            raise ValueError("bytes that do not fit its shape")

    @property
    def tensor(self) -> Tensor:
        return Tensor(DTYPES[self.dtype][0], self.shape, *self.data_offsets)


def read_manifest(path: str | os.PathLike) -> dict:
    """The manifest of a checkpoint, checked; the tensors are not read."""
    return read_header(path).manifest


def read_header(path: str | os.PathLike) -> Header:
    """Names, dtypes, shapes and manifest, checked; the tensors are not read."""
    with _open(path) as file:
        return _header(file, path)


def verify(
    path: str | os.PathLike, expect: Callable[[Header], object] = lambda header: None
) -> Header:
    """The header, with every bit of the file checked; the tensors are not kept.

    `expect` is called with the header, as in `read`.
    """
    with _open(path) as file:
        header, digest = _header(file, path), hashlib.sha256()
        expect(header)
        while chunk := file.read(CHUNK):
            digest.update(chunk)
        _check_body(path, header, digest.hexdigest())
        return header


def read(
    path: str | os.PathLike, expect: Callable[[Header], object] = lambda header: None
) -> tuple[Header, dict[str, bytearray]]:
    """Header and the bytes of each tensor, with every bit of the file checked.

    `expect` is called with the header and raises if it is not the one wanted, before memory is
    taken for the tensors.
    """
    with _open(path) as file:
        header, digest, body = _header(file, path), hashlib.sha256(), {}
        expect(header)
        for name, tensor in _in_order(header.tensors):
            try:
                body[name] = bytearray(tensor.stop - tensor.start)
            except (MemoryError, OverflowError):
                size = f"{tensor.stop - tensor.start} bytes of {name}"
                raise complaint(
                    path, size, "what fits the memory", "use a larger machine"
                ) from None
            file.readinto(body[name])
            digest.update(body[name])
        _check_body(path, header, digest.hexdigest())
        return header, body


def described(header: Header, path: str | os.PathLike) -> dict[str, Any]:
    """{"kind": …, "hyper": …} of the optimizer in a file. CheckpointError if it holds none."""
    found = {part: header.manifest[part] for part in KIND if part in header.manifest}
    if len(found) < len(KIND):
        raise CheckpointError(
            f"{os.fspath(path)} is a checkpoint, but not of an optimizer: its manifest does not "
            "say which one; give model.safetensors of a finished run, or what `steppe.save` "
            "wrote."
        )
    source = Source(os.fspath(path), "give what `steppe.save` wrote", CheckpointError)
    return checked_table(found, KIND, source, "manifest")


KIND = {"kind": Annotated[str, Length(80)], "hyper": Annotated[dict, Length(1000)]}


def warn_of(path: str | os.PathLike, names: Collection[str]) -> None:
    """Warn of weights that are not finite, by the names of their tensors; of none say nothing."""
    if names:
        warnings.warn(
            printable(f"{os.fspath(path)}: {some(list(names))} hold NaN or infinity, and so will ")
            + "every step of this optimizer; train it again.",
            stacklevel=3,
        )


def pack(tensors: Mapping[str, Tensor], keys: dict, manifest: object, body_sha256: str) -> bytes:
    """The first bytes of a checkpoint, up to where the tensors begin."""
    codes = {name: code for code, (name, _) in DTYPES.items()}
    index = {
        name: {"dtype": codes[dtype], "shape": shape, "data_offsets": [start, stop]}
        for name, (dtype, shape, start, stop) in tensors.items()
    }
    return seal(
        index,
        {"body_sha256": body_sha256, "format": FORMAT, "keys": keys, "manifest": manifest},
    )


def seal(index: Mapping[str, object], entry: Mapping[str, object]) -> bytes:
    """The first bytes of a file with this header, right or wrong, under a checksum that is right.

    - `index`: name → what the header says of the tensor
    - `entry`: as above, without `sha256`
    """
    metadata = {"steppe": json.dumps({"sha256": BLANK, **entry})}
    text = json.dumps({"__metadata__": metadata, **index}, separators=(",", ":")).encode("ascii")
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
    if isinstance(value, int) and not -WHOLE < value < WHOLE:
        raise CheckpointError(
            f"{where} is {shown(value)}, but a checkpoint holds 1024 bits at most: store it as a "
            "string."
        )
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


def _damaged(path, found: str) -> FileError:
    return complaint(path, found, "an intact steppe checkpoint", DAMAGED)


def _open(path) -> io.BufferedReader:
    if os.path.isdir(path):
        raise complaint(path, "a folder", "one file", "name a checkpoint inside it")
    todo = "check its name and permissions"
    with contextlib.suppress(OSError, ValueError):
        if not os.path.exists(path):
            here = sorted(p.name for p in Path(path).parent.glob("*.safetensors"))
            has = f"its folder has {some(here)}" if here else "its folder has no checkpoint"
            todo = f"check the name ({has})"
    return open_file(path, Source(os.fspath(path), todo, CheckpointError))


def _header(file: io.BufferedReader, path) -> Header:
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
    header = parse_header(file.read(length), Source(os.fspath(path), DAMAGED, CheckpointError))
    whole = 8 + length + max((tensor.stop for tensor in header.tensors.values()), default=0)
    if size != whole:
        raise _damaged(path, f"{size} bytes where its header announces {whole}")
    return header


def parse_header(text: bytes, source: Source) -> Header:
    """The header of a checkpoint from its bytes, after their number, with all it says checked."""
    if len(text) > HEADER_LIMIT:
        raise source.refuse(f"a header of {len(text)} bytes", f"at most {HEADER_LIMIT}")
    within = source.part("header")
    index = checked(parse_json(text, within, values=VALUES), dict[Name, Any], within)
    metadata = checked(index.pop("__metadata__", {}), dict[str, str], within, "__metadata__")
    if "steppe" not in metadata:
        found = "a safetensors file without steppe's manifest"
        raise source._replace(remedy=EXPORT).refuse(found, "one written by steppe")
    entry = parse_json(metadata["steppe"], within, values=VALUES, whole=WHOLE, nonfinite=True)
    _check_format(checked(entry, dict, within).get("format"), source)
    entry = checked_table(entry, ENTRY, within, needed=ENTRY)
    _check_sha256(text, entry["sha256"], within)
    tensors = tensors_of(index, within)
    for name in entry["keys"]:
        if name not in tensors:
            raise within.refuse(f"a PRNG key {name}", "the name of a tensor")
    return Header(tensors, entry["keys"], entry["manifest"], entry["body_sha256"])


def tensors_of(index: Mapping[str, Any], source: Source) -> dict[str, Tensor]:
    """The tensors that the entries of a header announce, if they lie side by side."""
    entries = checked(index, dict[Name, Entry], source)
    tensors = {name: entry.tensor for name, entry in entries.items()}
    end = 0
    for name, tensor in _in_order(tensors):
        if tensor.start != end:
            raise source.refuse(f"a gap or an overlap before {name}", "tensors side by side")
        end = tensor.stop
    return tensors


def _not_safetensors(file, path, size: int, opening: bytes, length: int) -> FileError:
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


def _check_format(version: object, source: Source) -> None:
    if type(version) is int and version > FORMAT:
        todo = "it was written by a newer steppe: upgrade this one"
        found = f"a checkpoint of format {shown(version)}"
        raise source._replace(remedy=todo).refuse(found, f"format {FORMAT} at most")


def _check_sha256(text: bytes, digest: str, source: Source) -> None:
    raw = digest.encode("ascii", "replace")
    blanked = text.replace(raw, BLANK.encode())
    if text.count(raw) != 1 or hashlib.sha256(blanked).hexdigest() != digest:
        raise source.refuse("a checksum that does not match", "the one of an intact checkpoint")


def _check_body(path, header: Header, digest: str) -> None:
    if digest != header.body_sha256:
        raise _damaged(path, "tensors that do not match their checksum")


def _in_order(tensors: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    """As their bytes lie in the file."""
    return sorted(tensors.items(), key=lambda item: (item[1].start, item[1].stop))


def some(words: list[str]) -> str:
    more = f" and {len(words) - LISTED} more" if len(words) > LISTED else ""
    return ", ".join(word[:200] for word in words[:LISTED]) + more
