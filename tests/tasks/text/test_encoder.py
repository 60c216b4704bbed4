"""Encoders of texts: against NumPy, from folders, and folders that are wrong."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save, save_file
from tasks.text.tiny import CONFIG, HEADS, LONGEST, VOCABULARY, WIDTH, forward, weights, write

from steppe.data.encoders import read_config, read_encoder
from steppe.store.untrusted import FileError
from steppe.tasks.text.encoder import check_pool, load_encoder, pooled

RNG = np.random.default_rng(1)
LENGTHS = (9, 4, 1)
IDS = RNG.integers(0, VOCABULARY, (3, 9))
MASK = np.arange(9) < np.array(LENGTHS)[:, None]


@eqx.filter_jit
def run(encoder, x, mask):
    return encoder(x, mask)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def encoder(folder):
    return load_encoder(folder)


def test_hidden_states_are_those_of_numpy(encoder):
    x = np.asarray(encoder.embed(IDS), np.float64)
    found = np.asarray(run(encoder, x, MASK))
    for row, n in enumerate(LENGTHS):  # without padding there
        np.testing.assert_allclose(found[row, :n], forward(weights(), x[row, :n]), atol=1e-10)
    single = np.asarray(run(encoder, x.astype(np.float32), MASK))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single[MASK], found[MASK], atol=1e-5)


def test_what_stands_at_padding_changes_nothing(encoder):
    x = np.asarray(encoder.embed(IDS), np.float64)
    other = np.where(MASK[..., None], x, 1e3)
    np.testing.assert_array_equal(
        np.asarray(run(encoder, other, MASK))[MASK], np.asarray(run(encoder, x, MASK))[MASK]
    )


def test_roberta_counts_positions_on_from_its_padding(tmp_path):
    config = CONFIG | {"model_type": "roberta", "pad_token_id": 1, "type_vocab_size": 1}
    own = weights(3, config)
    write(tmp_path, {"roberta." + name: array for name, array in own.items()}, config)
    encoder = load_encoder(tmp_path)
    assert encoder.first == 2 and encoder.longest == LONGEST - 2
    x = np.asarray(encoder.embed(IDS[:1]), np.float64)
    found = run(encoder, x, MASK[:1])
    np.testing.assert_allclose(found[0], forward(own, x[0], config, first=2), atol=1e-10)
    with pytest.raises(ValueError, match="19 tokens, but it has positions for 18"):
        eqx.filter_eval_shape(encoder, jnp.zeros((1, 19, WIDTH)), jnp.ones((1, 19), bool))


def test_half_the_digits_are_read_as_float32(tmp_path):
    own = {name: array.astype(jnp.bfloat16) for name, array in weights().items()}
    write(tmp_path, own)
    _, arrays = read_encoder(tmp_path)
    for name, array in arrays.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, own[name].astype(np.float32))


def test_a_text_is_pooled_over_its_tokens():
    hidden = RNG.standard_normal((3, 9, 2))
    expected = [row[:n].mean(axis=0) for row, n in zip(hidden, LENGTHS, strict=True)]
    np.testing.assert_allclose(pooled(jnp.asarray(hidden), MASK, "mean"), expected, atol=1e-12)
    np.testing.assert_array_equal(pooled(jnp.asarray(hidden), MASK, "first"), hidden[:, 0])
    with pytest.raises(ValueError, match="pool must be first or mean, got 'last'"):
        check_pool("Here", "last")


def without(name):
    return {k: v for k, v in weights().items() if k != name}


QUERY = "encoder.layer.1.attention.self.query.weight"
BAD_WEIGHTS = {
    "missing": (without(QUERY), r"found no tensor 'encoder\.layer\.1.*, expected all that config"),
    "shape": (
        weights() | {QUERY: np.zeros((8, 16), np.float32)},
        r"found float32 of the shape \(8",
    ),
    "dtype": (weights() | {QUERY: np.zeros((16, 16), np.int32)}, "found int32 of the shape"),
    "another layer": (
        weights() | {"encoder.layer.2.output.dense.bias": np.zeros(16, np.float32)},
        r"found the tensor 'encoder\.layer\.2",
    ),
    "nan": (weights() | {QUERY: np.full((16, 16), np.nan, np.float32)}, "found NaN or infinity"),
    "too large": (weights() | {QUERY: np.full((16, 16), 1e300)}, "too large for float32"),
}
BAD_CONFIGS = {
    "huge": ({"hidden_size": 2**40}, "hidden_size: found 1099511627776"),
    "huge together": ({"vocab_size": 2**22, "hidden_size": 2**12}, r"found \d+ weights"),
    "heads": ({"num_attention_heads": 5}, "found 5 heads for a width of 16"),
    "kind": ({"model_type": "gpt2"}, "model_type: found 'gpt2'"),
    "act": ({"hidden_act": "silu"}, "hidden_act: found 'silu'"),
    "text": ({"hidden_size": "16"}, "hidden_size: found '16'"),
    "padding": ({"model_type": "roberta", "pad_token_id": 40}, "found pad_token_id 40"),
}


@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_wrong_weights_are_refused_in_one_sentence(case, folder, tmp_path):
    tensors, words = BAD_WEIGHTS[case]
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(FileError, match=words) as caught:
        load_encoder(tmp_path)
    assert str(caught.value).count("\n") == 0 and len(str(caught.value)) < 600


@pytest.mark.parametrize("case", BAD_CONFIGS)
def test_wrong_sizes_are_refused_in_one_sentence(case, tmp_path):
    changed, words = BAD_CONFIGS[case]
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | changed))
    with pytest.raises(FileError, match=words):
        read_config(tmp_path)


def test_damaged_files_are_refused(folder, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    path, data = tmp_path / "model.safetensors", save(weights())
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:begin])
    header[QUERY]["data_offsets"] = [0, 1024]
    text = json.dumps(header).encode()
    cases = {
        b"": "no header of safetensors",
        b"PK" * 50: "no header of safetensors",
        (2**60).to_bytes(8, "little") + data[8:]: "no header of safetensors",
        data[:-1]: r"found \d+ bytes, expected the \d+ that its header",
        data + b"0": r"found \d+ bytes",
        data[:8] + b"{" + b"[" * (begin - 9) + data[begin:]: "header",
        len(text).to_bytes(8, "little") + text + data[begin:]: "a gap or an overlap",
    }
    for content, words in cases.items():
        path.write_bytes(content)
        with pytest.raises(FileError, match=words):
            load_encoder(tmp_path)
    path.unlink()
    with pytest.raises(FileError, match="found no file"):
        load_encoder(tmp_path)
    with pytest.raises(FileError, match="found no file"):
        load_encoder(tmp_path / "nowhere")


def test_sizes_and_heads_are_those_of_the_config(encoder):
    assert encoder.heads == HEADS and encoder.words.shape == (VOCABULARY, WIDTH)
    assert jax.tree_util.tree_all(jax.tree_util.tree_map(lambda x: x.dtype == jnp.float32, encoder))
