"""Two photographs in grey, and an alphabet of which their small windows are sparse sums.

    window   side × side pixels, less their least, over their range + 0.001, less their mean
    A        (side², atoms), columns of length 1, learned from 4000 windows with the weight 0.5 on
             ‖x‖₁ (Mairal et al., "Online learning for matrix factorization and sparse coding",
             JMLR 2010, by scikit-learn)

The photographs are scikit-learn's, `china.jpg` and `flower.jpg`. That of 8×8 pixels and 128 atoms
comes with steppe, `patches-8-128.npz`; others are learned when they are first asked for, in about a
minute, and kept in the cache. Windows are made as in the code of Liu et al., "Towards constituting
mathematical structures for learning to optimize", ICML 2023, which takes them from BSDS500.
"""

import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Array, Float

from steppe.core.messages import at_least, missing
from steppe.data import cache
from steppe.store.npz import opened
from steppe.store.untrusted import Source

SHIPPED = Path(__file__).parent / "patches-8-128.npz"
GREY = (0.2125, 0.7154, 0.0721)  # shares of red, green and blue (ITU-R BT.709)
WINDOWS, WEIGHT, SEED = 4000, 0.5, 0  # of the learned alphabet


def photographs() -> Float[np.ndarray, "2 427 640"]:
    """The two photographs, from 0 (black) to 1."""
    try:
        import PIL  # noqa: F401  by which scikit-learn decodes them
        from sklearn.datasets import load_sample_images
    except ModuleNotFoundError as error:
        raise ImportError(missing(error)) from error
    return np.stack([picture / 255 @ np.array(GREY) for picture in load_sample_images().images])


def centred(window: np.ndarray | Array) -> np.ndarray | Array:
    """The pixels of a window in units of their range, with the mean 0."""
    spread = (window - window.min()) / (window.max() - window.min() + 1e-3)
    return spread - spread.mean()


def alphabet(side: int = 8, atoms: int = 128) -> Float[np.ndarray, "pixels atoms"]:
    """The columns of which windows are sparse sums, in float32."""
    at_least(1, "alphabet", side=side, atoms=atoms)
    name = f"patches-{side}-{atoms}"
    if name == SHIPPED.stem:
        with opened(SHIPPED, Source(str(SHIPPED))) as entries:
            return entries["A"]
    return cache.fetch(name, lambda: {"A": learn(side, atoms)})["A"]


def learn(side: int, atoms: int) -> Float[np.ndarray, "pixels atoms"]:
    """Learn an alphabet from windows at random places."""
    pictures, rng = photographs(), np.random.default_rng(SEED)
    count, height, width = pictures.shape
    for name, given, most in (("side", side, min(height, width)), ("atoms", atoms, WINDOWS)):
        if given > most:
            raise ValueError(f"alphabet: {name} must be at most {most}, got {given}.")
    from sklearn.decomposition import MiniBatchDictionaryLearning
    from sklearn.exceptions import ConvergenceWarning

    shape = (WINDOWS, 3)
    places = rng.integers((count, height - side + 1, width - side + 1), size=shape)
    windows = [
        centred(pictures[k, i : i + side, j : j + side]).ravel() for k, i, j in places.tolist()
    ]
    learner = MiniBatchDictionaryLearning(atoms, random_state=SEED).set_params(alpha=WEIGHT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of one round among many
        columns = learner.fit(np.array(windows)).components_.T
    return (columns / np.linalg.norm(columns, axis=0)).astype(np.float32)
