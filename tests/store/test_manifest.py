"""A damaged, foreign or dangerous file is told apart from its first bytes on."""

import io
import json
import os
import pickle
import random
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from steppe.runs.subject import subject
from steppe.store import manifest as manifest_file
from steppe.store.checkpoint import load, save
from steppe.store.manifest import CheckpointError, read, read_manifest, seal, verify
from steppe.zoo.io import load as load_optimizer


def small_tree():
    return {"w": jnp.arange(3, dtype=jnp.float32), "n": jnp.zeros((), jnp.int32)}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "step-1.safetensors"
    save(path, small_tree(), manifest={"kind": "Small", "by": "é"})  # a JSON escape
    return path


def test_manifest_is_read_without_jax(file):
    code = (
        "import sys; from steppe.store.manifest import read_manifest;"
        f"print(read_manifest({str(file)!r})['kind'], 'jax' in sys.modules)"
    )
    root = Path(manifest_file.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["Small", "False"]


def test_every_single_flipped_bit_is_detected(file):
    good = file.read_bytes()
    for position in range(8 * len(good)):
        bad = bytearray(good)
        bad[position // 8] ^= 1 << position % 8
        file.write_bytes(bad)
        with pytest.raises(CheckpointError):
            read(file)


def test_every_truncation_and_any_addition_is_detected(file):
    good = file.read_bytes()
    for bad in [good[:n] for n in range(len(good))] + [good + b"\0", good + good]:
        file.write_bytes(bad)
        for reader in (read_manifest, lambda path: load(path, small_tree())):
            with pytest.raises(CheckpointError, match="older checkpoint"):
                reader(file)


def test_rubbish_is_refused(tmp_path):
    rng = random.Random(0)
    for size in range(1, 200):
        (tmp_path / "a").write_bytes(rng.randbytes(size))
        with pytest.raises(CheckpointError):
            read_manifest(tmp_path / "a")


@pytest.mark.parametrize("length", [2**24 - 8, 2**30, 2**62, 2**64 - 1], ids=hex)
def test_declared_length_of_header_takes_no_memory(tmp_path, length):
    with open(tmp_path / "a", "wb") as sparse:
        sparse.write(length.to_bytes(8, "little") + b"{")
        sparse.truncate(2**24 - 1 if length < 2**30 else 2**33)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match="should be its header"):
        read_manifest(tmp_path / "a")
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def test_deeply_nested_header_is_damage(tmp_path):
    text = b'{"__metadata__":' + b"[" * 100_000
    (tmp_path / "a").write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(CheckpointError, match="header"):
        read_manifest(tmp_path / "a")


class Bomb:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_in_disguise_is_named_and_never_loaded(tmp_path, protocol):
    for content in (Bomb(str(tmp_path / "boom")), {}, {"w": np.ones(300)}):
        (tmp_path / "a.safetensors").write_bytes(pickle.dumps(content, protocol))
        with pytest.raises(CheckpointError, match="a pickle"):
            load(tmp_path / "a.safetensors", small_tree())
    assert not (tmp_path / "boom").exists()


def npz() -> bytes:
    np.savez(buffer := io.BytesIO(), w=np.ones(3))
    return buffer.getvalue()


def npy() -> bytes:
    np.save(buffer := io.BytesIO(), np.ones(3))
    return buffer.getvalue()


OTHERS = {
    "a zip archive": npz(),
    "a NumPy .npy": npy(),
    "a gzip": b"\x1f\x8b\x08" + bytes(20),
    "an HDF5": b"\x89HDF\r\n\x1a\n" + bytes(20),
    "an empty file": b"",
    "unknown format": b"just some text, longer than a header",
    "without steppe's manifest": safetensors.numpy.save({"w": np.ones(3)}, {"format": "np"}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_formats_are_named(tmp_path, name):
    (tmp_path / "a.safetensors").write_bytes(OTHERS[name])
    with pytest.raises(CheckpointError, match=name):
        load(tmp_path / "a.safetensors", small_tree())


def test_missing_file_folder_and_pipe_are_told_apart(file, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    cases = {"absent": "no file.*step-1.safetensors", ".": "a folder", "pipe": "a pipe"}
    for name, words in cases.items():
        with pytest.raises(CheckpointError, match=words):
            load(tmp_path / name, small_tree())


def sparse(path, name):
    """A file of 2 GB that takes a page on disk, under a checksum that is right for its header."""
    size = 2**31
    index = {name: {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}
    manifest = {"kind": "DM", "hyper": {"hidden": [2]}, "recipe": {"task": "quadratic"}}
    first = seal(index, {"body_sha256": "0" * 64, "format": 1, "keys": {}, "manifest": manifest})
    with open(path, "wb") as file:
        file.write(first)
        file.truncate(len(first) + size)


@pytest.mark.parametrize("name", [".head.b", ".lstm.layers[0].b_gates", "x"])
def test_a_body_that_the_settings_do_not_need_is_not_read(tmp_path, name):
    path = tmp_path / "a.safetensors"
    sparse(path, name)
    torch = pytest.importorskip("steppe.torch")
    readers = (load_optimizer, torch.read_rule, lambda path: subject(str(path), None))
    for reader in readers:
        reader("dm-v1")  # whatever is imported or compiled for the first time
        tracemalloc.start()
        began = time.process_time()
        with pytest.raises(CheckpointError, match="known arrays"):
            reader(path)
        assert time.process_time() - began < 2
        assert tracemalloc.get_traced_memory()[1] < 2**23
        tracemalloc.stop()


def test_what_is_only_verified_is_not_kept(tmp_path):
    save(tmp_path / "a", {"w": np.zeros(2**22, np.float32)}, manifest={})
    tracemalloc.start()
    verify(tmp_path / "a")
    assert tracemalloc.get_traced_memory()[1] < 2**22  # of 2**24 bytes
    tracemalloc.stop()


REFUSED = {
    "a key that is no tensor": (lambda i, e: e["keys"].update(x="fry"), "a PRNG key x"),
    "a float for an offset": (lambda i, e: i["['w']"].update(data_offsets=[0.0, 12]), "found 0.0"),
    "a format that is none": (lambda i, e: e.update(format=0), "from 1 to"),
    "a shape that is none": (lambda i, e: i["['w']"].update(shape=[-3, -1]), "found -3"),
    "a tensor's bytes": (lambda i, e: i["['w']"].update(shape=[4]), "bytes that do not fit"),
    "an unknown dtype": (lambda i, e: i["['w']"].update(dtype="object"), "found 'object'"),
    "more in the entry": (lambda i, e: e.update(more=1), "found the entry 'more'"),
    "a manifest that is a list": (lambda i, e: e.update(manifest=[]), "manifest: found a list"),
    "a name without end": (lambda i, e: i.update({"y" * 2000: i.pop("['w']")}), "a length of 2000"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_header_that_is_wrong_under_a_right_checksum_is_refused(tmp_path, name):
    change, words = REFUSED[name]
    save(path := tmp_path / "a.safetensors", {"w": np.zeros(3, np.float32)}, manifest={})
    raw = path.read_bytes()
    size = 8 + int.from_bytes(raw[:8], "little")
    index = json.loads(raw[8:size])
    entry = json.loads(index.pop("__metadata__")["steppe"])
    del entry["sha256"]
    change(index, entry)
    path.write_bytes(seal(index, entry) + raw[size:])
    for reader in (read_manifest, read, verify, lambda path: load(path, small_tree())):
        with pytest.raises(CheckpointError, match=words) as caught:
            reader(path)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "manifest", [{"n": 10**5000}, {"n": [0] * 2**20}, {"n": "x" * 2**23}], ids=["n", "list", "text"]
)
def test_what_could_not_be_read_is_not_written(tmp_path, manifest):
    with pytest.raises(CheckpointError) as caught:
        save(tmp_path / "a", small_tree(), manifest=manifest)
    assert len(str(caught.value)) < 500 and not list(tmp_path.iterdir())


def test_newer_format_asks_for_an_upgrade(file, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(manifest_file, "FORMAT", 2)
        save(file, small_tree(), manifest={})
    with pytest.raises(CheckpointError, match=r"format 2, expected format 1.*upgrade"):
        read_manifest(file)


def test_messages_are_one_sentence_with_the_file(file):
    file.write_bytes(b"")
    with pytest.raises(CheckpointError) as caught:
        read_manifest(file)
    message = str(caught.value)
    assert message.startswith(f"{file}: found an empty file, expected") and message[-1] == "."
    assert "\n" not in message
