"""Texts as numbers of tokens, cut and padded to one length.

    ids   (n, length)  int32      mask  (n, length)  True where there is a token      y  (n,)
    ids   (n, choices, length) where one of several texts is right, and y its place
    [0 ─ train ─ a)[a ─ valid ─ b)[b ─ test ─ n)

The tokenizer is that of the folder of the encoder: `tokenizer.json`, by the package `tokenizers`
(`pip install "steppe[text]"`), imported where it is needed.
"""

import hashlib
import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Int

from ..core.messages import at_least, missing
from ..core.types import Key, Split
from ..store.untrusted import Source, read_bytes, shown
from .texts import Texts

FILE = "tokenizer.json"
LARGEST = 2**26  # bytes of it
MOST = 2**22  # tokens of a vocabulary
SPLITS = get_args(Split)


class TextTokenizer:
    """The tokenizer of a folder. Raises FileError, one sentence, where there is none.

    - `size`: of its vocabulary; `special`: tokens that mark something
    - `digest`: SHA-256 of its file
    """

    def __init__(self, folder: str | os.PathLike):
        try:
            from tokenizers import Tokenizer
        except ModuleNotFoundError as error:
            raise ImportError(missing(error)) from error
        path = Path(folder) / FILE
        source = Source(str(path), "give the folder of an encoder with its tokenizer.json")
        data = read_bytes(path, LARGEST, source)
        try:
            own: Any = Tokenizer.from_str(data.decode())
            own.no_truncation()
            own.no_padding()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic in Rust is no Exception
            raise source.refuse(f"no tokenizer ({shown(str(error))})", "one") from None
        self.size: int = own.get_vocab_size(with_added_tokens=True)
        if not 0 < self.size <= MOST:
            raise source.refuse(f"{self.size} tokens", f"1 to {MOST}")
        self.special = frozenset(
            i for i, token in own.get_added_tokens_decoder().items() if token.special
        )
        self._own, self.digest = own, hashlib.sha256(data).hexdigest()

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, none of them special."""
        return self._own.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens, with those that are special."""
        return self._own.decode(list(ids), skip_special_tokens=False)

    def whole(self, text: Sequence[str], length: int) -> list[int]:
        """The tokens of a text of one part or two, special ones around them, at most `length`.

        Of two parts the longer one is cut first.
        """
        marks = self._own.num_special_tokens_to_add(len(text) > 1)
        if length <= marks:
            raise ValueError(
                f"TextTokenizer: {length} tokens leave no room beside {marks} special ones; give "
                "a larger length."
            )
        self._own.enable_truncation(length, strategy="longest_first")
        try:
            return self._own.encode(*text).ids
        finally:
            self._own.no_truncation()


class Tokens(eqx.Module):
    """Texts as tokens, with labels and three contiguous splits.

    - `splits`: (start, stop) of train, valid, test; they cover all rows
    - `names`: of the classes, or of the places of a choice
    - `vocabulary`: all tokens are smaller
    """

    ids: Int[Array, "n *choices length"]
    mask: Bool[Array, "n *choices length"]
    y: Int[Array, " n"]
    splits: tuple[tuple[int, int], ...] = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)
    vocabulary: int = eqx.field(static=True)

    def batch(self, key: Key, size: int, split: Split) -> "Rows":
        """Rows of one split, i.i.d. uniform with replacement."""
        start, stop = self.span(split)
        rows = jr.randint(key, (size,), start, stop, dtype=jnp.int32)
        at = lambda x: x.at[rows].get(mode="promise_in_bounds")
        return at(self.ids), at(self.mask), at(self.y)

    def whole(self, split: Split, limit: int | None = None) -> "Rows":
        """All rows of one split, or the first `limit` of them."""
        start, stop = self.span(split)
        stop = stop if limit is None else min(stop, start + limit)
        return self.ids[start:stop], self.mask[start:stop], self.y[start:stop]

    def span(self, split: Split) -> tuple[int, int]:
        """First row of a split and the row after its last."""
        if split not in SPLITS:
            raise ValueError(f"There is no split {split!r}; use one of {', '.join(SPLITS)}.")
        return self.splits[SPLITS.index(split)]


Rows = tuple[
    Int[Array, "rows *choices length"], Bool[Array, "rows *choices length"], Int[Array, " rows"]
]


def tokenised(
    parts: Mapping[Split, Texts], tokenizer: TextTokenizer, *, length: int = 32
) -> Tokens:
    """The splits of `divide` as tokens.

    - `length`: tokens of each text, special ones among them; longer ones are cut
    """
    at_least(1, "tokenised", length=length)
    if list(parts) != list(SPLITS) or not all(len(part) for part in parts.values()):
        raise ValueError("tokenised: parts must be train, valid and test, none empty; see divide.")
    kinds = {(part.names, part.choices) for part in parts.values()}
    if len(kinds) > 1:
        raise ValueError("tokenised: the splits have different classes.")
    names, choices = kinds.pop()
    texts = [
        text for part in parts.values() for row in part.texts for text in _parted(row, choices)
    ]
    ids = np.zeros((len(texts), length), np.int32)
    mask = np.zeros((len(texts), length), bool)
    for row, text in enumerate(texts):
        found = tokenizer.whole(text, length)
        ids[row, : len(found)], mask[row, : len(found)] = found, True
    if not mask.any(axis=1).all():
        raise ValueError("tokenised: a text has no token; leave empty texts out.")
    stops = np.cumsum([0, *map(len, parts.values())]).tolist()
    labels = np.concatenate([np.asarray(part.labels, np.int32) for part in parts.values()])
    splits = tuple(itertools.pairwise(stops))
    if choices > 1:
        ids, mask = (x.reshape(len(labels), choices, length) for x in (ids, mask))
    arrays = jnp.asarray(ids), jnp.asarray(mask), jnp.asarray(labels)
    return Tokens(*arrays, splits, names, int(ids.max()) + 1)


def _parted(row: Sequence[str], choices: int) -> list[Sequence[str]]:
    """The texts of a row, each of its parts."""
    each = len(row) // choices
    if not each or len(row) % choices:
        raise ValueError(f"tokenised: a row of {len(row)} parts is not {choices} texts.")
    return [row[k : k + each] for k in range(0, len(row), each)]
