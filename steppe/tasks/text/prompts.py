"""Classify texts by a frozen encoder: a soft prompt and a linear head are all that is trained.

    f(P, W, b) = mean_i  −log softmax(W h_i + b)[y_i]      h_i = pool(encoder([P; words of text i]))

The K rows of P stand in front of the embeddings of the words, in the place of K words: positions
are counted from the first row of P on, so that rows which are embeddings of words make the encoder
see a text that begins with these words. h is the hidden state of the first token of the text, or
the mean over its tokens; those of the prompt are left out. Where one of several texts is right
(COPA), W has one column, and the softmax is over the texts of a row.

Lester et al., "The power of scale for parameter-efficient prompt tuning", EMNLP 2021; Guo et al.,
"Two optimizers are better than one", 2024.
"""

import os
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Float, Int

from ...core.loss import Composed
from ...core.messages import at_least
from ...core.task import AbstractTask
from ...core.types import Key, Params, Scalar, Split
from ...data.fetch import fetched
from ...data.texts import divide, orange
from ...data.tokens import Rows, TextTokenizer, Tokens, tokenised
from ..classify import accuracy, cross_entropy
from .encoder import Encoder, Pool, check_pool, load_encoder, pooled

SPREAD = 0.02  # standard deviation of the head at the start, as in BERT
TOPICS = ("rec.autos", "rec.motorcycles", "sci.med", "sci.space")


class PromptTuning(AbstractTask):
    """Mean softmax cross-entropy over texts; parameters {"head": {"b", "w"}, "prompt"}.

    - `rows`: K, of the prompt; at the start they are embeddings of words drawn at random
    - `pool`: "first" or "mean", see above
    - `batch_size`: texts of a minibatch, drawn with replacement
    - `report`: `full_batch` gives at most so many texts of a split; None gives them all

    Everything is computed in the dtype of the parameters. Metric: accuracy in [0, 1].
    """

    texts: Tokens
    encoder: Encoder
    rows: int = eqx.field(static=True, default=8)
    pool: Pool = eqx.field(static=True, default="first")
    batch_size: int = eqx.field(static=True, default=16)
    report: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        at_least(1, "PromptTuning", rows=self.rows, batch_size=self.batch_size, report=self.report)
        check_pool("PromptTuning", self.pool)
        vocabulary = len(self.encoder.words)
        if self.texts.vocabulary > vocabulary:
            raise ValueError(
                f"PromptTuning: token {self.texts.vocabulary - 1} of the texts is none of the "
                f"{vocabulary} of the encoder; take the tokenizer from its folder."
            )
        if self.rows + self.texts.ids.shape[-1] > self.encoder.longest:
            raise ValueError(
                f"PromptTuning: {self.rows} rows and {self.texts.ids.shape[-1]} tokens, but the "
                f"encoder has positions for {self.encoder.longest}; cut the texts."
            )

    def sample(self, key: Key) -> tuple[()]:
        return ()

    def init(self, instance: tuple[()], key: Key) -> Params:
        key_prompt, key_head = jr.split(key)
        dtype, (vocabulary, d) = jnp.result_type(float), self.encoder.words.shape
        ids = jr.randint(key_prompt, (self.rows,), 0, vocabulary, dtype=jnp.int32)
        classes = len(self.texts.names) if self.texts.ids.ndim == 2 else 1
        w = SPREAD * jr.normal(key_head, (d, classes), dtype)
        head = {"b": jnp.zeros((classes,), dtype), "w": w}
        return {"head": head, "prompt": self.encoder.embed(ids).astype(dtype)}

    def batch(self, instance: tuple[()], key: Key, *, split: Split = "train") -> Rows:
        return self.texts.batch(key, self.batch_size, split)

    def full_batch(self, instance: tuple[()], *, split: Split) -> Rows:
        return self.texts.whole(split, self.report)

    def loss(self, instance: tuple[()], batch: Rows, key: Key) -> Composed:
        ids, mask, y = batch
        return Composed(
            lambda params: self.logits(params, ids, mask), lambda z: cross_entropy(z, y)
        )

    def target(self, instance: tuple[()]) -> None:
        return None

    def metrics(
        self, params: Params, instance: tuple[()], batch: Rows, key: Key
    ) -> dict[str, Scalar]:
        return {"accuracy": accuracy(*self.predictions(params, instance, batch, key))}

    def predictions(
        self, params: Params, instance: tuple[()], batch: Rows, key: Key
    ) -> tuple[Float[Array, "rows classes"], Int[Array, " rows"]]:
        ids, mask, y = batch
        return self.logits(params, ids, mask), y

    def logits(
        self,
        params: Params,
        ids: Int[Array, "rows *choices n"],
        mask: Bool[Array, "rows *choices n"],
    ) -> Float[Array, "rows classes"]:
        """One number for each class, or for each text of a choice."""
        if ids.ndim == 3:
            rows, choices, n = ids.shape
            flat = (x.reshape(rows * choices, n) for x in (ids, mask))
            return self.logits(params, *flat).reshape(rows, choices)
        dtype = jnp.result_type(*jtu.tree_leaves(params))
        prompt = params["prompt"].astype(dtype)
        k, d = prompt.shape
        front = jnp.broadcast_to(prompt, (len(ids), k, d))
        x = jnp.concatenate([front, self.encoder.embed(ids).astype(dtype)], axis=1)
        seen = jnp.concatenate([jnp.ones((len(ids), k), bool), mask], axis=1)
        hidden = self.encoder(x, seen)[:, k:]
        head = params["head"]
        return pooled(hidden, mask, self.pool) @ head["w"] + head["b"][None]


def newsgroups(
    folder: str | os.PathLike | None = None,
    encoder_folder: str | os.PathLike | None = None,
    *,
    topics: tuple[str, ...] = TOPICS,
    sizes: tuple[int, int, int] = (128, 256, 512),
    length: int = 32,
    rows: int = 8,
    pool: Pool = "first",
    batch_size: int = 16,
    report: int | None = None,
) -> PromptTuning:
    """Tell the newsgroup of a post: a few of the 20 newsgroups, and few posts.

    - `folder`: one with 20newsgroups-train.tab and 20newsgroups-test.tab
    - `encoder_folder`: that of a BERT or RoBERTa
    - `topics`: names of the groups
    - `sizes`: posts in train, valid and test; the last are from the official test set
    - `length`: tokens of a post, the first ones
    - `rows`, `pool`, `batch_size`, `report`: as in `PromptTuning`

    Folders that are not given are those of `steppe.data.fetch`, which has to be asked first.
    """
    posts = fetched("newsgroups") if folder is None else Path(folder)
    model = fetched("minilm") if encoder_folder is None else Path(encoder_folder)
    known, test = (orange(posts / f"20newsgroups-{part}.tab") for part in ("train", "test"))
    parts = divide(known.only(topics), sizes, test=test.only(topics))
    texts = tokenised(parts, TextTokenizer(model), length=length)
    return PromptTuning(texts, load_encoder(model), rows, pool, batch_size, report)
