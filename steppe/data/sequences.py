"""Sequences of letters from a random source of order 2, whose entropy is known.

    P(next = c | the last two letters a, b) = T[a, b, c]

T is sparse: after two letters a few others are likely, as in a language, and the rest is rare. The
letter that comes next can be told no better than with a mean loss of the entropy rate

    h = Σ_ab π(a, b) H(T[a, b, ·])      π: how often two letters follow one another in the long run

so that a model's loss has a floor that is known, and what it lost by learning too little or by
heart is the rest. Shannon, "Prediction and entropy of printed English", 1951, asked the same.
"""

import functools

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from steppe.core.messages import at_least
from steppe.core.types import Key, Split
from steppe.data.dataset import SEED, SPLITS

LETTERS, LIKELY, RARE = 16, 3, 0.05  # RARE: probability of all that is not likely
BURN_IN = 32  # letters before the first one of a sequence
SOURCE, ROWS = 0, 1  # streams of draws
MOST = 2**22  # letters of all sequences


class Sequences(eqx.Module):
    """Rows of equally long sequences, and three contiguous splits as in `Dataset`."""

    letters: UInt8[Array, "n length"]
    splits: tuple[tuple[int, int], ...] = eqx.field(static=True)
    alphabet: int = eqx.field(static=True)

    def batch(self, key: Key, size: int, split: Split) -> Int[Array, "size length"]:
        """Rows of one split, i.i.d. uniform with replacement."""
        start, stop = self.splits[SPLITS.index(split)]
        rows = jr.randint(key, (size,), start, stop, dtype=jnp.int32)
        return self.letters.at[rows].get(mode="promise_in_bounds").astype(jnp.int32)

    def whole(self, split: Split, limit: int | None = None) -> Int[Array, "rows length"]:
        """All rows of one split, or the first `limit`."""
        at_least(1, "whole", limit=limit)
        start, stop = self.splits[SPLITS.index(split)]
        stop = stop if limit is None else min(stop, start + limit)
        return self.letters[start:stop].astype(jnp.int32)


@functools.cache
def source() -> Float[np.ndarray, "letters letters letters"]:
    """T, the same for all sequences."""
    rng = np.random.default_rng((SEED, SOURCE))
    T = np.full((LETTERS,) * 3, RARE / LETTERS)
    for pair in np.ndindex(LETTERS, LETTERS):
        likely = rng.permutation(LETTERS)[:LIKELY]
        T[pair][likely] += (1 - RARE) * rng.dirichlet(np.ones(LIKELY))
    return T


def entropy() -> float:
    """h, in nats."""
    T = source()
    pi = np.full((LETTERS, LETTERS), LETTERS**-2.0)
    for _ in range(1000):
        pi = np.einsum("ab,abc->bc", pi, T)
    return float(-(pi[..., None] * T * np.log(T)).sum())


def sequences(
    sizes: tuple[int, int, int] = (768, 256, 512), length: int = 33, split: int = 0
) -> Sequences:
    """Sequences that are drawn independently; another `split` has others of the same source.

    - `sizes`: rows of train, valid and test
    - `length`: letters of a row
    """
    at_least(1, "sequences", sizes=tuple(sizes))
    at_least(3, "sequences", length=length)
    at_least(0, "sequences", split=split)
    if len(sizes) != len(SPLITS):
        raise ValueError(
            f"sequences: sizes are {tuple(sizes)}, expected three: rows of train, valid and test."
        )
    if sum(sizes) * length > MOST:
        raise ValueError(
            f"sequences: {sum(sizes)} rows of {length} letters are {sum(sizes) * length} letters, "
            f"{MOST} at most are drawn; give fewer or shorter ones."
        )
    n, rng = sum(sizes), np.random.default_rng((SEED, split, ROWS))
    cumulative = source().cumsum(axis=-1)
    rows = rng.integers(0, LETTERS, (n, length + BURN_IN))
    uniform = rng.random((n, length + BURN_IN))
    for t in range(2, length + BURN_IN):
        chances = cumulative[rows[:, t - 2], rows[:, t - 1]]  # (n, letters)
        rows[:, t] = (uniform[:, t, None] >= chances[:, :-1]).sum(axis=-1)
    ends = np.cumsum(sizes).tolist()
    splits = tuple(zip([0, *ends[:-1]], ends, strict=True))
    return Sequences(jnp.asarray(rows[:, BURN_IN:].astype(np.uint8)), splits, LETTERS)
