"""Soft prompts as words: each row by the token that is nearest, and words by the rows of theirs.

    s(row, token) = row · e / (‖row‖ ‖e‖)  "cosine"     − ‖row − e‖²  "l2"     row · e  "dot"

The token of a row is that of the *largest* s; of equal ones, that of the lowest number. (The
published code takes the smallest cosine: the token that is least alike.) The vocabulary is gone
through in chunks, and the result is the same bit by bit whatever their size.
"""

import abc
import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np

from ..core.arguments import whole
from .codecs import AbstractCodec, CodecError
from .parse import MARKS

CHUNK = 4096  # tokens at once
SPECIAL = re.compile(r"\s*(\[[A-Za-z]+\d*\]|<[^<>]*>)\s*")  # [CLS], [unused3], <s>, <0x0A>


class AbstractTokenizer(abc.ABC):
    """A way from text to numbers of tokens and back, without special tokens."""

    @abc.abstractmethod
    def encode(self, text: str) -> Sequence[int]:
        """The tokens of a text."""

    @abc.abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """The text of tokens."""


@dataclasses.dataclass(frozen=True)
class Tokenizer(AbstractTokenizer):
    """Two functions of a tokenizer that exists: text → numbers, without special tokens, and back.

    Tokenizer(lambda text: own.encode(text, add_special_tokens=False).ids, own.decode)
    """

    to_ids: Callable[[str], Sequence[int]]
    to_text: Callable[[Sequence[int]], str]

    def encode(self, text: str) -> Sequence[int]:
        return self.to_ids(text)

    def decode(self, ids: Sequence[int]) -> str:
        return self.to_text(ids)


class Words(AbstractTokenizer):
    """A vocabulary of words that blanks part; other words are left out."""

    def __init__(self, vocabulary: Sequence[str]):
        self.vocabulary = tuple(vocabulary)
        self._ids = {word: i for i, word in reversed(list(enumerate(self.vocabulary)))}

    def encode(self, text: str) -> Sequence[int]:
        return [self._ids[word] for word in text.split() if word in self._ids]

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(self.vocabulary[i] for i in ids)


class SoftPrompt(AbstractCodec):
    """K rows of a table of embeddings as K tokens.

    - `table`: (vocabulary, d), the embeddings of the model itself
    - `rows`: K
    - `metric`: by what a token is near, see above
    - `allowed`: tokens that a row may be told as; None: all but `special`. See `readable`
    - `special`: tokens that are never used, neither here nor there
    - `filler`: token of the rows for which a text has no words; None: these stay as they are
    - `only`: words to which a server that can is to hold a model, each text of K of them
    """

    def __init__(
        self,
        table: Any,
        tokenizer: AbstractTokenizer,
        rows: int,
        *,
        metric: Literal["cosine", "l2", "dot"] = "cosine",
        allowed: Iterable[int] | None = None,
        special: Iterable[int] = (),
        filler: int | None = None,
        only: Sequence[str] = (),
        chunk: int = CHUNK,
    ):
        self.table, self.tokenizer, self.metric = np.asarray(table), tokenizer, metric
        if self.table.ndim != 2 or not np.isfinite(self.table.astype(float)).all():
            raise ValueError(
                f"SoftPrompt: table must be finite, (tokens, d), got {self.table.shape}."
            )
        if metric not in ("cosine", "l2", "dot"):
            raise ValueError(f"SoftPrompt: metric must be cosine, l2 or dot, got {metric!r}.")
        most = len(self.table) - 1
        number = lambda x: whole("SoftPrompt: a token", x, least=0, most=most)
        self.rows = whole("SoftPrompt: rows", rows, least=1, most=10_000)
        self.chunk = whole("SoftPrompt: chunk", chunk, least=1, most=2**31 - 1)
        self.special = frozenset(map(number, special))
        self.only = tuple(only)
        self.filler = None if filler is None else number(filler)
        known = range(most + 1) if allowed is None else set(map(number, allowed))
        self.allowed = np.array(sorted(set(known) - self.special))
        if not self.allowed.size:
            raise ValueError("SoftPrompt: no token is allowed.")

    @property
    def words(self) -> int | None:
        return self.rows

    def nearest(self, prompt: Any) -> list[int]:
        """The token nearest to each row of a prompt (rows, d)."""
        x = np.asarray(prompt).astype(float)
        if x.shape != (self.rows, self.table.shape[1]):
            raise ValueError(
                f"SoftPrompt: the prompt is {x.shape}, expected {(self.rows, self.table.shape[1])}."
            )
        if not np.isfinite(x).all():
            raise CodecError("The prompt is not finite.")
        best, ids = np.full(len(x), -np.inf), np.full(len(x), self.allowed[0])
        for begin in range(0, len(self.allowed), self.chunk):
            part = self.allowed[begin : begin + self.chunk]
            s = similarity(x, self.table[part].astype(float), self.metric)
            at = s.argmax(axis=1)  # the first of equal ones
            top = s[np.arange(len(x)), at]
            best, ids = np.where(top > best, top, best), np.where(top > best, part[at], ids)
        return [int(i) for i in ids]

    def encode(self, leaf: Any) -> str:
        return self.tokenizer.decode(self.nearest(leaf))

    def ids(self, text: str) -> list[int]:
        """The tokens that a text is put in as: none that are special, as many as there are rows."""
        found = [int(i) for i in self.tokenizer.encode(text)]
        usable = [i for i in found if 0 <= i < len(self.table) and i not in self.special]
        if not usable:
            raise CodecError("It has no word of the vocabulary.")
        return usable[: self.rows]

    def decode(self, text: str, like: Any) -> np.ndarray:
        like = np.asarray(like)
        ids = self.ids(text)
        found = (
            like.copy() if self.filler is None else np.tile(self.table[self.filler], (self.rows, 1))
        )
        found[: len(ids)] = self.table[ids]
        return found.reshape(like.shape).astype(like.dtype)

    def describe(self) -> str:
        return f"a text of at most {self.rows} words"

    def schema(self) -> dict[str, Any]:
        if self.only:
            word = f"({'|'.join(map(re.escape, self.only))})"
            return {"type": "string", "pattern": f"^{word}( {word}){{{self.rows - 1}}}$"}
        return {"type": "string", "minLength": 3, "maxLength": 12 * self.rows}

    def draw(self, rng: np.random.Generator) -> str:
        return self.tokenizer.decode([int(i) for i in rng.choice(self.allowed, self.rows)])


def similarity(x: np.ndarray, e: np.ndarray, metric: str) -> np.ndarray:
    """s of each row of x (k, d) to each of e (v, d): (k, v), the larger the nearer.

    Sums pair by pair, and not by a product of matrices, whose last bits depend on their sizes.
    """
    if metric == "l2":
        return -np.stack([np.einsum("vd,vd->v", e - row, e - row) for row in x])
    s = np.einsum("kd,vd->kv", x, e)
    if metric == "dot":
        return s
    lengths = np.sqrt(np.einsum("kd,kd->k", x, x))[:, None] * np.sqrt(np.einsum("vd,vd->v", e, e))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(lengths > 0, s / lengths, -np.inf)  # no direction is like none


def readable(
    tokenizer: AbstractTokenizer, size: int, *, continuation: str = "##", whole_words: bool = True
) -> list[int]:
    """Tokens that can be read: no marks, single bytes, blanks; of a vocabulary of `size`.

    - `continuation`: beginning of the text of a token that goes on a word
    - `whole_words`: leaves these out
    """
    found = []
    for i in range(whole("size", size, least=1, most=2**31 - 1)):
        text = tokenizer.decode([i])
        marked = SPECIAL.fullmatch(text) or MARKS.search(text)
        broken = not text.strip() or not text.strip().isprintable() or "\ufffd" in text
        if marked or broken or (whole_words and text.startswith(continuation)):
            continue
        found.append(i)
    return found
