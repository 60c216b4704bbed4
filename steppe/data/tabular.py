"""Rows of features with class labels, as `Dataset`s.

    name             rows x features  classes  train  valid  test
    breast-cancer     569 x 30        2          369    100   100   of scikit-learn
    wine              178 x 13        3           98     40    40   of scikit-learn
    mixture          3000 x 10        4         1200    600  1200   drawn, see `mixture`

Each feature runs from 0 to 1 over all rows. One permutation of all rows, that of `arrange`.
"""

import numpy as np

from steppe.core.messages import missing
from steppe.data.dataset import Dataset, arrange

CLASSES, CLUSTERS, FEATURES, ROWS = 4, 4, 10, 3000  # of the mixture; clusters of each class
SPREAD = 0.55  # standard deviation of a cluster, whose centres have 1


def breast_cancer() -> Dataset:
    """Tumours, malignant (0) or benign (1), by 30 measures of their cells."""
    return _of_sklearn("breast-cancer", "load_breast_cancer", (369, 100, 100), 2)


def wine() -> Dataset:
    """Wines of three growers, by 13 chemical measures."""
    return _of_sklearn("wine", "load_wine", (98, 40, 40), 3)


def mixture() -> Dataset:
    """Four classes of four normal clusters each, in ten dimensions, overlapping a little."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLASSES * CLUSTERS, FEATURES))
    place = rng.integers(0, len(centres), ROWS)
    x = centres[place] + SPREAD * rng.standard_normal((ROWS, FEATURES))
    return arrange(
        _unit(x), place % CLASSES, sizes=(1200, 600, 1200), name="mixture", classes=CLASSES
    )


def _of_sklearn(name: str, loader: str, sizes: tuple[int, int, int], classes: int) -> Dataset:
    try:
        import sklearn.datasets
    except ModuleNotFoundError as error:
        raise ImportError(missing(error)) from error
    x, y = getattr(sklearn.datasets, loader)(return_X_y=True)
    return arrange(_unit(np.asarray(x)), np.asarray(y), sizes=sizes, name=name, classes=classes)


def _unit(x: np.ndarray) -> np.ndarray:
    """Each feature from 0 to 1, in float32."""
    low, high = x.min(axis=0), x.max(axis=0)
    return np.clip((x - low) / (high - low), 0, 1).astype(np.float32)
