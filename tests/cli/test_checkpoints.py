"""`steppe info`, `eval` and `convert` on files that are not what they should be."""

import io
import json
import os
import pickle

import jax.random as jr
import numpy as np
import pytest
from cli.runs import contents

from steppe.interop.open_l2o import DM_SHAPES
from steppe.optimizers.learned.dm import DM
from steppe.store import checkpoint
from steppe.zoo.io import load, manifest


class Evil:
    """Unpickling this makes a folder."""

    def __reduce__(self):
        return os.mkdir, ("evil",)


def npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def flipped(data: bytes, place: float) -> bytes:
    changed = bytearray(data)
    changed[int(place * (len(data) - 1))] ^= 4
    return bytes(changed)


DAMAGES = {
    "missing": lambda data: None,
    "empty": lambda data: b"",
    "first half": lambda data: data[: len(data) // 2],
    "last byte missing": lambda data: data[:-1],
    "one byte more": lambda data: data + b"x",
    "first bit": lambda data: flipped(data, 0.0),
    "bit in the header": lambda data: flipped(data, 0.3),
    "bit in the tensors": lambda data: flipped(data, 0.97),
    "pickle": lambda data: pickle.dumps(Evil()),
    "npz": lambda data: npz(a=np.zeros(3)),
    "text": lambda data: b"these are not the weights you are looking for",
}


@pytest.mark.parametrize("command", ["info", "eval", "info --json"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_one_sentence(command, damage, finished, steppe, tmp_path):
    data = DAMAGES[damage]((finished / "model.safetensors").read_bytes())
    path = tmp_path / "model.safetensors"
    if data is not None:
        path.write_bytes(data)
    before = contents(tmp_path)
    answer = steppe(*command.split(), path)
    assert answer.code == 2
    assert answer.out == ""
    assert str(path) in answer.sentence
    assert contents(tmp_path) == before
    assert not (tmp_path / "evil").exists()


def test_info_tells_what_the_file_holds(finished, steppe):
    path = finished / "model.safetensors"
    content = json.loads(steppe("info", path, "--json").out)
    opt = load(path)
    assert content["manifest"] == manifest(path)
    assert content["what"] == "optimizer"
    assert content["tensors"][".lstm.layers[0].w_gates"]["shape"] == list(
        opt.lstm.layers[0].w_gates.shape
    )
    text = steppe("info", path).out
    for word in ("DM", "hidden", "quadratic", ".head.w", "float64[2, 1]"):
        assert word in text
    assert "PRNG key, threefry2x32" in steppe("info", finished / "step-00000012.safetensors").out


def test_an_optimizer_of_an_unknown_kind_is_refused(steppe, tmp_path):
    manifest = {"kind": "Nobody", "hyper": {}}
    checkpoint.save(
        tmp_path / "a.safetensors", {"w": jr.normal(jr.key(0), (2,))}, manifest=manifest
    )
    assert steppe("info", "a.safetensors").code == 0
    answer = steppe("eval", "a.safetensors", "--task", "quadratic", "--quiet", "--cores", "2")
    assert answer.code == 2
    assert "Nobody" in answer.sentence


def test_convert_reads_published_weights(steppe, tmp_path):
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in DM_SHAPES.items()}
    (tmp_path / "dm.npz").write_bytes(npz(**arrays))
    answer = steppe("convert", "dm.npz", "dm.safetensors", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["kind"] == "DM"
    opt = load(tmp_path / "dm.safetensors")
    assert isinstance(opt, DM)
    assert manifest(tmp_path / "dm.safetensors")["recipe"]["converted_from"] == "dm.npz"
    np.testing.assert_array_equal(opt.head.w, arrays["linear/w"])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (npz(a=np.zeros(3)), "has no lstm_1/w_gates"),
        (pickle.dumps(Evil()), "found no npz file"),
        (npz(a=np.zeros(3))[:-30], "found no npz file"),
    ],
    ids=["other arrays", "pickle", "cut"],
)
def test_convert_refuses_what_it_does_not_know(data, said, steppe, tmp_path):
    (tmp_path / "dm.npz").write_bytes(data)
    answer = steppe("convert", "dm.npz", "dm.safetensors")
    assert answer.code == 2
    assert said in answer.sentence
    assert {p.name for p in tmp_path.iterdir()} == {"dm.npz"}
