"""A data set on the device, with minibatches drawn inside the compiled program.

    x  (n, ...)  uint8 or float,   x · scale ∈ [0, 1]
    y  (n,)      class labels 0 … classes − 1
    [0 ─ train ─ a)[a ─ valid ─ b)[b ─ test ─ n)

The rows are permuted once, when the data set is made, so a split is a slice and drawing from it
is `randint` and a gather. Images stay uint8 in memory; only gathered rows become floating point.

A minibatch is drawn i.i.d. uniformly *with* replacement, as in the DM and RNNprop code base
(flatness-l2o.md §9.1): no epoch state to carry through `scan`, and every row has the same law at
every step.

Under `vmap` over keys the data set must stay outside the mapped arguments; then it is read, not
copied, by every lane.
"""

from collections.abc import Sequence
from typing import get_args

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from steppe.core.messages import at_least
from steppe.core.types import Key, Split
from steppe.data.formats import check_labels

SPLITS = get_args(Split)  # ("train", "valid", "test")
SEED = 0  # of every fixed permutation: changing it changes every split


class Dataset(eqx.Module):
    """Images (or other rows) with class labels, and three contiguous splits.

    `splits` holds (start, stop) of train, valid, test, in this order; they cover all rows.
    """

    x: UInt8[Array, "n ..."] | Float[Array, "n ..."]
    y: Int[Array, " n"]
    splits: tuple[tuple[int, int], ...] = eqx.field(static=True)
    classes: int = eqx.field(static=True)
    name: str = eqx.field(static=True)
    scale: float = eqx.field(static=True)

    def __check_init__(self):
        n = self.x.shape[0]
        if self.y.shape != (n,):
            raise ValueError(
                f"Dataset {self.name}: x has {n} rows, but y has the shape {self.y.shape}; "
                f"give one label per row, shape ({n},)."
            )
        stops = [stop for _, stop in self.splits]
        if (
            len(stops) != len(SPLITS)
            or [start for start, _ in self.splits] != [0, *stops[:-1]]
            or stops != sorted(stops)
            or stops[-1] != n
        ):
            raise ValueError(
                f"Dataset {self.name}: splits are {self.splits}, expected three (start, stop) "
                f"pairs that follow one another from 0 to {n}; `arrange` makes them from sizes."
            )
        if self.x.dtype != jnp.uint8 and not jnp.issubdtype(self.x.dtype, jnp.floating):
            raise ValueError(
                f"Dataset {self.name}: x is {self.x.dtype}, expected uint8 or floating point; "
                "convert it first."
            )


def arrange(
    x: np.ndarray,
    y: np.ndarray,
    *,
    sizes: Sequence[int],
    name: str,
    classes: int = 10,
    scale: float = 1.0,
    shuffled: int | None = None,
) -> Dataset:
    """Permute rows and cut them into train, valid and test.

    The permutation is `numpy.random.default_rng(0)`: the same on every machine.

    - `x`: rows, (n, …), uint8 or float
    - `y`: class labels, (n,), 0 … classes − 1
    - `sizes`: lengths of train, valid and test, which add up to n
    - `name`: of the data set
    - `classes`: number of classes
    - `scale`: factor that brings x into [0, 1]
    - `shuffled`: number of first rows to permute, None for all; with `sizes[0] + sizes[1]` an
      official test set at the end stays the test set
    """
    n = len(x)
    shuffled = n if shuffled is None else shuffled
    if len(sizes) != len(SPLITS) or min(sizes) < 0 or sum(sizes) != n or not 0 <= shuffled <= n:
        raise ValueError(
            f"arrange: {name} has {n} rows, but sizes are {tuple(sizes)} with {shuffled} rows "
            f"shuffled; give three lengths that add up to {n} and shuffle at most {n} rows."
        )
    y = check_labels(y, n, classes, source=name)
    low, high = (x.min() * scale, x.max() * scale) if x.size else (0.0, 0.0)
    if not (low >= 0 and high <= 1):  # also catches NaN
        raise ValueError(
            f"arrange: x · scale of {name} runs from {low} to {high}, expected finite numbers in "
            "[0, 1]; clean the data or change `scale`."
        )
    order = np.arange(n)
    order[:shuffled] = np.random.default_rng(SEED).permutation(shuffled)
    train, valid, _ = np.cumsum(sizes).tolist()
    splits = ((0, train), (train, valid), (valid, n))
    return Dataset(jnp.asarray(x[order]), jnp.asarray(y[order]), splits, classes, name, scale)


def span(dataset: Dataset, split: Split) -> tuple[int, int]:
    """First row of a split and the row after its last."""
    if split not in SPLITS:
        raise ValueError(f"There is no split {split!r}; use one of {', '.join(SPLITS)}.")
    start, stop = dataset.splits[SPLITS.index(split)]
    if start == stop:
        raise ValueError(
            f"The {split} split of {dataset.name} is empty; choose another split, or other "
            "`sizes` when the data set is made."
        )
    return start, stop


def minibatch(
    dataset: Dataset, key: Key, size: int, split: Split = "train"
) -> tuple[Float[Array, "size ..."], Int[Array, " size"]]:
    """Draw rows of one split, i.i.d. uniform with replacement; x in [0, 1].

    - `dataset`: to draw from
    - `key`: of the draw
    - `size`: number of rows
    - `split`: "train", "valid" or "test"
    """
    start, stop = span(dataset, split)
    # int32 in float64 mode too: the same key then draws the same rows in both modes.
    rows = jr.randint(key, (size,), start, stop, dtype=jnp.int32)  # (size,)
    x = dataset.x.at[rows].get(mode="promise_in_bounds")  # (size, ...)
    y = dataset.y.at[rows].get(mode="promise_in_bounds")  # (size,)
    return _unit(dataset, x), y


def whole(
    dataset: Dataset, split: Split, limit: int | None = None
) -> tuple[Float[Array, "rows ..."], Int[Array, " rows"]]:
    """All rows of one split; x in [0, 1].

    - `dataset`: to read from
    - `split`: "train", "valid" or "test"
    - `limit`: number of first rows to take, ≥ 1; None for all
    """
    at_least(1, "whole", limit=limit)
    start, stop = span(dataset, split)
    stop = stop if limit is None else min(stop, start + limit)
    return _unit(dataset, dataset.x[start:stop]), dataset.y[start:stop]


def _unit(dataset: Dataset, x: Array) -> Float[Array, "rows ..."]:
    return x.astype(jnp.result_type(float)) * dataset.scale
