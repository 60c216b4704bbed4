"""A damaged, foreign or dangerous file is told apart from its first bytes on."""

import io
import os
import pickle
import random
import subprocess
import sys
import tracemalloc
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from steppe.store import manifest as manifest_file
from steppe.store.checkpoint import load, save
from steppe.store.manifest import CheckpointError, read, read_manifest


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
