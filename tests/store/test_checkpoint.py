"""Checkpoints come back bit for bit or not at all."""

import os
import resource

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import optax
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Array, PyTree

from steppe.store import manifest as manifest_file
from steppe.store.checkpoint import CheckpointError, keep_last, load, newest, read_manifest, save

DTYPES = ["bool", "int8", "uint8", "int16", "int32", "uint32", "int64", "uint64"]
DTYPES += ["float16", "bfloat16", "float32", "float64", "complex64"]


class Cell(eqx.Module):
    weight: Array
    bias: Array
    size: int = eqx.field(static=True)


class Run(eqx.Module):
    opt: Cell
    meta_state: PyTree
    windows: list
    step: Array
    key: Array


def small_tree():
    return {"w": jnp.arange(3, dtype=jnp.float32), "n": jnp.zeros((), jnp.int32)}


def raw(leaf) -> tuple:
    """All that must survive of an array: type, shape and bits."""
    data = jr.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
    return str(leaf.dtype), leaf.shape, np.asarray(data).tobytes()


def assert_same(tree, other):
    assert jtu.tree_structure(tree) == jtu.tree_structure(other)
    for a, b in zip(jtu.tree_leaves(tree), jtu.tree_leaves(other), strict=True):
        assert (raw(a) == raw(b)) if hasattr(a, "dtype") else a == b


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "step-1.safetensors"
    save(path, small_tree(), manifest={"kind": "Small"})
    return path


# What goes in comes out ----------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)], ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_array_comes_back_bit_identical_and_strong(tmp_path, dtype, shape):
    with jax.enable_x64(True):
        bits = np.random.default_rng(0).integers(0, 2, (*shape, 8), np.uint8)
        tree = [jnp.array(bits.sum(-1, dtype=np.uint8)).astype(dtype)]
        save(tmp_path / "a", tree, manifest={})
        (array,), _ = load(tmp_path / "a", tree)
        assert raw(array) == raw(tree[0])
        assert isinstance(array, jax.Array) and not array.weak_type


@pytest.mark.parametrize("bits", [0x7FC12345, 0x80000000, 0x00000001], ids=hex)
def test_payload_of_nan_minus_zero_and_subnormal_survive(tmp_path, bits):
    tree = np.array([bits], np.uint32).view(np.float32)
    save(tmp_path / "a", tree, manifest={})
    assert raw(load(tmp_path / "a", tree)[0]) == raw(tree)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_typed_keys_continue_their_stream(tmp_path, impl):
    tree = {"one": jr.key(3, impl=impl), "many": jr.split(jr.key(4, impl=impl), (2, 3))}
    save(tmp_path / "a", tree, manifest={})
    loaded, _ = load(tmp_path / "a", eqx.filter_eval_shape(lambda: tree))
    assert_same(loaded, tree)
    assert jr.bits(loaded["one"]) == jr.bits(tree["one"])


@settings(max_examples=40, deadline=None, database=None)
@given(
    tree=st.recursive(
        st.builds(
            lambda s, d, n: jnp.array(np.full(s, n, np.uint8)).astype(d),
            st.lists(st.integers(0, 3), max_size=3).map(tuple),
            st.sampled_from(["bool", "int32", "uint8", "float16", "bfloat16", "float32"]),
            st.integers(0, 255),
        )
        | st.none()
        | st.floats(allow_nan=False),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.lists(inner, max_size=3).map(tuple)
            | st.dictionaries(st.text(max_size=4), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_any_tree_comes_back_into_its_skeleton(tmp_path_factory, tree):
    path = tmp_path_factory.mktemp("any") / "tree"
    save(path, tree, manifest={})
    assert_same(load(path, eqx.filter_eval_shape(lambda: tree))[0], tree)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None, database=None)
@given(manifest=st.dictionaries(st.text(), JSON, max_size=3))
def test_any_manifest_comes_back(tmp_path_factory, manifest):
    path = tmp_path_factory.mktemp("any") / "tree"
    save(path, small_tree(), manifest=manifest)
    assert load(path, small_tree())[1] == read_manifest(path) == manifest


def test_manifest_may_hold_what_the_checksum_is_made_of(tmp_path):
    manifest = {"sha256": "0" * 64, "loss": float("inf"), "seeds": (1, 2)}
    save(tmp_path / "a", {}, manifest=manifest)
    assert read_manifest(tmp_path / "a") == {**manifest, "seeds": [1, 2]}


def test_resumed_run_is_bit_identical_and_compiles_nothing_new(tmp_path):
    tx = optax.adam(1e-2)
    traces = []

    @eqx.filter_jit
    def step(run):
        traces.append(1)
        key_noise, key_next = jr.split(run.key)
        theta = (run.opt.weight, run.opt.bias)
        grads = (jr.normal(key_noise, (3,), jnp.float32), theta[1])
        updates, meta_state = tx.update(grads, run.meta_state, theta)
        weight, bias = optax.apply_updates(theta, updates)
        return Run(Cell(weight, bias, 3), meta_state, run.windows, run.step + 1, key_next)

    theta = (jnp.ones(3, jnp.float32), jnp.ones(2, jnp.bfloat16))
    zero = jnp.zeros((), jnp.int32)
    run = Run(Cell(*theta, 3), tx.init(theta), [jnp.arange(4, dtype=jnp.uint8)], zero, jr.key(1))
    with jax.numpy_dtype_promotion("standard"):  # optax's adam is not written for strict
        run = step(step(run))
    save(tmp_path / "a", run, manifest={})
    assert {".opt.weight", ".windows[0]", ".meta_state[0].mu[1]", ".key"} <= set(
        manifest_file.read_header(tmp_path / "a").tensors
    )
    resumed, _ = load(tmp_path / "a", eqx.filter_eval_shape(lambda: run))
    assert_same(resumed, run)
    assert not any(getattr(leaf, "weak_type", False) for leaf in jtu.tree_leaves(resumed))
    with jax.numpy_dtype_promotion("standard"):
        assert_same(step(step(resumed)), step(step(run)))
    assert len(traces) == 1


def test_fields_of_equal_shape_are_not_swapped_by_order(tmp_path):
    class Reordered(eqx.Module):
        bias: Array
        weight: Array

    save(tmp_path / "a", Cell(jnp.zeros(3), jnp.ones(3), 3), manifest={})
    loaded, _ = load(tmp_path / "a", Reordered(bias=jnp.zeros(3), weight=jnp.zeros(3)))
    assert loaded.bias.tolist() == [1, 1, 1] and loaded.weight.tolist() == [0, 0, 0]


def test_safetensors_own_reader_agrees(tmp_path):
    tree = {"b": jnp.arange(3, dtype=jnp.bfloat16), "e": np.zeros((0, 2), ">f4"), **small_tree()}
    save(tmp_path / "a", tree, manifest={})
    theirs = dict(safetensors.deserialize((tmp_path / "a").read_bytes()))
    for name, leaf in tree.items():
        entry = theirs[f"['{name}']"]
        assert tuple(entry["shape"]) == leaf.shape
        assert bytes(entry["data"]) == np.asarray(leaf).tobytes()


def test_every_tensor_begins_at_a_multiple_of_its_width(tmp_path):
    tree = [np.zeros(n, dtype) for n, dtype in enumerate(["u1", "f8", "u1", "f2", "f4", "u1"], 1)]
    save(tmp_path / "a", tree, manifest={})
    size = (tmp_path / "a").stat().st_size
    tensors = manifest_file.read_header(tmp_path / "a").tensors.values()
    begin = size - max(tensor.stop for tensor in tensors)
    assert all((begin + t.start) % np.dtype(t.dtype).itemsize == 0 for t in tensors)


def test_big_endian_and_transposed_numpy_arrays_keep_their_values(tmp_path):
    array = np.arange(6, dtype=">f4").reshape(2, 3).T
    save(tmp_path / "a", array, manifest={})
    loaded, _ = load(tmp_path / "a", jax.ShapeDtypeStruct((3, 2), jnp.float32))
    assert loaded.tolist() == array.tolist()


def test_equal_trees_give_equal_files_readable_under_the_umask(tmp_path, file):
    save(tmp_path / "b", small_tree(), manifest={"kind": "Small"})
    assert (tmp_path / "b").read_bytes() == file.read_bytes()
    (tmp_path / "c").touch()
    assert (tmp_path / "b").stat().st_mode == (tmp_path / "c").stat().st_mode


# A tree that does not fit --------------------------------------------------------------


def test_renamed_leaf_is_guessed_and_extra_and_missing_are_listed(tmp_path):
    save(tmp_path / "a", {"weight_hh": jnp.ones(3), "left": jnp.ones(2)}, manifest={})
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path / "a", {"weight_hx": jnp.ones(3), "brandnew": jnp.ones(2)})
    message = str(caught.value)
    assert "['weight_hx'] (did you mean ['weight_hh'], which the file has?)" in message
    assert "no ['brandnew']," in message and "unknown ['left'], ['weight_hh']" in message


def test_hundreds_of_wrong_names_make_a_short_message(tmp_path):
    save(tmp_path / "a", [jnp.ones(1)] * 300, manifest={})
    with pytest.raises(CheckpointError, match="and 292 more") as caught:
        load(tmp_path / "a", {str(i): jnp.ones(1) for i in range(300)})
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("saved", "like", "words"),
    [
        (np.ones(3, np.float32), np.ones((3, 1), np.float32), r"float32\[3\].*float32\[3, 1\]"),
        (np.ones(3, np.float32), np.ones(3, np.float16), r"float32\[3\].*float16\[3\]"),
        (jr.key(0), jr.key(0, impl="rbg"), r"key<fry>\[\].*key<rbg>\[\]"),
        (jr.key(0), np.zeros(2, np.uint32), r"key<fry>\[\].*uint32\[2\]"),
        (np.zeros(2, np.uint32), jr.key(0), r"uint32\[2\].*key<fry>\[\]"),
    ],
    ids=["shape", "dtype", "key type", "key into numbers", "numbers into key"],
)
def test_wrong_type_is_named(tmp_path, saved, like, words):
    save(tmp_path / "a", {"x": saved}, manifest={})
    with pytest.raises(CheckpointError, match=words):
        load(tmp_path / "a", {"x": like})


def test_float64_is_not_halved_silently(tmp_path):
    save(tmp_path / "a", np.array(np.pi), manifest={})
    with jax.enable_x64(False), pytest.raises(CheckpointError, match="turn on jax_enable_x64"):
        load(tmp_path / "a", np.array(0.0))
    with jax.enable_x64(True):
        assert load(tmp_path / "a", np.array(0.0))[0] == np.pi


# What cannot be saved ------------------------------------------------------------------


class Alike:
    """Dictionary keys that differ but print the same."""

    def __lt__(self, other):
        return id(self) < id(other)

    def __repr__(self):
        return "alike"


@pytest.mark.parametrize(
    ("tree", "manifest", "words"),
    [
        ({"x": np.array([{}])}, {}, "dtype object"),
        ({"x": jax.ShapeDtypeStruct((), jnp.float32)}, {}, "no numbers"),
        ({Alike(): np.ones(1), Alike(): np.ones(1)}, {}, "both called"),
        ({}, {"runs": [{"loss": np.ones(2)}]}, r"manifest\['runs'\]\[0\]\['loss'\] is a ndarray"),
        ({}, {"seeds": {1: "a"}}, r"manifest\['seeds'\] has the key 1 of type int"),
    ],
    ids=["objects", "skeleton", "same name", "array in manifest", "number as key"],
)
def test_refusals_name_the_place_and_write_nothing(tmp_path, tree, manifest, words):
    with pytest.raises(CheckpointError, match=words):
        save(tmp_path / "a", tree, manifest=manifest)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_leaves_the_old_file_and_no_rubbish(file):
    before = file.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # writing more fails
    try:
        with pytest.raises(CheckpointError, match="unchanged"):
            save(file, jnp.ones(100_000), manifest={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_bytes() == before and list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_interrupted_write_leaves_the_old_file_and_no_rubbish(file, monkeypatch, call, error):
    before = file.read_bytes()

    def fail(*args):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises((CheckpointError, KeyboardInterrupt)):
            save(file, jnp.ones(3), manifest={})
    assert file.read_bytes() == before and list(file.parent.iterdir()) == [file]


# A folder of checkpoints ---------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    for step in (2, 10, 9):  # written out of order
        save(tmp_path / f"step-{step}.safetensors", small_tree(), manifest={"step": step})
    (tmp_path / ".step-11.safetensors.0.tmp").write_bytes(b"half a file")
    (tmp_path / "notes.txt").write_text("keep me")
    return tmp_path


def test_newest_counts_numbers_and_skips_the_broken_aloud(folder):
    assert newest(folder, "step-*")[0] == folder / "step-10.safetensors"
    broken = folder / "step-10.safetensors"
    broken.write_bytes(broken.read_bytes()[:-1])
    found, skipped = newest(folder)
    assert found == folder / "step-9.safetensors"
    assert list(skipped) == [broken] and "damaged" in skipped[broken]
    assert newest(folder / "absent") == (None, {})


def test_newest_without_numbers_is_the_last_written(tmp_path):
    for age, name in enumerate(["z.safetensors", "a.safetensors"]):
        save(tmp_path / name, {}, manifest={})
        os.utime(tmp_path / name, (age, age))
    assert newest(tmp_path)[0] == tmp_path / "a.safetensors"


def test_keep_last_counts_intact_ones_and_deletes_only_checkpoints(folder):
    broken = folder / "step-10.safetensors"
    broken.write_bytes(broken.read_bytes()[:-1])
    assert keep_last(folder, "*", 1) == [folder / "step-2.safetensors"]
    left = {path.name for path in folder.iterdir()}
    assert left == {"step-9.safetensors", broken.name, "notes.txt", ".step-11.safetensors.0.tmp"}
    with pytest.raises(ValueError, match="at least 1"):
        keep_last(folder, "*", 0)
