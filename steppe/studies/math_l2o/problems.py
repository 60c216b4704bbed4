"""Problems that solvers are judged on, and their gaps in float64.

    lasso       ½‖Ax − b‖² + 0.1‖x‖₁, A Gaussian with columns of length 1, as in meta-training
    larger      the same at 2.5 times the size
    patches     8×8 patches of two photographs, 0.5‖x‖₁
    logistic    mean logistic loss of random labels + 0.01‖x‖₁
    cancer      the same of breast cancer data, 569 rows of 30 features

Patches are made as in the code of Liu et al. 2023: the dictionary of 128 is fitted to the very
patches that are solved. (`tasks.inverse.patches` has one learned from others.)
"""

import functools
import warnings

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from ...core.loss import Composite, LeastSquares, Logistic
from ...core.regularizer import L1
from ...core.task import AbstractFormula, AbstractTask, Problem
from ...core.types import Instance, Key, Scalar
from ...tasks.inverse.logistic import SparseLogistic
from ...tasks.inverse.optimum import optimum
from ...tasks.inverse.recovery import SparseRecovery
from ...tasks.inverse.tables import TabularLogistic

PATCHES, ATOMS, SIDE = 1000, 128, 8
TINY = 1e-10  # a minimum below: the gap is not divided by it
FLOOR, MOST = 1e-16, 1e6  # of gaps


class Patches(AbstractFormula):
    """½‖Ax − b‖² + 0.5‖x‖₁, b one of the given patches; starts at 0."""

    A: Float[Array, "rows n"]
    b: Float[Array, "patches rows"]
    lipschitz: Scalar

    def __init__(self, A: np.ndarray, b: np.ndarray):
        self.A, self.b = jnp.asarray(A), jnp.asarray(b)
        self.lipschitz = LeastSquares(self.A, self.b[0]).lipschitz()

    def sample(self, key: Key) -> Float[Array, " rows"]:
        return self.b[jr.randint(key, (), 0, len(self.b))]

    def init(self, instance: Float[Array, " rows"], key: Key) -> Float[Array, " n"]:
        return jnp.zeros(self.A.shape[1], self.A.dtype)

    def loss(self, instance: Float[Array, " rows"], batch: tuple[()], key: Key) -> Composite:
        return Composite(LeastSquares(self.A, instance), L1(0.5), self.lipschitz)

    def target(self, instance: Float[Array, " rows"]) -> None:
        return None

    def metrics(self, params, instance, batch, key) -> dict[str, Scalar]:
        return {}


@functools.cache
def patches() -> Patches:
    from sklearn.datasets import load_sample_images
    from sklearn.decomposition import MiniBatchDictionaryLearning

    rng = np.random.default_rng(0)
    greys = [image.mean(axis=-1) for image in load_sample_images().images]
    found = []
    for _ in range(PATCHES):
        grey = greys[rng.integers(len(greys))]
        i, j = (rng.integers(size - SIDE + 1) for size in grey.shape)
        patch = grey[i : i + SIDE, j : j + SIDE].ravel()
        patch = (patch - patch.min()) / (np.ptp(patch) + 1e-3)
        found.append(patch - patch.mean())
    learner = MiniBatchDictionaryLearning(ATOMS, random_state=0).set_params(
        alpha=0.5, max_iter=10, batch_size=50, fit_algorithm="cd"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an approximate dictionary is what is asked for
        atoms = learner.fit(np.array(found)).components_.T
    return Patches(atoms / np.linalg.norm(atoms, axis=0), np.array(found))


def lasso(rows: int, n: int) -> SparseRecovery:
    """One unknown in eight is not zero, as in the start-up example of the published code."""
    return SparseRecovery(rows=rows, n=n, weight=0.1, density=0.125)


def logistic() -> SparseLogistic:
    return SparseLogistic(rows=200, n=50, weight=0.01)


def kinds(rows: int, n: int, problems: int) -> dict[str, tuple[AbstractTask, int]]:
    """Each kind of problem by name, and how many of it are solved."""
    return {
        "lasso": (lasso(rows, n), problems),
        "larger": (lasso(5 * rows // 2, 5 * n // 2), max(problems // 4, 1)),
        "patches": (patches(), max(problems // 2, 1)),
        "logistic": (logistic(), max(problems // 8, 1)),
        "cancer": (TabularLogistic("breast-cancer", weight=0.01), 1),
    }


def gaps(
    task: AbstractTask, instance: Instance, x: Float[np.ndarray, "points n"]
) -> Float[np.ndarray, " points"]:
    """(F − F*) / F* at many points, from 1e-16 to 1e6; F − F* itself where F* is 0."""
    loss = Problem(task, instance, (), jr.key(0)).loss()
    assert isinstance(loss, Composite)
    best = optimum(loss, tolerance=1e-12)
    least = best.value - best.gap
    found = (values(loss, x) - least) / (least if least > TINY else 1)
    return np.clip(np.nan_to_num(found, nan=MOST, posinf=MOST), FLOOR, MOST)


def values(loss: Composite, x: Float[np.ndarray, "points n"]) -> Float[np.ndarray, " points"]:
    """The objective at many points, in float64."""
    smooth, r = loss.smooth, loss.regularizer
    assert isinstance(smooth, LeastSquares | Logistic) and isinstance(r, L1)
    A, x = np.asarray(smooth.A, np.float64), np.asarray(x, np.float64)
    with np.errstate(all="ignore"):
        z = x @ A.T
        if isinstance(smooth, LeastSquares):
            f = np.sum((z - np.asarray(smooth.b, np.float64)) ** 2, axis=1) / 2
        else:
            f = np.mean(np.logaddexp(z, 0) - np.asarray(smooth.y, np.float64) * z, axis=1)
        return f + float(r.weight) * np.sum(np.abs(x), axis=1)
