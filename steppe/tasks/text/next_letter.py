"""Train a small transformer to tell the next letter.

    f(θ) = mean over rows and places t of  −log softmax(network(θ, letters up to t))[letter t + 1]

Vaswani et al., "Attention is all you need", NeurIPS 2017, decoder only, with norms before the parts
of a block:

    x = words[letter] + places[t]
    x ← x + attention(norm(x)),   x ← x + W₂ relu(W₁ norm(x) + b₁) + b₂        block after block
    logits = W norm(x) + b
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float, Int

from ...core.loss import Composed
from ...core.messages import at_least
from ...core.task import AbstractTask
from ...core.types import Batch, Key, Params, Scalar, Split
from ...data.sequences import Sequences, sequences
from ..classify import accuracy, cross_entropy
from .encoder import affine, layer_norm

EPS = 1e-5  # of the norms
SPREAD = 0.02  # standard deviation of embeddings at the start


class Transformer(eqx.Module):
    """Blocks of causal attention and of an MLP. Holds no arrays.

    - `width`: numbers of a letter; `heads` divides it
    - `wide`: units of the MLP, in widths
    """

    width: int = eqx.field(static=True, default=32)
    heads: int = eqx.field(static=True, default=4)
    blocks: int = eqx.field(static=True, default=2)
    wide: int = eqx.field(static=True, default=2)

    def __check_init__(self):
        sizes = ("width", "heads", "blocks", "wide")
        at_least(1, "Transformer", **{name: getattr(self, name) for name in sizes})
        if self.width % self.heads:
            raise ValueError(
                f"Transformer: heads={self.heads} does not divide width={self.width}; use a "
                "divisor."
            )

    def init(self, key: Key, length: int, alphabet: int) -> Params:
        """Draw parameters: N(0, 1/fan_in), smaller where they are added up; embeddings small."""
        d, w = self.width, self.wide * self.width
        key_words, key_places, key_head, *keys = jr.split(key, 3 + self.blocks)
        return {
            "words": SPREAD * jr.normal(key_words, (alphabet, d)),
            "places": SPREAD * jr.normal(key_places, (length, d)),
            "blocks": tuple(self._block(key, d, w) for key in keys),
            "norm": _norm(d),
            "head": _layer(key_head, d, alphabet, 0.1),  # nearly equal letters at the start
        }

    def _block(self, key: Key, d: int, w: int) -> Params:
        small = 1 / np.sqrt(2 * self.blocks)
        attend, mix, widen, narrow = jr.split(key, 4)
        return {
            "attend": _layer(attend, d, 3 * d),
            "mix": _layer(mix, d, d, small),
            "widen": _layer(widen, d, w),
            "narrow": _layer(narrow, w, d, small),
            "norms": (_norm(d), _norm(d)),
        }

    def apply(
        self, params: Params, letters: Int[Array, "rows n"]
    ) -> Float[Array, "rows n alphabet"]:
        """Logits of the letter after each place."""
        n = letters.shape[1]
        x = params["words"].at[letters].get(mode="promise_in_bounds")
        x = x + params["places"][None, :n]
        for block in params["blocks"]:
            x = x + self._attention(block, layer_norm(x, block["norms"][0], EPS))
            wide = _apply(block["widen"], layer_norm(x, block["norms"][1], EPS))
            x = x + _apply(block["narrow"], jax.nn.relu(wide))
        return _apply(params["head"], layer_norm(x, params["norm"], EPS))

    def _attention(self, block: Params, x: Float[Array, "rows n d"]) -> Float[Array, "rows n d"]:
        """softmax(q kᵀ / √(d / heads)) v for each head, over the places up to one's own."""
        rows, n, d = x.shape
        size = d // self.heads
        split = _apply(block["attend"], x).reshape(rows, n, 3, self.heads, size)
        q, k, v = (split[:, :, i] for i in range(3))
        scores = jnp.einsum("rqhc,rkhc->rhqk", q, k) / np.sqrt(size).astype(x.dtype)
        seen = np.tril(np.ones((n, n), bool))[None, None]
        weights = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf), axis=-1)
        return _apply(block["mix"], jnp.einsum("rhqk,rkhc->rqhc", weights, v).reshape(rows, n, d))


class NextLetter(AbstractTask):
    """Mean cross-entropy of the next letter; metric: accuracy in [0, 1].

    - `batch_size`: sequences of a minibatch, drawn with replacement
    - `report`: `full_batch` gives at most so many sequences of a split; None gives them all
    """

    text: Sequences
    network: Transformer
    batch_size: int = eqx.field(static=True, default=32)
    report: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        at_least(1, "NextLetter", batch_size=self.batch_size, report=self.report)

    def sample(self, key: Key) -> tuple[()]:
        return ()

    def init(self, instance: tuple[()], key: Key) -> Params:
        return self.network.init(key, self.text.letters.shape[1] - 1, self.text.alphabet)

    def batch(self, instance: tuple[()], key: Key, *, split: Split = "train") -> Batch:
        return self.text.batch(key, self.batch_size, split)

    def full_batch(self, instance: tuple[()], *, split: Split) -> Batch:
        return self.text.whole(split, self.report)

    def loss(self, instance: tuple[()], batch: Batch, key: Key) -> Composed:
        y = batch[:, 1:].reshape(-1)
        return Composed(lambda params: self.logits(params, batch), lambda z: cross_entropy(z, y))

    def target(self, instance: tuple[()]) -> None:
        return None

    def metrics(
        self, params: Params, instance: tuple[()], batch: Batch, key: Key
    ) -> dict[str, Scalar]:
        return {"accuracy": accuracy(*self.predictions(params, instance, batch, key))}

    def predictions(
        self, params: Params, instance: tuple[()], batch: Batch, key: Key
    ) -> tuple[Float[Array, "places alphabet"], Int[Array, " places"]]:
        return self.logits(params, batch), batch[:, 1:].reshape(-1)

    def logits(self, params: Params, batch: Batch) -> Float[Array, "places alphabet"]:
        """Logits of all places, row after row."""
        dtype = jnp.result_type(*jtu.tree_leaves(params))
        own = jtu.tree_map(lambda leaf: leaf.astype(dtype), params)
        return self.network.apply(own, batch[:, :-1]).reshape(-1, self.text.alphabet)


def next_letter(
    *,
    split: int = 0,
    sizes: tuple[int, int, int] = (768, 256, 512),
    length: int = 32,
    width: int = 32,
    heads: int = 4,
    blocks: int = 2,
    wide: int = 2,
    batch_size: int = 32,
    report: int | None = None,
) -> NextLetter:
    """A transformer on sequences of `data.sequences`.

    - `split`: number of the sequences; another one has others of the same source
    - `sizes`: sequences in train, valid and test
    - `length`: letters that are told of each
    - the others: as in `Transformer` and `NextLetter`
    """
    text = sequences(sizes, length + 1, split)
    return NextLetter(text, Transformer(width, heads, blocks, wide), batch_size, report)


def _norm(d: int) -> Float[Array, "2 d"]:
    return jnp.stack([jnp.ones(d), jnp.zeros(d)])


def _layer(key: Key, inputs: int, outputs: int, scale: float = 1.0) -> Params:
    w = jr.normal(key, (inputs, outputs)) * float(scale / np.sqrt(inputs))
    return {"w": w, "b": jnp.zeros(outputs)}


def _apply(layer: Params, x: Float[Array, "rows n inputs"]) -> Float[Array, "rows n outputs"]:
    return affine(x, layer["w"], layer["b"])
