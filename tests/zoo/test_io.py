"""Optimizers by name, and on disk."""

import importlib.metadata
import subprocess
import sys

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import pytest

from steppe.optimizers.classic.from_optax import FromOptax, adam
from steppe.optimizers.learned.rnnprop import RNNProp
from steppe.optimizers.names import OPTIMIZERS
from steppe.store import checkpoint
from steppe.store.checkpoint import CheckpointError, read_manifest
from steppe.zoo import build, classes, load, manifest, save

OPTIONS = {
    **{
        name: {"rows": 2, "n": 3}
        for name, entry in OPTIMIZERS.items()
        if entry.family == "unrolled"
    },
    "step-lista": {"layers": 2},
    "symbolic": {"formula": "-0.1 * mn9 + 0.2 * g[1]"},
    "optax": {"make": "lion", "learning_rate": 1e-3},
    "entropy-sgd": {"learning_rate": 0.1},
    "sam": {"base": adam(0.1)},
    **{name: {"base": adam(0.1)} for name in ("adaptable", "descent-ascent", "sparse-updates")},
    **{name: {"lr": 0.1, "steps": 9} for name in OPTIMIZERS if "cosine" in name},
    "guarded": {"base": adam(0.1), "fallback": adam(0.1)},
    "scheduled": {"base": adam(0.1)},
    "weight-decay": {"base": adam(0.1), "weight": 0.1},
    "schedule-free": {"base": FromOptax("contrib.schedule_free_adamw", learning_rate=0.1)},
    "self-adapting": {"base": adam(0.1)},
    "watchdog": {"base": adam(0.1), "fallback": adam(0.1)},
}


def test_every_name_is_built():
    for name, entry in OPTIMIZERS.items():
        usual = {"lr": 0.1} if "lr" in entry.tunable else {}
        opt = build(name, key=jr.key(0), **OPTIONS.get(name, usual))
        assert type(opt) in classes().values()


def test_options_reach_the_constructor():
    assert build("rnnprop", key=jr.key(1), hidden=(5,), beta1=0.5).hidden == (5,)
    assert build("momentum", lr=0.1, decay=0.5).hyper["momentum"] == 0.5
    assert build("optax", make="lion", learning_rate=1e-3) == FromOptax("lion", learning_rate=1e-3)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("adm", {}, "no optimizer 'adm'; did you mean 'adam'"),
        ("zzz", {}, "no optimizer 'zzz'; the closest are 'dm', 'rnnprop' and 'l2o-scale'; see"),
        ("adam", {"l_r": 0.1}, "adam has no option 'l_r'; did you mean 'lr'"),
        ("dm", {"width": 3}, "dm has no option 'width'; use one of hidden, preprocess"),
        ("adam", {}, "adam needs the option 'lr'"),
        ("dm", {}, "dm starts from random weights; give key="),
        ("optax", {"learning_rate": 0.1}, "optax needs the option 'make'"),
        ("optax", {"make": "lion", "lr": 0.1}, "optax.lion has no argument 'lr'"),
    ],
)
def test_mistakes_are_explained(name, options, words):
    with pytest.raises(ValueError, match=words):
        build(name, **options)


def test_file_holds_weights_constructor_and_recipe(tmp_path):
    path = tmp_path / "opt.safetensors"
    opt = RNNProp(hidden=(3,), features=2, beta1=0.9, key=jr.key(1))
    save(path, opt, task="mlp", steps=100)
    said = manifest(path)
    assert eqx.tree_equal(load(path), opt)
    assert said == read_manifest(path)
    assert said["kind"] == "RNNProp"
    assert said["hyper"] == {
        **{"hidden": [3], "features": 2, "beta1": 0.9, "beta2": 0.95, "scale": 0.01},
        **{"block": opt.block, "horizon": None, "time_scales": [], "weight_decay": 0.0},
    }
    assert said["recipe"] == {"task": "mlp", "steps": 100}
    assert said["steppe"] == importlib.metadata.version("steppe")


@pytest.mark.parametrize("make", [lambda: RNNProp(key=jr.key(0)), lambda: adam(0.1)])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.float64])
def test_weights_come_back_in_their_own_dtype(make, dtype, tmp_path):
    opt = jtu.tree_map(lambda w: w.astype(dtype), make())
    save(tmp_path / "opt", opt)
    loaded = load(tmp_path / "opt")
    assert [leaf.dtype for leaf in jtu.tree_leaves(loaded)] == [dtype] * len(jtu.tree_leaves(opt))
    assert eqx.tree_equal(loaded, opt)


def test_checkpoint_of_something_else_is_refused(tmp_path):
    checkpoint.save(tmp_path / "a", jnp.ones(2), manifest={"step": 1})
    with pytest.raises(CheckpointError, match=r"not of an optimizer.*`steppe.save`"):
        load(tmp_path / "a")


def test_renamed_weights_are_refused(tmp_path):
    opt = adam(0.1)
    manifest = {"kind": "FromOptax", "hyper": {"make": "adam", "hyper": {"learning_rate": 0.1}}}
    checkpoint.save(tmp_path / "a", {"rate": opt.hyper["learning_rate"]}, manifest=manifest)
    with pytest.raises(CheckpointError, match=r"no \.hyper\['learning_rate'\].*unknown \['rate'\]"):
        load(tmp_path / "a")


def test_names_are_read_without_jax():
    code = "import sys, steppe.zoo.registry; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


HOSTILE = {"kind": "FromOptax", "hyper": {"make": "_src.linesearch.inspect.os.system",
           "settings": {"command": "touch executed"}, "hyper": {}}}  # fmt: skip


@pytest.mark.parametrize(
    "description",
    [
        HOSTILE,
        {"kind": "SAM", "hyper": {"base": HOSTILE, "rho": 0.05}},
        {"kind": "SAM", "hyper": {"base": {"kind": "SAM", "hyper": {"base": HOSTILE}}}},
    ],
    ids=["alone", "nested", "twice nested"],
)
def test_a_file_names_nothing_that_is_called(description, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "hostile.safetensors"
    manifest = {**description, "recipe": {}, "steppe": "0.1.0"}
    checkpoint.save(path, {"x": jnp.zeros(3)}, manifest=manifest)
    with pytest.raises(
        CheckpointError, match=r"FromOptax\.make: found '_src\.linesearch\.inspect\.os\.system'"
    ):
        load(path)
    assert not (tmp_path / "executed").exists()
