"""The published weights give the published updates."""

import tracemalloc

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest
from interop.published import GOLDEN, weights
from reference import lstm

from steppe.interop.open_l2o import read
from steppe.optimizers.learned.dm import DM
from steppe.optimizers.learned.rnnprop import RNNProp
from steppe.optimizers.learned.scale import Scale
from steppe.optimizers.learned.tensors import Layout
from steppe.store.untrusted import FileError
from steppe.zoo import load, manifest, save


def updates_of(opt, gradients):
    """Updates (steps, n) for gradients (steps, n), in float64."""
    opt = jtu.tree_map(lambda w: w.astype(jnp.float64), opt)
    state = opt.init(gradients[0])
    step = lambda state, g: opt.update(g, state, g)[::-1]
    return jax.lax.scan(step, state, gradients)[1]


@pytest.mark.parametrize(
    ("name", "t", "printed"), GOLDEN["vectors"]["updates"], ids=lambda x: str(x)[:7]
)
def test_golden_vectors_to_the_last_printed_digit(name, t, printed):
    updates = updates_of(read(weights(name)), jnp.asarray(GOLDEN["vectors"]["gradients"]))
    assert [f"{u:.6e}" for u in updates[t]] == printed


@pytest.mark.parametrize(("kind", "cls"), [("dm", DM), ("rnnprop", RNNProp)])
def test_weights_read_from_a_file_act_as_in_numpy(kind, cls, tmp_path):
    arrays = lstm.random_weights(kind, seed=1)
    np.savez(tmp_path / "random.npz", **arrays)
    opt = read(tmp_path / "random.npz")
    assert type(opt) is cls
    assert all(leaf.dtype == jnp.float32 for leaf in jtu.tree_leaves(opt))

    scales = [1.0, 1e-2, 1e-5, 1e-9, 0.0]
    gradients = np.random.default_rng(2).normal(size=(6, 5)) * scales
    expected = getattr(lstm, kind)(arrays, gradients)
    np.testing.assert_allclose(updates_of(opt, jnp.asarray(gradients)), expected, rtol=1e-9)


def test_read_weights_survive_a_checkpoint_bit_by_bit(tmp_path):
    np.savez(tmp_path / "dm.npz", **lstm.random_weights("dm", seed=3))
    opt = read(tmp_path / "dm.npz")
    save(tmp_path / "dm.safetensors", opt, source="dm.npz")
    loaded, said = load(tmp_path / "dm.safetensors"), manifest(tmp_path / "dm.safetensors")
    assert said["recipe"] == {"source": "dm.npz"}
    for a, b in zip(jtu.tree_leaves(opt), jtu.tree_leaves(loaded), strict=True):
        assert a.dtype == b.dtype and (a == b).all()


def spoiled(**changes):
    arrays = {**lstm.random_weights("dm", seed=0), **changes}
    return {name: array for name, array in arrays.items() if array is not None}


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (spoiled(**{"linear/b": None}), "has no linear/b; published weights of DM are lstm_1"),
        (spoiled(extra=np.zeros(1)), "has the unknown extra; published weights of DM"),
        (
            spoiled(**{"linear/w": np.zeros((1, 20), np.float32)}),
            r"linear/w has shape \(1, 20\), DM needs \(20, 1\)",
        ),
        (spoiled(**{"linear/b": np.zeros(1)}), "linear/b is float64, published .* float32"),
        (spoiled(**{"linear/b": np.full(1, np.nan, np.float32)}), "linear/b .* not finite"),
        (
            spoiled(**{"linear/b": np.array([{}])}),
            "found an array of .object., expected plain numbers",
        ),
        (
            spoiled(**{"input_projection/w": np.zeros((2, 20), np.float32)}),
            "has no input_projection/b; published weights of RNNProp",
        ),
        (
            {"PerTensor/GradsToDelta/Matrix": np.zeros((4, 1))},
            "has no PerTensor/Layer0_RNN/BiasGRUCell.*published weights of L2O-Scale",
        ),
        ({}, "has no lstm_1/w_gates, .* published weights of DM"),
    ],
)
def test_other_files_are_refused_in_a_sentence(arrays, words, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=words):
        read(tmp_path / "a.npz")


def test_foreign_arrays_are_not_unpacked(tmp_path):
    arrays = spoiled(big=np.zeros(2**22, np.float32))
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    tracemalloc.start()
    with pytest.raises(FileError, match="has the unknown big"):
        read(tmp_path / "a.npz")
    assert tracemalloc.get_traced_memory()[1] < 2**22  # of 2**24 bytes
    tracemalloc.stop()


def test_a_file_much_larger_than_the_published_ones_is_not_opened(tmp_path):
    np.savez(tmp_path / "a.npz", **spoiled(big=np.zeros(2**18, np.float32)))
    with pytest.raises(FileError, match=r"found \d+ bytes, expected 1048576 at most"):
        read(tmp_path / "a.npz")


def test_pickle_is_not_loaded(tmp_path):
    (tmp_path / "cw.l2l-0").write_bytes(b"\x80\x03}.")
    with pytest.raises(ValueError, match=r"found no npz file.*pickle can run any code"):
        read(tmp_path / "cw.l2l-0")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.npz does not exist"):
        read(tmp_path / "none.npz")


# L2O-Scale in its published form (the problem level sees the last tensor), from flatness-l2o.md
# §11.3: rates e^ℓ of the two tensors, the parameters after each step as printed.
SCALE_RATES = (1e-2, 1e-3)
SCALE_PARAMS = (
    ("-0.003678795 -0.003678795 -0.003678794", "0.000367487 0.000367487 0.000367487 -0.000369053"),
    ("-0.00773403 -0.007594116 -0.006649638", "0.000748518 0.000734804 0.000694825 -0.00076159"),
    ("-0.01143972 -0.011290019 -0.010284021", "0.001114036 0.001099542 0.00105735 -0.001140114"),
)


@pytest.mark.user_flags(x64=True)
def test_published_scale_weights_give_the_printed_steps():
    opt = read(weights("l2o_scale_hess_cl_mt_step6"))
    assert sum(leaf.size for leaf in jtu.tree_leaves(opt)) == 8349
    opt = jtu.tree_map(lambda w: w.astype(jnp.float64), opt)
    opt = jtu.tree_unflatten(
        jtu.tree_structure(eqx.filter_eval_shape(lambda: Scale(pool="last", key=jr.key(0)))),
        jtu.tree_leaves(opt),
    )
    params = [jnp.zeros(3), jnp.zeros((2, 2))]
    layout = Layout(params)
    state = opt.init(params)
    rates = [jnp.full_like(p, np.log(r)) for p, r in zip(params, SCALE_RATES, strict=True)]
    state = eqx.tree_at(lambda s: s.log_lr, state, layout.pack(rates, jnp.float64))
    update = eqx.filter_jit(opt.update)
    i = np.arange(7)
    for t, printed in enumerate(SCALE_PARAMS):
        g = np.sin(1 + i + 2 * t) * 10.0 ** -(i % 3)
        updates, state = update(
            [jnp.asarray(g[:3]), jnp.asarray(g[3:].reshape(2, 2))], state, params
        )
        params = [p + u for p, u in zip(params, updates, strict=True)]
        for p, numbers in zip(params, printed, strict=True):
            np.testing.assert_allclose(p.ravel(), np.array(numbers.split(), float), atol=5.1e-10)
        if t == 0:
            problem = [0.55882566, -0.28285035, 0.34021486, 0.51165429]
            np.testing.assert_allclose(state.p[:4, 0], problem, atol=5.1e-9)
            np.testing.assert_allclose(layout.unpack(state.decay)[0], 0.96206526, atol=5.1e-9)
            np.testing.assert_allclose(layout.unpack(state.input_decay)[0], 0.9102603, atol=5.1e-8)
