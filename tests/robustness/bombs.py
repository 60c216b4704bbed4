"""Files that would take memory or time without end: each is refused in one sentence.

The system limits the memory of the process to what it holds after all readers were imported and
MEMORY more, so that a reader which believes a bomb fails of it.
"""

import io
import json
import os
import resource
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from . import mutate
from .readers import OLD, READERS, idx_files, npz_files
from .watch import MEMORY, Find, Watch, attempt, memory

BY_NAME = {reader.name: reader for reader in READERS}
ROOM = 128 * 2**20  # for what the allocator, threads and libraries reserve beside


def sparse(path: Path, start: bytes, size: int) -> None:
    """A file of `size` bytes that takes a few kilobytes of the disk."""
    with open(path, "wb") as file:
        file.write(start)
        file.truncate(size)


def gzipped(start: bytes, megabytes: int) -> bytes:
    """A gzip file of these bytes and so many million zeros; its checksum is wrong."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08" + bytes(6) + b"\xff" + head + block * megabytes + b"\3\0" + bytes(8)


def archive(header: bytes, size: int) -> bytes:
    """An npz file whose first array has this header and so many zeros."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        with packed.open("x_train.npy", "w") as entry:
            entry.write(header)
            for _ in range(size // 2**20):
                entry.write(bytes(2**20))
        for name in ("y_train", "x_test", "y_test"):
            packed.writestr(f"{name}.npy", header)
    return file.getvalue()


def npy(shape: str) -> bytes:
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".encode()
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text


def layers(count: int) -> bytes:
    """DM with so many layers, said in its manifest and borne by nothing."""
    data = (OLD / "optimizers" / "dm.safetensors").read_bytes()
    index, entry, body = mutate.unsealed(data)
    entry["manifest"]["hyper"]["hidden"] = [1] * count
    return mutate.sealed(index, entry, body, Random(0))


def many_tensors(count: int) -> bytes:
    """A checkpoint of so many empty tensors."""
    data = (OLD / "optimizers" / "dm.safetensors").read_bytes()
    _, entry, _ = mutate.unsealed(data)
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    entry["body_sha256"] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    return mutate.sealed({f".t{i}": empty for i in range(count)}, entry, b"", Random(0))


def certificate(**changes: object) -> bytes:
    found = json.loads((OLD / "cert" / "certificate.json").read_bytes())
    text = json.dumps(found | changes).encode()
    return mutate.certificate(text, Tame(), [text])


class Tame(Random):
    """A generator with which `mutate.certificate` only makes the digest again."""

    def random(self) -> float:
        return 0.5

    def choice(self, seq):
        return 1 if seq == (1, 1, 1, 2, 3) else seq[0]


LINE = 2**20
BIG = 400 * 2**20


def bomb(reader: str, data: bytes | Callable[[Path], object]) -> tuple:
    return reader, data if callable(data) else lambda path: path.write_bytes(data)


def bombs() -> dict[str, tuple[str, Callable[[Path], object]]]:
    """What each is, the reader it is for, and how it is put there."""
    head = json.dumps({"steppe": "records", "format": 1}).encode() + b"\n"
    grid = json.dumps({"steppe": "grid", "format": 1, "work": "a:b"}).encode() + b"\n"
    nested, big = b"[" * LINE, archive(npy(f"({BIG},)"), BIG)
    idx, side = idx_files()[0][:4], b"\0\0\4\0"
    found = {
        "3 GB of nothing after a header": bomb(
            "checkpoint in JAX",
            lambda path: sparse(path, (OLD / "optimizers/dm.safetensors").read_bytes(), 3 * 2**30),
        ),
        "a header of 2 GB": bomb(
            "checkpoint in PyTorch",
            lambda path: sparse(path, (2**31).to_bytes(8, "little") + b"{", 3 * 2**30),
        ),
        "30 000 layers": bomb("checkpoint in JAX", layers(30_000)),
        "30 000 layers, PyTorch": bomb("checkpoint in PyTorch", layers(30_000)),
        "16 000 tensors": bomb("steppe info", many_tensors(16_000)),
        "60 000 tensors": bomb("steppe info", many_tensors(60_000)),
        "IDX of 4 GB, sparse": bomb(
            "IDX", lambda path: sparse(path, idx + b"\xff" + bytes(7) + b"\1\0\0\0\1", 2**32)
        ),
        "gzip of 2 GB": bomb("IDX", gzipped(idx_files()[0][:16], 2000)),
        "gzip of 2 GB that says so": bomb("IDX", gzipped(idx + b"\0\0\7\xd0" + side * 2, 2000)),
        "gzip of 2 GB before a header": bomb("IDX", gzipped(b"", 2000)),
        "npz of 400 MB": bomb("npz", big),
        "npy of a petabyte": bomb("npz", archive(npy("(1000, 1000, 1000, 1000, 1000)"), 0)),
        "npz, sparse": bomb("npz", lambda path: sparse(path, npz_files()[0][:-22], 2**32)),
        "Open-L2O of 400 MB": bomb("Open-L2O npz", big),
        "cache of 400 MB": bomb("cache", big),
        "pickle, memo": bomb("CIFAR batch", b"\x80\x02}r\xfe\xff\xff\x7fj\xfe\xff\xff\x7f."),
        "pickle, long": bomb("CIFAR batch", b"\x80\x02\x8b\xff\xff\xff\x7f" + b"\x7f" * 999 + b"."),
        "pickle, tuples that double": bomb(
            "CIFAR batch", b"\x80\x02}U\x04dataK\0" + b"q\0h\0\x86" * 400 + b"sU\x06labels]s."
        ),
        "pickle, sparse": bomb("CIFAR batch", lambda path: sparse(path, b"\x80\x02}", 2**32)),
        "metrics, nested": bomb("metrics", nested + b"\n{}\n"),
        "metrics, one long line": bomb("metrics", lambda path: sparse(path, b'{"step": 1', 2**32)),
        "metrics, long number": bomb("metrics", b'{"step": ' + b"9" * LINE + b"}\n{}\n"),
        "records, nested": bomb("records", head + b'{"a":' * LINE),
        "records, many values": bomb("records", head + b"[" + b"1," * 4 * LINE + b"1]\n"),
        "records, sparse": bomb("records", lambda path: sparse(path, head, 2**32)),
        "grid, nested": bomb("grid", grid + nested + b"\n"),
        "grid, sparse": bomb("grid", lambda path: sparse(path, grid, 2**32)),
        "config, nested": bomb("config.json", b'{"recipe": ' + nested),
        "config, long number": bomb("config.json", b'{"recipe": {}, "a": ' + b"9" * LINE + b"}"),
        "certificate, nested": bomb("certificate", b'{"claims":' * LINE),
        "certificate, n of a billion": bomb("certificate", certificate(n=10**9)),
        "certificate, n of 1e300": bomb("steppe verify", certificate(n=10**300)),
        "curvature, long line": bomb("curvature.json", b'{"rows": [' + b"1," * 2 * LINE + b"1]}"),
        "TOML, deep tables": bomb("TOML", b".".join([b"a"] * 60_000) + b" = 1\n"),
        "TOML, nested": bomb("TOML", b"a = " + b"[" * 100_000),
        "TOML, as many levels as fit": bomb("TOML", b"a = " + b"[\n" * 1000),
        "TOML, as many tables as fit": bomb("TOML", (b".".join([b"a"] * 2000) + b" = 1\n") * 8),
        "YAML, as many levels as fit": bomb("YAML", b"a: " + b"[\n" * 1000),
        "YAML, as many dashes as fit": bomb("YAML", (b"- " * 1999 + b"\n") * 8),
        "TOML, sparse": bomb("TOML", lambda path: sparse(path, b"a = 1\n", 2**32)),
        "YAML, aliases": bomb("YAML", laughs()),
        "YAML, nested": bomb("YAML", b"a: " + b"[" * 100_000),
        "YAML, long number": bomb("YAML", b"a: " + b"9" * 100_000),
    }
    for name in ("checkpoint in JAX", "checkpoint in PyTorch", "certificate", "metrics", "records",
                 "grid", "TOML", "IDX", "npz", "CIFAR batch", "Open-L2O npz"):  # fmt: skip
        found[f"a pipe: {name}"] = bomb(name, os.mkfifo)
        found[f"a folder: {name}"] = bomb(name, Path.mkdir)
        found[f"a link in a circle: {name}"] = bomb(name, lambda path: path.symlink_to(path))
        found[f"a device without end: {name}"] = bomb(
            name, lambda path: path.symlink_to("/dev/zero")
        )
    return found


def laughs() -> bytes:
    """A billion values in ten lines."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for i in range(1, 10):
        lines.append(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]")
    return "\n".join(lines).encode()


def run(folder: Path, watch: Watch) -> Iterator[tuple[str, Find, float]]:
    """Name, outcome and seconds of each; memory is limited from the first on."""
    places, made = {}, bombs()
    for i, (name, (reader, put)) in enumerate(made.items()):
        home = folder / str(i)
        home.mkdir()
        places[name] = home / BY_NAME[reader].file
        put(places[name])
    for name in dict.fromkeys(reader for reader, _ in made.values()):  # import, compile
        home = folder / f"valid {name}"
        home.mkdir()
        reader = BY_NAME[name]
        for data in reader.valid():
            (home / reader.file).write_bytes(data)
            reader.read(home / reader.file)
    resource.setrlimit(resource.RLIMIT_AS, (memory("VmSize") + MEMORY + ROOM,) * 2)
    for name, path in places.items():
        begun = time.process_time()
        find = attempt(BY_NAME[made[name][0]], path, watch)
        yield name, find, round(time.process_time() - begun, 2)
