"""Every reader of the library, with small valid files of each variety and the damage that fits.

A reader is given a file under its own name in a folder that holds what else it needs. It may give
a load or `FileError`; a verb of the command line an exit code and one sentence.
"""

import contextlib
import dataclasses
import gzip
import hashlib
import io
import json
import pickle
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from evaluation.samples import LEARNED, SGD
from reference import lstm

from . import mutate

TESTS = Path(__file__).parents[1]
OLD = TESTS / "golden" / "from_0_1"
WEIGHTS = TESTS.parent / "steppe" / "zoo" / "weights"


class Reader(NamedTuple):
    """One way in which files are read."""

    name: str
    file: str  # its name in the folder
    valid: Callable[[], list[bytes]]
    mutate: mutate.Mutator
    read: Callable[[Path], object]
    share: float  # of the tries
    beside: Callable[[Path], object] = lambda folder: None  # puts there what else is needed


class RefusedError(Exception):
    """A verb of the command line ended with a sentence and a code that is not 0."""


class ForeignError(Exception):
    """A verb of the command line ended with another exception, or with more than a sentence."""


def verb(*words: object, well: tuple[int, ...] = (0,)) -> None:
    """Run a command in this process; the codes of `well` are those of a load."""
    from steppe.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    said = err.getvalue().strip()
    if code not in (0, 1, 2) or "please report" in said or "\n" in said:
        raise ForeignError(f"code {code}: {said}")
    if code not in well:
        raise RefusedError(said or out.getvalue().strip().splitlines()[-1])


# What is valid.


def formula() -> bytes:
    """An optimizer that is a formula, which 0.1 did not have."""
    theta, tensor = bytes(12), {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}
    hyper = {"formula": "c0 * tanh(c1 * mn95[2]) - c2 * g", "coefficients": [-0.01, 1.3, 0.0]}
    entry = {
        "sha256": "", "body_sha256": hashlib.sha256(theta).hexdigest(), "format": 1, "keys": {},
        "manifest": {"kind": "Symbolic", "hyper": hyper, "recipe": {}, "steppe": "0.1.0"},
    }  # fmt: skip
    return mutate.sealed({".theta": tensor}, entry, theta, random.Random(0))


def optimizers() -> list[bytes]:
    old = [path.read_bytes() for path in sorted((OLD / "optimizers").glob("*.safetensors"))]
    return [*old, formula()]


def rules() -> list[bytes]:
    small = [OLD / "optimizers" / f"{name}.safetensors" for name in ("dm", "rnnprop")]
    found = [path.read_bytes() for path in (*small, WEIGHTS / "l2o-scale-v1.safetensors")]
    return [*found, formula()]


def cards() -> list[bytes]:
    return [(WEIGHTS / f"{name}.safetensors").read_bytes() for name in ("dm-v1", "rnnprop-flat-v1")]


def states() -> list[bytes]:
    steps = sorted((OLD / "run").glob("step-*.safetensors"))
    return [path.read_bytes() for path in [*steps, OLD / "run" / "model.safetensors"]]


def trained() -> list[bytes]:
    """Optimizers that tell what they were trained on: as 0.1 did, as now, as those shipped do."""
    data, made = (OLD / "run" / "model.safetensors").read_bytes(), []
    for recipe in (
        {"task": {"name": "quadratic"}, "estimator": {"horizon": 20}},
        {"task": "quadratic", "horizon": 20, "task_options": {"n": 4}},
    ):
        index, entry, body = mutate.unsealed(data)
        entry["manifest"]["recipe"] = recipe
        made.append(mutate.sealed(index, entry, body, random.Random(0)))
    return [data, *made]


def old(*names: str) -> Callable[[], list[bytes]]:
    return lambda: [(OLD / name).read_bytes() for name in names]


def records() -> list[bytes]:
    head = {"steppe": "records", "format": 1, "environment": {"python": "3", "date": "today"}}
    lines = [head, *(dataclasses.asdict(record) for record in (LEARNED, SGD))]
    return [b"".join(json.dumps(line).encode() + b"\n" for line in lines)]


def grids() -> list[bytes]:
    from steppe.evaluation.engines import cell_id

    lines: list[dict] = [{"steppe": "grid", "format": 1, "work": "evaluation.grid_work:square"}]
    lines.append({"environment": "b73725b6", "is": {"python": "3", "versions": {"jax": "1"}}})
    for x in range(3):
        failed = x == 2
        row = {"id": cell_id({"x": x}), "cell": {"x": x}}
        row |= {"result": None if failed else {"square": x * x, "pair": [x, "±"]}}
        row |= {"error": "no" if failed else None, "seconds": 0.5, "attempts": 1}
        lines.append(row | {"environment": "b73725b6"})
    return [b"".join(json.dumps(line).encode() + b"\n" for line in lines)]


def studied() -> list[bytes]:
    studies = TESTS.parent / "steppe" / "studies"
    return [(studies / "techniques" / "techniques.jsonl").read_bytes()]


def metrics() -> list[bytes]:
    old = (OLD / "run" / "metrics.jsonl").read_bytes()
    row = {"step": 1, "time": 0.5, "meta_loss": float("nan"), "grad_norm": 1.0, "nonfinite": 0}
    row |= {"episodes": 2, "resets": 0, "inner_steps_per_s": 10.0, "valid_loss": None}
    rows = [json.dumps(row | {"step": step}).encode() + b"\n" for step in range(1, 13)]
    return [old, b"".join(rows), b"".join(rows)[:-20]]


def curvatures() -> list[bytes]:
    names = ("top_eigenvalue", "top_modulus", "trace", "frobenius", "entropy")
    row = {"symbol": "λ", "value": 1.5, "error": 0.1, "relative": None, "how": "Lanczos"}
    line = [0.0, 0.5, None]
    record = {
        "task": "quadratic", "optimizer": "SGD", "steps": 3, "params": 10, "examples": 0,
        "dtype": "float32", "gamma": 1.0, "temperature": 0.1, "rho": 0.05, "k": 4, "probes": 2,
        "start_loss": 1.0, "below": 0, "rows": [{"name": name, **row} for name in names],
        "density": {"grid": line, "values": line, "error": line, "sigma": 0.1},
        "slices": [{"name": "u", "offsets": line, "train": line, "valid": line, "slope": 0.1,
                    "curvature": None}],
        "plane": {"offsets": line, "values": [line, line, line]},
    }  # fmt: skip
    return [json.dumps(record).encode()]


def curves() -> list[bytes]:
    from steppe.evaluation.update_curve import HISTORIES

    curve = {"optimizer": "SGD", "learned": False, "unit": 0.1, "g": [-1.0, 0.0, 1.0]}
    return [json.dumps([curve | {"curves": {name: [1.0, 0, -1.0] for name in HISTORIES}}]).encode()]


def configs() -> list[bytes]:
    from steppe.zoo.presets import recipe
    from steppe.zoo.recipe_json import to_json

    made = recipe(
        "dm-cl-il", task="quadratic", hidden=(2,), penalty={"kind": "trace", "weight": 1.0}
    )
    new = {"title": "t", "command": "steppe train", "preset": "dm-cl-il", "recipe": to_json(made)}
    return [(OLD / "run" / "config.json").read_bytes(), json.dumps(new).encode()]


TOML = b"""task = "quadratic"
opt = "dm"
hidden = [3]
[meta]
lr = 1e-3
clip = "none"
[run]
steps = 4
[estimator]
kind = "bptt"
unroll = 5
"""
YAML = b"""task: quadratic
opt: dm
hidden: [3, 4]
meta:
  lr: 1.0e-3
  clip: none
run: {steps: 4, seed: 3}
estimator:
  kind: pes
"""


def images(n: int = 24, side: int = 28) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (n + 4, side, side), dtype=np.uint8)
    y = np.arange(n + 4) % 10
    return {"x_train": x[:n], "y_train": y[:n], "x_test": x[n:], "y_test": y[n:]}


def idx_files() -> list[bytes]:
    x = images(3)["x_train"]
    plain = bytes((0, 0, 8, 3)) + np.array(x.shape, ">u4").tobytes() + x.tobytes()
    return [plain, gzip.compress(plain, mtime=0)]


def npz_files() -> list[bytes]:
    arrays = images()
    floats = {name: array / 255 if name[0] == "x" else array for name, array in arrays.items()}
    return [saved(arrays), saved(arrays, np.savez_compressed), saved(floats)]


def saved(arrays: dict, write=np.savez) -> bytes:
    file = io.BytesIO()
    write(file, **arrays)
    return file.getvalue()


def batches() -> list[bytes]:
    rows = np.random.default_rng(0).integers(0, 256, (2, 3072), dtype=np.uint8)
    entries = {"batch_label": "a batch", "labels": [3, 4], "data": rows, "filenames": ["a", "b"]}
    return [pickle.dumps(entries, protocol) for protocol in (4, 5)] + [
        PYTHON2 + rows.tobytes() + b"tbu."
    ]


PYTHON2 = (  # up to the pixels, as Python 2 wrote it
    b"\x80\x02}q\x01(U\x0bbatch_labelq\x02U\x07a batchU\x06labelsq\x04]q\x05(K\x03K\x04e"
    b"U\x04dataq\x06"
    b"cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\0\x85U\x01b\x87Rq\t(K\x01"
    b"K\x02M\0\x0c\x86cnumpy\ndtype\nq\nU\x02u1K\0K\x01\x87Rq\x0b(K\x03U\x01|NNNJ\xff\xff\xff\xff"
    b"J\xff\xff\xff\xffK\0tb\x89T\0\x18\0\0"
)


def published() -> list[bytes]:
    return [saved(lstm.random_weights(kind, seed=1)) for kind in ("dm", "rnnprop")]


# How it is read.


def load_optimizer(path: Path) -> None:
    import steppe

    steppe.load(path)


def ask_training(path: Path) -> None:
    from steppe.runs.subject import subject

    subject(str(path), None).build_task()


def read_card(path: Path) -> None:
    import steppe

    steppe.card(path)


def tree() -> dict:
    import jax.numpy as jnp
    import jax.random as jr

    arrays = {"a": jnp.ones((2, 3), jnp.float32), "n": jnp.zeros((), jnp.int32)}
    return arrays | {"key": jr.key(0), "none": jnp.zeros((0, 4), jnp.bfloat16)}


def trees() -> list[bytes]:
    from steppe.store import checkpoint

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.safetensors")
        checkpoint.save(path, tree(), manifest={"step": 3, "recipe": {"task": "hill"}})
        return [path.read_bytes()]


def load_state(path: Path) -> None:
    from steppe.store import checkpoint

    checkpoint.newest(path.parent)
    checkpoint.load(path, tree())


def step_in_pytorch(path: Path) -> None:
    import torch

    from steppe.torch import LearnedOptimizer

    p = torch.zeros(3, requires_grad=True)
    opt = LearnedOptimizer([p], path)
    p.grad = torch.ones(3)
    opt.step()


def verify(path: Path) -> None:
    from steppe.certificates.audit import verify
    from steppe.certificates.certificate import load

    verify(load(path))


def judge(path: Path) -> None:
    from steppe.runs.findings import of_rows
    from steppe.train.sinks import read_rows

    of_rows(read_rows(path))


def compare(path: Path) -> None:
    from steppe.evaluation.compare import cases, sentences, table
    from steppe.evaluation.records import read_records

    found, _ = read_records(path)
    sentences(found)
    for case in cases(found):
        table(case)


def read_grid(path: Path) -> None:
    from steppe.evaluation.grid import read_rows
    from steppe.studies.study import records

    records(read_rows(path))


def read_config(path: Path) -> None:
    from steppe.runs import config

    config.read(path.parent)
    config.preset_of(path.parent)


def read_settings(path: Path) -> None:
    from steppe.core.settings import build
    from steppe.runs.config import read_file
    from steppe.zoo.recipe import Recipe

    build(Recipe, read_file(Recipe, path))


def read_idx(path: Path) -> None:
    from steppe.data.formats import read_idx

    read_idx(path, 3)


def read_mnist(path: Path) -> None:
    from steppe.data.images import mnist

    mnist(path)


def read_batch(path: Path) -> None:
    from steppe.data.cifar import read_cifar_batch
    from steppe.data.formats import check_images, check_labels

    x, y = read_cifar_batch(path)
    check_images(x, (32, 32, 3), str(path))
    check_labels(y, len(x), 10, str(path))


def read_published(path: Path) -> None:
    from steppe.interop.open_l2o import read

    read(path)


def read_cache(path: Path) -> None:
    from unittest import mock

    from steppe.data import cache

    with mock.patch.dict("os.environ", {"STEPPE_CACHE": str(path.parent)}):
        cache.read(path.stem)


def read_curvature(path: Path) -> None:
    from steppe.evaluation import curvature_record
    from steppe.store.untrusted import Source, read_document

    source = Source(path.name)
    found = curvature_record.from_plain(read_document(path, source), source)
    curvature_record.sentences(found)
    curvature_record.text_table(found)


def read_curve(path: Path) -> None:
    from steppe.evaluation.update_curve import from_plain
    from steppe.store.untrusted import Source, checked, read_document

    source = Source(path.name)
    for curve in checked(read_document(path, source), list, source):
        from_plain(curve, source)


def conclude(path: Path) -> None:
    from steppe.studies.names import scales, study
    from steppe.studies.study import conclude

    conclude(study("techniques"), scales("techniques")["small"], path)


def encoder(folder: Path) -> None:
    from tasks.text.tiny import SMALL, weights, write

    write(folder, weights(0, SMALL), SMALL)


def of_encoder(file: str) -> Callable[[], list[bytes]]:
    """One file of the folder of an encoder."""

    def valid() -> list[bytes]:
        with tempfile.TemporaryDirectory() as folder:
            encoder(Path(folder))
            return [(Path(folder) / file).read_bytes()]

    return valid


def read_encoder(path: Path) -> None:
    from steppe.data.encoders import read_encoder

    read_encoder(path.parent)


def tokenise(path: Path) -> None:
    from steppe.data.tokens import TextTokenizer

    own = TextTokenizer(path.parent)
    own.decode(own.encode("The engine runs."))


def read_table(path: Path) -> None:
    from steppe.data.texts import table

    table(path)


def read_orange(path: Path) -> None:
    from steppe.data.texts import orange

    orange(path)


def doctor(path: Path) -> None:
    verb("doctor", path.parent, well=(0, 1))


def report(path: Path) -> None:
    verb("report", path.parent, "--out", path.parent / "report.html")


def whole_run(folder: Path) -> None:
    """What `steppe train` and `eval` leave, but for what is damaged."""
    for file in (OLD / "run").iterdir():
        if file.suffix != ".safetensors":
            shutil.copy(file, folder)
    (folder / "records.jsonl").write_bytes(records()[0])
    (folder / "curvature.json").write_bytes(curvatures()[0])
    (folder / "rule.json").write_bytes(curves()[0])
    shutil.copy(OLD / "cert" / "certificate.json", folder)


TEXTS = b'{"text": "a b", "label": "yes"}\n{"text": "c", "label": true}\n'

READERS = [
    Reader("checkpoint in JAX", "a.safetensors", optimizers, mutate.checkpoint, load_optimizer, 12),
    Reader("checkpoint in PyTorch", "a.safetensors", rules, mutate.checkpoint, step_in_pytorch, 12),
    Reader("state of a run in JAX", "step-00000003.safetensors", trees, mutate.checkpoint,
           load_state, 5),
    Reader("steppe info", "a.safetensors", lambda: [*optimizers(), *states()], mutate.checkpoint,
           lambda path: verb("info", path), 8),
    Reader("training of steppe eval", "a.safetensors", trained, mutate.checkpoint, ask_training, 4),
    Reader("card", "a.safetensors", cards, mutate.checkpoint, read_card, 3),
    Reader("card, steppe info", "a.safetensors", cards, mutate.checkpoint,
           lambda path: verb("info", path), 3),
    Reader("certificate", "certificate.json", old("cert/certificate.json"), mutate.certificate,
           verify, 10),
    Reader("steppe verify", "certificate.json", old("cert/certificate.json"), mutate.certificate,
           lambda path: verb("verify", path), 3),
    Reader("metrics", "metrics.jsonl", metrics, mutate.lines, judge, 8),
    Reader("records", "records.jsonl", records, mutate.lines, compare, 7),
    Reader("grid", "rows.jsonl", grids, mutate.lines, read_grid, 7),
    Reader("config.json", "config.json", configs, mutate.json_file, read_config, 6),
    Reader("TOML", "run.toml", lambda: [TOML], mutate.settings, read_settings, 4),
    Reader("YAML", "run.yaml", lambda: [YAML], mutate.settings, read_settings, 2),
    Reader("IDX", "train-images-idx3-ubyte", idx_files, mutate.idx, read_idx, 6),
    Reader("npz", "mnist.npz", npz_files, mutate.npz, read_mnist, 6),
    Reader("cache", "mnist5k.npz", npz_files, mutate.npz, read_cache, 1),
    Reader("CIFAR batch", "data_batch_1", batches, mutate.pickled, read_batch, 6),
    Reader("Open-L2O npz", "dm.npz", published, mutate.npz, read_published, 4),
    Reader("texts, CSV", "a.csv", lambda: [b'label,text\nyes,"a b"\nno,c\n'], mutate.bytes_of,
           read_table, 1),
    Reader("texts, JSON", "a.jsonl", lambda: [TEXTS], mutate.lines, read_table, 1),
    Reader("texts, Orange", "a.tab", lambda: [b"C\tT\nd\tstring\nclass\t\n\nyes\ta b\nno\tc\n"],
           mutate.bytes_of, read_orange, 1),
    Reader("encoder, weights", "model.safetensors", of_encoder("model.safetensors"),
           mutate.tensors, read_encoder, 2, encoder),
    Reader("encoder, config", "config.json", of_encoder("config.json"), mutate.json_file,
           read_encoder, 2, encoder),
    Reader("tokenizer", "tokenizer.json", of_encoder("tokenizer.json"), mutate.json_file,
           tokenise, 2),
    Reader("curvature.json", "curvature.json", curvatures, mutate.json_file, read_curvature, 2),
    Reader("rule.json", "rule.json", curves, mutate.json_file, read_curve, 1),
    Reader("records of a study", "rows.jsonl", studied, mutate.lines, conclude, 1),
    Reader("steppe doctor, metrics", "metrics.jsonl", metrics, mutate.lines,
           doctor, 0.5, whole_run),
    Reader("steppe doctor, findings", "findings.json", old("run/findings.json"), mutate.json_file,
           doctor, 0.5, whole_run),
    Reader("steppe doctor, records", "records.jsonl", records, mutate.lines,
           doctor, 0.5, whole_run),
    Reader("steppe report, records", "records.jsonl", records, mutate.lines, report, 0.2,
           whole_run),
    Reader("steppe report, metrics", "metrics.jsonl", metrics, mutate.lines, report, 0.1,
           whole_run),
    Reader("steppe report, curvature", "curvature.json", curvatures, mutate.json_file, report, 0.1,
           whole_run),
    Reader("steppe report, rule", "rule.json", curves, mutate.json_file, report, 0.1, whole_run),
    Reader("steppe report, env", "env.json", old("run/env.json"), mutate.json_file, report, 0.1,
           whole_run),
]  # fmt: skip
