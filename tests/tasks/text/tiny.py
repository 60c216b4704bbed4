"""A tiny random BERT as a folder, written by other packages, and its forward pass in NumPy."""

import json

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file
from scipy.special import erf

from steppe.data.encoders import Config
from steppe.data.tokens import Tokens
from steppe.tasks.text.encoder import from_arrays

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "the",
    "engine",
    "planet",
    "oil",
    "moon",
    "runs",
    "##s",
]
VOCABULARY, WIDTH, LAYERS, HEADS, WIDE, LONGEST = 40, 16, 2, 4, 24, 20
CONFIG = {
    "model_type": "bert",
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": WIDE,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": LONGEST,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-5,
    "hidden_act": "gelu",
    "architectures": ["BertModel"],
}


def weights(seed=0, config=CONFIG):
    """Tensors as a file of BERT names them; matrices are (outputs, inputs)."""
    rng = np.random.default_rng(seed)
    d, wide = config["hidden_size"], config["intermediate_size"]
    draw = lambda *shape: rng.standard_normal(shape).astype(np.float32) / 2
    found = {
        "embeddings.word_embeddings.weight": draw(config["vocab_size"], d),
        "embeddings.position_embeddings.weight": draw(config["max_position_embeddings"], d),
        "embeddings.token_type_embeddings.weight": draw(config["type_vocab_size"], d),
        "pooler.dense.weight": draw(d, d),
    }
    norms = ["embeddings.LayerNorm"]
    for i in range(config["num_hidden_layers"]):
        own = f"encoder.layer.{i}."
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            found[f"{own}attention.{name}.weight"] = draw(d, d)
            found[f"{own}attention.{name}.bias"] = draw(d)
        found[own + "intermediate.dense.weight"] = draw(wide, d)
        found[own + "intermediate.dense.bias"] = draw(wide)
        found[own + "output.dense.weight"] = draw(d, wide)
        found[own + "output.dense.bias"] = draw(d)
        norms += [own + "attention.output.LayerNorm", own + "output.LayerNorm"]
    for name in norms:
        found[name + ".weight"], found[name + ".bias"] = 1 + draw(d), draw(d)
    return found


def write(folder, tensors=None, config=CONFIG, words=WORDS):
    """The folder of an encoder."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights() if tensors is None else tensors, folder / "model.safetensors")
    places = {word: i for i, word in enumerate(words)}
    own = Tokenizer(models.WordPiece(places, unk_token="[UNK]"))
    own.normalizer = normalizers.BertNormalizer()
    own.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    own.decoder = decoders.WordPiece()
    own.add_special_tokens([word for word in words if word.startswith("[")])
    own.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    own.enable_truncation(5)  # of a folder, and not what is asked for
    own.enable_padding(length=9)
    own.save(str(folder / "tokenizer.json"))
    return folder


def forward(w, embeddings, config=CONFIG, first=0):
    """Last hidden states of one text (n, d) without padding, word by word and head by head."""
    w = {name: array.astype(np.float64) for name, array in w.items()}

    def norm(x, name):
        out = []
        for row in x:
            unit = (row - row.mean()) / np.sqrt(row.var() + config["layer_norm_eps"])
            out.append(unit * w[name + ".weight"] + w[name + ".bias"])
        return np.array(out)

    def dense(x, name):
        return x @ w[name + ".weight"].T + w[name + ".bias"]

    n, size = len(embeddings), config["hidden_size"] // config["num_attention_heads"]
    positions = w["embeddings.position_embeddings.weight"][first : first + n]
    x = embeddings + positions + w["embeddings.token_type_embeddings.weight"][0]
    x = norm(x, "embeddings.LayerNorm")
    for i in range(config["num_hidden_layers"]):
        own = f"encoder.layer.{i}."
        q, k, v = (dense(x, f"{own}attention.self.{name}") for name in ("query", "key", "value"))
        mixed = np.zeros_like(x)
        for head in range(config["num_attention_heads"]):
            at = slice(head * size, (head + 1) * size)
            for word in range(n):
                scores = np.exp(k[:, at] @ q[word, at] / np.sqrt(size))
                mixed[word, at] = scores / scores.sum() @ v[:, at]
        after = own + "attention.output."
        x = norm(x + dense(mixed, after + "dense"), after + "LayerNorm")
        wide = dense(x, own + "intermediate.dense")
        wide = wide * (1 + erf(wide / np.sqrt(2))) / 2
        x = norm(x + dense(wide, own + "output.dense"), own + "output.LayerNorm")
    return x


SMALL = CONFIG | {"hidden_size": 4, "num_attention_heads": 2, "intermediate_size": 6}
SMALL |= {"num_hidden_layers": 1, "max_position_embeddings": 12}


def encoder(seed=0, config=SMALL):
    """An encoder of these sizes that no file holds."""
    known = Config(**{k: v for k, v in config.items() if k != "architectures"})
    return from_arrays(known, weights(seed, config))


def texts(rows=40, length=5, seed=0, names=("space", "cars")):
    """Random tokens with random labels, of different lengths: 2/4 train, 1/4 valid, 1/4 test."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, VOCABULARY, (rows, length))
    mask = np.arange(length) < rng.integers(1, length + 1, rows)[:, None]
    a, b = rows // 2, 3 * rows // 4
    y = rng.integers(0, len(names), rows, np.int32)
    arrays = map(jnp.asarray, (ids.astype(np.int32), mask, y))
    return Tokens(*arrays, ((0, a), (a, b), (b, rows)), tuple(names), VOCABULARY)
