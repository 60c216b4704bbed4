"""An encoder of texts, frozen: BERT, RoBERTa, MiniLM, as they stand in a folder.

    x₀ = norm(words + positions + type 0)
    x' = norm(x + attention(x))        x ← norm(x' + W₂ gelu(W₁ x' + b₁) + b₂)        layer by layer

Norms come after the sums, gelu is exact (by erf), nothing is dropped out, and every token is of
type 0. Devlin et al., "BERT", NAACL 2019.
"""

import os
from collections.abc import Mapping
from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ...data.encoders import Config, read_encoder

Pool = Literal["first", "mean"]


class Layers(eqx.Module):
    """Weights of all layers, those of one kind in one array with the layer in front."""

    attend: Float[Array, "layers d 3*d"]  # to queries, keys, values
    attend_bias: Float[Array, "layers 3*d"]
    mix: Float[Array, "layers d d"]
    mix_bias: Float[Array, "layers d"]
    mix_norm: Float[Array, "layers 2 d"]  # scale and offset
    widen: Float[Array, "layers d wide"]
    widen_bias: Float[Array, "layers wide"]
    narrow: Float[Array, "layers wide d"]
    narrow_bias: Float[Array, "layers d"]
    narrow_norm: Float[Array, "layers 2 d"]


class Encoder(eqx.Module):
    """A stack of layers that gives each token a vector for what it means in its text.

    - `words`: the table of embeddings; `kind`: that of type 0
    - `heads`: of the attention
    - `first`: row of `positions` that belongs to the first token
    """

    words: Float[Array, "vocabulary d"]
    positions: Float[Array, "longest d"]
    kind: Float[Array, " d"]
    norm: Float[Array, "2 d"]
    layers: Layers
    heads: int = eqx.field(static=True)
    eps: float = eqx.field(static=True, default=1e-12)
    first: int = eqx.field(static=True, default=0)

    @property
    def longest(self) -> int:
        """Tokens that a text may have."""
        return len(self.positions) - self.first

    def embed(self, ids: Int[Array, "rows n"]) -> Float[Array, "rows n d"]:
        """The rows of tokens in `words`; ids must be in range."""
        return self.words.at[ids].get(mode="promise_in_bounds")

    def __call__(
        self, x: Float[Array, "rows n d"], mask: Bool[Array, "rows n"]
    ) -> Float[Array, "rows n d"]:
        """The last hidden states, in the dtype of x.

        - `x`: embeddings, from `embed` or from anywhere, without positions
        - `mask`: False where there is no token; what comes out there means nothing
        """
        n = x.shape[1]
        if n > self.longest:
            raise ValueError(
                f"Encoder: {n} tokens, but it has positions for {self.longest}; cut the texts."
            )
        own = jax.tree_util.tree_map(lambda leaf: leaf.astype(x.dtype), self)
        x = x + (own.positions[self.first : self.first + n] + own.kind[None])[None]
        x = layer_norm(x, own.norm, self.eps)
        away = jnp.where(mask, 0, jnp.finfo(x.dtype).min).astype(x.dtype)  # (rows, n)

        def layer(x, w: Layers):
            x = layer_norm(x + attention(x, w, away, self.heads), w.mix_norm, self.eps)
            wide = jax.nn.gelu(affine(x, w.widen, w.widen_bias), approximate=False)
            x = x + affine(wide, w.narrow, w.narrow_bias)
            return layer_norm(x, w.narrow_norm, self.eps), None

        return jax.lax.scan(layer, x, own.layers)[0]


def attention(
    x: Float[Array, "rows n d"], w: Layers, away: Float[Array, "rows n"], heads: int
) -> Float[Array, "rows n d"]:
    """softmax(q kᵀ / √(d / heads)) v for each head, of one layer.

    - `away`: added to the scores of each key: 0, or the lowest number where there is no token
    """
    rows, n, d = x.shape
    split = affine(x, w.attend, w.attend_bias).reshape(rows, n, 3, heads, d // heads)
    q, k, v = (split[:, :, i] for i in range(3))
    scores = jnp.einsum("rqhc,rkhc->rhqk", q, k) / np.sqrt(d // heads).astype(x.dtype)
    weights = jax.nn.softmax(scores + away[:, None, None, :], axis=-1)
    mixed = jnp.einsum("rhqk,rkhc->rqhc", weights, v).reshape(rows, n, d)
    return affine(mixed, w.mix, w.mix_bias)


def affine(
    x: Float[Array, "rows n inputs"], w: Float[Array, "inputs outputs"], b: Float[Array, " outputs"]
) -> Float[Array, "rows n outputs"]:
    """x W + b"""
    return x @ w + b[None, None]


def layer_norm(
    x: Float[Array, "rows n d"], scale: Float[Array, "2 d"], eps: float
) -> Float[Array, "rows n d"]:
    """(x − mean) / √(variance + ε) over the last axis, scaled and moved."""
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(centred**2, axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(variance + eps) * scale[0][None, None] + scale[1][None, None]


def pooled(
    hidden: Float[Array, "rows n d"], mask: Bool[Array, "rows n"], pool: Pool
) -> Float[Array, "rows d"]:
    """One vector for each text: the hidden state of its first token, or the mean over tokens."""
    if pool == "first":
        return hidden[:, 0]
    weight = mask[..., None].astype(hidden.dtype)
    return jnp.sum(hidden * weight, axis=1) / jnp.maximum(jnp.sum(weight, axis=1), 1)


def check_pool(owner: str, pool: str) -> None:
    """Refuse what is no way to pool."""
    if pool not in get_args(Pool):
        raise ValueError(f"{owner}: pool must be first or mean, got {pool!r}.")


def load_encoder(folder: str | os.PathLike) -> Encoder:
    """The encoder of a folder with config.json and model.safetensors.

    Raises FileError, one sentence.
    """
    return from_arrays(*read_encoder(folder))


def from_arrays(config: Config, arrays: Mapping[str, Float[np.ndarray, "..."]]) -> Encoder:
    """An encoder of these sizes from the tensors of its file; see `data.encoders.shapes`."""

    def stack(name: str, ending: str) -> Array:
        layers = range(config.num_hidden_layers)
        found = np.stack([arrays[f"encoder.layer.{i}.{name}.{ending}"] for i in layers])
        return jnp.asarray(found.swapaxes(1, 2) if found.ndim == 3 else found)  # inputs first

    def norm(name: str) -> Array:
        return jnp.stack([stack(name, ending) for ending in ("weight", "bias")], axis=1)

    parts = [f"attention.self.{name}" for name in ("query", "key", "value")]
    layers = Layers(
        attend=jnp.concatenate([stack(name, "weight") for name in parts], axis=2),
        attend_bias=jnp.concatenate([stack(name, "bias") for name in parts], axis=1),
        mix=stack("attention.output.dense", "weight"),
        mix_bias=stack("attention.output.dense", "bias"),
        mix_norm=norm("attention.output.LayerNorm"),
        widen=stack("intermediate.dense", "weight"),
        widen_bias=stack("intermediate.dense", "bias"),
        narrow=stack("output.dense", "weight"),
        narrow_bias=stack("output.dense", "bias"),
        narrow_norm=norm("output.LayerNorm"),
    )
    above = {name: jnp.asarray(array) for name, array in arrays.items() if "embeddings." in name}
    return Encoder(
        above["embeddings.word_embeddings.weight"],
        above["embeddings.position_embeddings.weight"],
        above["embeddings.token_type_embeddings.weight"][0],
        jnp.stack([above[f"embeddings.LayerNorm.{ending}"] for ending in ("weight", "bias")]),
        layers,
        config.num_attention_heads,
        config.layer_norm_eps,
        config.first_position,
    )
