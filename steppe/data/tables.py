"""Rows of features with a label of two classes, from scikit-learn.

    name             rows × features   the label 1
    breast-cancer    569 × 30          a tumour that is benign
    odd-digits       1797 × 64         a digit that is odd

Each feature has the mean 0 and the standard deviation 1, or 0 where it never changes.
"""

import numpy as np
from jaxtyping import Float

from steppe.core.messages import did_you_mean, missing

TABLES = ("breast-cancer", "odd-digits")


def table(name: str) -> tuple[Float[np.ndarray, "rows n"], Float[np.ndarray, " rows"]]:
    """Features and labels, 0 or 1, of one of `TABLES`."""
    if name not in TABLES:
        raise ValueError(f"There is no table {name!r}; {did_you_mean(name, TABLES)}")
    try:
        from sklearn.datasets import load_breast_cancer, load_digits
    except ModuleNotFoundError as error:
        raise ImportError(missing(error)) from error
    load = load_breast_cancer if name == "breast-cancer" else load_digits
    A, y = (np.asarray(part, np.float64) for part in load(return_X_y=True))
    spread = A.std(axis=0)
    return (A - A.mean(axis=0)) / np.where(spread > 0, spread, 1), y % 2
