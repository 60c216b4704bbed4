"""Files of formulas that are not what they should be: refused alike in JAX and in PyTorch."""

import hashlib
import math
import time

import numpy as np
import pytest

import steppe
from steppe.store.manifest import CheckpointError, read_header, seal
from steppe.zoo import build

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'steppe[torch]'")

from steppe.torch import LearnedOptimizer, read_rule  # noqa: E402

GOOD = {"formula": "c0 * tanh(c1 * mn95)", "coefficients": [-0.01, 1.3]}
HOSTILE = {  # settings → words of the sentence
    "long": ({"formula": "g" * 10**6}, "20000"),
    "deep": ({"formula": "(" * 9000 + "g" + ")" * 9000}, "64 deep"),
    "signs": ({"formula": "-" * 15_000 + "g"}, "64 deep"),
    "lag": ({"formula": "c0 * g[1000000000] + c1"}, "lag"),
    "large": (
        {"formula": "c0*c1*" + "*".join(f"m{k}[100]" for k in range(11, 40))},
        "1024 at most",
    ),
    "input": ({"formula": "c0 * m + c1"}, "no input 'm'"),
    "call": ({"formula": "__import__('os').system('touch x')"}, "found '_'"),
    "number": ({"formula": 3}, "words"),
    "list": ({"formula": ["g"]}, "words"),
    "nothing": ({"formula": None}, "words"),
    "none": ({"coefficients": []}, "0 numbers"),
    "missing": ({"coefficients": None}, "no numbers"),
    "few": ({"coefficients": [0.1]}, "1 numbers"),
    "many": ({"coefficients": [0.1] * 5000}, "1000"),
    "gap": ({"formula": "c1 * g", "coefficients": [0.1]}, "c1 is there but c0 is not"),
    "nan": ({"coefficients": [math.nan, 1.0]}, "a number"),
    "inf": ({"coefficients": [math.inf, 1.0]}, "a number"),
    "huge": ({"coefficients": [10**400, 1.0]}, "number"),
    "words": ({"coefficients": ["1", "2"]}, "a number"),
    "table": ({"coefficients": {"c0": 1.0}}, "a list"),
    "more": ({"theta": 3}, "the entry 'theta'"),
}


def forged(path, hyper, shape=(2,)):
    """A checkpoint with these settings, and θ of this shape, under checksums that are right."""
    steppe.save(path, build("symbolic", formula=GOOD["formula"], coefficients=(-0.01, 1.3)))
    header = read_header(path)
    body = np.zeros(shape, np.float32).tobytes()
    index = {".theta": {"dtype": "F32", "shape": list(shape), "data_offsets": [0, len(body)]}}
    entry = {
        "body_sha256": hashlib.sha256(body).hexdigest(), "format": 1, "keys": {},
        "manifest": header.manifest | {"hyper": GOOD | hyper},
    }  # fmt: skip
    path.write_bytes(seal(index, entry) + body)
    return path


def refused(read, path):
    with pytest.raises(CheckpointError) as caught:
        read(path)
    said = str(caught.value)
    assert said.isprintable() and len(said) < 600, said
    return said


def test_the_forge_makes_good_files_too(tmp_path):
    path = forged(tmp_path / "good", {})
    assert steppe.load(path).coefficients == (-0.01, 1.3)
    p = torch.nn.Parameter(torch.zeros(3))
    p.grad = torch.ones(3)
    LearnedOptimizer([p], path).step()
    np.testing.assert_allclose(p.detach(), -0.01 * np.tanh(1.3), rtol=1e-5)


def test_hostile_settings_are_refused_in_the_same_words(tmp_path):
    start = time.process_time()
    for name, (hyper, words) in HOSTILE.items():
        path = forged(tmp_path / name, hyper)
        ours, theirs = refused(steppe.load, path), refused(read_rule, path)
        assert words in ours, (name, ours)
        assert ours == theirs, name
    assert time.process_time() - start < 20


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 1), (10**6,), (0,)])
def test_weights_of_another_shape_are_refused_before_they_are_read(shape, tmp_path):
    path = forged(tmp_path / "opt", {}, shape)
    assert "float32[2]" in refused(steppe.load, path)
    assert refused(steppe.load, path) == refused(read_rule, path)


TEXT = "-0.05 * tanh(1.3 * mn95[1]) - 0.02 * gn95 * abs(m5) + 0.01 * sign5[2]"


def run(text, *, block, flat=False, dtype=torch.float64, steps=6, **group):
    """Parameters after steps in which gradients are missing now and then."""
    from steppe.torch.symbolic import SymbolicRule

    def strided(p):
        """The same numbers, not side by side in memory."""
        return torch.stack([p, p], -1)[..., 0] if flat else p

    shapes = ((40,), (3,), (), (7, 5), (0,), (2,))
    wave = torch.Generator().manual_seed(0)
    start = [torch.randn(shape, generator=wave, dtype=torch.float64) for shape in shapes]
    params = [torch.nn.Parameter(strided(x.to(dtype))) for x in start]
    rule = SymbolicRule({".theta": torch.zeros(4)}, {"formula": text, "coefficients": None})
    groups = [{"params": params[:3]}, {"params": params[3:], **group}]
    opt = LearnedOptimizer(groups, rule, block=block)
    for step in range(steps):
        for k, p in enumerate(params):
            g = torch.randn(p.shape, generator=wave, dtype=torch.float64)
            p.grad = None if (step + k) % 4 == 0 else strided(g.to(dtype))
        opt.step()
    assert all(p.is_contiguous() for p in params) or flat
    states = [x for p in params for x in opt.state[p].values()]
    return torch.cat([x.detach().double().ravel() for x in (*params, *states)])


def test_chunks_blocks_and_strides_change_nothing():
    options = {"lr": 0.5, "weight_decay": 0.1, "maximize": True}
    whole = run(TEXT, block=16384, **options)
    assert bool(whole.isfinite().all()) and whole.abs().max() > 1
    for block, flat in ((1, False), (2, False), (1, True), (16384, True)):
        found = run(TEXT, block=block, flat=flat, **options)
        np.testing.assert_allclose(found, whole, rtol=1e-12, atol=1e-14, err_msg=f"{block} {flat}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_narrow_parameters_take_the_same_steps_to_their_precision(dtype):
    wide, narrow = run(TEXT, block=1), run(TEXT, block=2, dtype=dtype)
    tolerance = 1e-4 if dtype == torch.float32 else 0.1
    np.testing.assert_allclose(narrow, wide, rtol=tolerance, atol=tolerance)
