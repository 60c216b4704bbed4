"""A file with any name or number changed, its checksums made right: one sentence, or a load.

The same verdict in JAX and in PyTorch, in the same words, at once and without memory.
"""

import copy
import hashlib
import json
import math
import random
import resource
import time
import warnings

import pytest
from examples_optimizers import OPTIMIZERS

from steppe.cli.info import describe, text
from steppe.store.manifest import CheckpointError, read_header, seal
from steppe.zoo.io import load, save
from steppe.zoo.registry import classes

VALUES = [
    *(None, True, False, 0, -0.0, 1, -1, 2, 3.5, 1e308, -1e-320, math.inf, -math.inf, math.nan),
    *(2**31, 2**40, -(2**63), 2**63, 2**70, 10**400, "", "adam", "__class__", "a.b", "a\nb", "\0"),
    *("\ud800", "x" * 3000, [], [[]], [1], [2, 2], [1] * 70, ["a"], {}, {"a": 1}, [None, 1e9]),
    {"kind": "DM", "hyper": {"hidden": [65536] * 60}},
    {"kind": "SAM", "hyper": {"base": {"kind": "DM", "hyper": {"hidden": [65536, 65536]}}}},
    {"kind": "FromOptax", "hyper": {"make": "os.system", "settings": [], "hyper": {}}},
]
SECONDS, BYTES = 2.0, 256 * 2**20


def taken_apart(path):
    """(index, entry, body) of a checkpoint, as plain JSON."""
    raw = path.read_bytes()
    size = 8 + int.from_bytes(raw[:8], "little")
    index = json.loads(raw[8:size])
    entry = json.loads(index.pop("__metadata__")["steppe"])
    del entry["sha256"]
    return index, entry, raw[size:]


def put_together(path, index, entry, body):
    path.write_bytes(seal(index, entry) + body)


def places(part, at=()):
    """The paths to every value in a document."""
    yield at
    inner = dict(enumerate(part)) if isinstance(part, list) else part
    for step, value in inner.items() if isinstance(inner, dict) else ():
        yield from places(value, (*at, step))


def mutated(document, rng):
    """The document with one value replaced, taken away, doubled, wrapped or under another name."""
    document = copy.deepcopy(document)
    *way, last = rng.choice([at for at in places(document) if at])
    holder = document
    for step in way:
        holder = holder[step]
    how = rng.random()
    if how < 0.7:
        holder[last] = copy.deepcopy(rng.choice(VALUES))
    elif how < 0.8:
        del holder[last]
    elif how < 0.9:
        holder[last] = [holder[last], holder[last]] if rng.random() < 0.5 else [holder[last]]
    elif isinstance(holder, dict):
        holder[rng.choice(["", "x", "__init__", "key", "self", last + "2"])] = holder.pop(last)
    else:
        holder.insert(last, copy.deepcopy(rng.choice(VALUES)))
    return document


def verdict(read, path):
    """None for a load, else the sentence; anything else is raised."""
    began = time.process_time()  # others may be at work here
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            read(path)
            said = None
        except CheckpointError as error:
            said = str(error)
            assert said.isprintable() and said.endswith("."), repr(said)
            assert len(said) < 5000
    assert time.process_time() - began < SECONDS, said
    return said


def in_torch(path):
    """Read a rule and take a step with it."""
    import torch

    from steppe.torch import LearnedOptimizer

    p = torch.nn.Parameter(torch.linspace(-1.0, 1.0, 6))
    opt = LearnedOptimizer([p], path)
    p.square().sum().backward()
    opt.step()


def told(path):
    """The lines of `steppe info`, the body aside."""
    for line in text(describe(path, read_header(path))).split("\n"):
        assert line.isprintable(), repr(line)


def files(folder):
    """One file of each class, as small as the examples are."""
    kinds = classes()
    for name, make in OPTIMIZERS.items():
        opt = make()
        if type(opt).__name__ in kinds:
            save(folder / f"{name}.safetensors", opt, task="bowl", horizon=5)
            yield folder / f"{name}.safetensors"


def tries(folder, count, seed):
    """How many of `count` mutated files load, of each file in turn."""
    rng, loaded = random.Random(seed), 0
    sources = [(path, taken_apart(path)) for path in list(files(folder))]
    path = folder / "mutated.safetensors"
    for k in range(count):
        index, entry, body = sources[k % len(sources)][1]
        part = rng.random()
        if part < 0.6:
            hyper = mutated({"hyper": entry["manifest"]["hyper"]}, rng)
            entry = entry | {"manifest": entry["manifest"] | hyper}
        elif part < 0.8:
            index = mutated(index, rng)
        elif part < 0.95:
            entry = mutated(entry, rng)
        else:
            body = body[: rng.randrange(len(body) + 1)] if rng.random() < 0.5 else body[::-1]
            entry = entry | {"body_sha256": hashlib.sha256(body).hexdigest()}
        put_together(path, index, entry, body)
        said = verdict(load, path)
        verdict(told, path)
        loaded += said is None
        if sources[k % len(sources)][0].stem in PORTED:
            other = verdict(in_torch, path)
            assert said == other or known_difference(said, other), (said, other)
    return loaded


PORTED = ("dm", "dm-plain", "rnnprop", "l2o-scale", "small-mlp", "small-mlp-decayed")  # to PyTorch


def known_difference(said, other):
    """JAX has more kinds of optimizers, and without x64 no float64."""
    return (other or "").endswith(("run it in JAX.", "attention=False.")) or "x64" in (said or "")


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("betas", [], "SmallMLP: betas must be some numbers in [0, 1), got none"),
        ("betas", [0.5, 1.0], "SmallMLP: betas must be in [0, 1), got 1.0"),
        ("beta", -0.5, "SmallMLP: beta must be in [0, 1), got -0.5"),
        ("time_scales", [0.0], "SmallMLP: time_scales must be positive, got 0.0"),
        ("scale", 0.0, "SmallMLP: scale must be positive, got 0.0"),
        ("weight_decay", 1.0, "SmallMLP: weight_decay must be in [0, 1), got 1.0"),
        ("weight_decay", 0.1, "read_decay"),
        ("hidden", [3, 2, 1], "hidden"),
        ("hidden", [0, 2], "hidden"),
        ("hidden", [3, 3], "second.w"),
        ("betas", [0.5], "shortcut"),
        ("time_scales", [1.0, 2.0], "of_tensor"),
    ],
)
def test_a_small_mlp_that_cannot_be_is_refused_in_the_same_words(setting, value, words, tmp_path):
    pytest.importorskip("torch")
    path = tmp_path / "small.safetensors"
    save(path, OPTIMIZERS["small-mlp"]())
    index, entry, body = taken_apart(path)
    entry["manifest"]["hyper"][setting] = value
    put_together(path, index, entry, body)
    said = verdict(load, path)
    assert said is not None and words in said
    assert verdict(in_torch, path) == said


def test_a_mutated_file_gives_one_sentence_or_a_load_and_the_same_in_pytorch(tmp_path):
    pytest.importorskip("torch")
    in_torch("dm-v1")  # the first step imports much of PyTorch
    load("dm-v1")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loaded = tries(tmp_path, 600, seed=1)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < BYTES
    assert 0 < loaded < 600
