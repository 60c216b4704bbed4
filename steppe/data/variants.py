"""A data set divided anew, with wrong labels, or with fewer rows to train on.

    varied(dataset, split=3)            another random division of all rows, the sizes kept
    varied(dataset, noise=0.2)          a fifth of the labels of train and valid are wrong
    varied(dataset, train=1000)         the first 1000 rows of train

Numbers on one division say nothing about other data. So a study runs several, and the interval is
over them. Division 0 is the one of the data set itself, with an official test set where there is
one; the others permute all rows, those of an official test set too.

Wrong labels are those of a person who made mistakes: in train and valid, never in test. What is
learned by heart then hurts, and training loss and test loss part.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from steppe.core.arguments import real, whole
from steppe.data.dataset import SEED, Dataset

LAST = 2**31  # number of a division, at most
NOISE = 1  # stream of the draws of wrong labels


def varied(
    dataset: Dataset, *, split: int = 0, noise: float = 0.0, train: int | None = None
) -> Dataset:
    """The data set, varied.

    - `split`: number of the division, from 0 on
    - `noise`: share of the labels of train and valid that are replaced by another class, 0 … 1
    - `train`: rows of train to keep, the first ones; None: all

    Rows and labels are drawn by `numpy.random.default_rng`: the same on every machine.
    """
    split = whole("split", split, least=0, most=LAST)
    noise = real("noise", noise)
    if not 0 <= noise <= 1:
        raise ValueError(f"noise must be a share from 0 to 1, got {noise}.")
    dataset = _divided(dataset, split) if split else dataset
    dataset = dataset if train is None else _fewer(dataset, train)
    return _mislabelled(dataset, noise, split) if noise else dataset


def _divided(dataset: Dataset, split: int) -> Dataset:
    """All rows permuted; the sizes stay."""
    order = np.random.default_rng((SEED, split)).permutation(len(dataset.y))
    return dataclasses.replace(dataset, x=dataset.x[order], y=dataset.y[order])


def _fewer(dataset: Dataset, train: int) -> Dataset:
    (_, end), *others = dataset.splits
    train = whole(f"train of {dataset.name}", train, least=1, most=end)
    kept = lambda rows: jnp.concatenate([rows[:train], rows[end:]])
    gone = end - train
    splits = ((0, train), *((start - gone, stop - gone) for start, stop in others))
    return dataclasses.replace(dataset, x=kept(dataset.x), y=kept(dataset.y), splits=splits)


def _mislabelled(dataset: Dataset, noise: float, split: int) -> Dataset:
    """Exactly the share `noise` of the rows before test, each with one of the other classes."""
    if dataset.classes < 2:
        raise ValueError(f"{dataset.name} has one class, so that no label can be wrong.")
    rng, y = np.random.default_rng((SEED, split, NOISE)), np.array(dataset.y)
    known = dataset.splits[1][1]
    rows = rng.permutation(known)[: round(noise * known)]
    y[rows] = (y[rows] + rng.integers(1, dataset.classes, len(rows))) % dataset.classes
    return dataclasses.replace(dataset, y=jnp.asarray(y))
