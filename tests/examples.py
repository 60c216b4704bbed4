"""Small examples of every final class, for the contract suites in `contracts/`.

A new task enters with one line in `TASKS`: a name for test reports, and how to make it.
"""

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable

import jax.numpy as jnp
import jax.random as jr
import numpy as np

import steppe
from steppe.certificates.attack import Anything
from steppe.core.loss import LeastSquares
from steppe.core.regularizer import L1
from steppe.core.task import AbstractTask
from steppe.data import Dataset, arrange
from steppe.flatness.hessian import HessianTrace
from steppe.solvers.family import WithMinimum
from steppe.tasks import MLP, Classify, ConvNet, Quadratic, Wells
from steppe.tasks.games.matrix import MatrixGame
from steppe.tasks.games.mixture import GANRing
from steppe.tasks.games.quadratic import QuadraticGame
from steppe.tasks.games.seesaw import Seesaw
from steppe.tasks.inverse.family import Family
from steppe.tasks.inverse.logistic import SparseLogistic
from steppe.tasks.inverse.patches import ImagePatches
from steppe.tasks.inverse.recovery import SparseRecovery
from steppe.tasks.inverse.tables import TabularLogistic
from steppe.tasks.networks import NASCell
from steppe.tasks.synthetic.chains import Chain
from steppe.tasks.synthetic.functions import Formula
from steppe.tasks.synthetic.lasso import Lasso
from steppe.tasks.synthetic.matmul import Matmul
from steppe.tasks.synthetic.norm import Norm
from steppe.tasks.synthetic.quadratic import Bowl
from steppe.tasks.synthetic.rastrigin import Rastrigin
from steppe.tasks.synthetic.two_classes import TwoClasses
from steppe.tasks.text.next_letter import next_letter
from steppe.tasks.text.prompts import PromptTuning
from steppe.tasks.wrappers.combined import Log, Rescaled, Sum
from steppe.tasks.wrappers.flattened import Flattened
from steppe.tasks.wrappers.noisy import Noisy
from steppe.tasks.wrappers.population import Population
from steppe.tasks.wrappers.scaled import Scaled
from steppe.tasks.wrappers.shifted import Shifted
from steppe.tasks.wrappers.with_bowl import WithBowl
from steppe.train.adapt import OneInstance
from tests.tasks.ellipse import Ellipse
from tests.tasks.text.tiny import encoder, texts


def pictures(shape: tuple[int, ...] = (6, 6), *, classes: int = 3, seed: int = 0) -> Dataset:
    """Noise with labels: 1000 / 100 / 100 rows."""
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 256, (1200, *shape), dtype=np.uint8), rng.integers(0, classes, 1200)
    sizes = (1000, 100, 100)
    return arrange(x, y, sizes=sizes, name="pictures", classes=classes, scale=1 / 255)


def misfit(b):
    """Least squares of measurements by one matrix."""
    return LeastSquares(jnp.asarray(np.arange(6.0).reshape(3, 2)), b)


TASKS: dict[str, Callable[[], AbstractTask]] = {
    "quadratic": lambda: Quadratic(n=3),
    "quadratic-joint": lambda: Quadratic(n=3, rows=4, instances=2, data="uniform"),
    "wells": lambda: Wells(n=3),
    "lasso": lambda: Lasso(n=2, data="uniform"),
    "sparse-recovery": lambda: SparseRecovery(rows=3, n=4, snr=20.0, start="normal"),
    "sparse-logistic": lambda: SparseLogistic(rows=6, n=3),
    "image-patches": lambda: ImagePatches(),
    "tabular-logistic": lambda: TabularLogistic(rows=8),
    "family": lambda: Family(lambda key: jr.normal(key, (3,)), misfit, L1(0.1)),
    "anything": lambda: Anything(),
    "matrix-game": lambda: MatrixGame(n=2),
    "matrix-game-bounded": lambda: MatrixGame(2, "uniform", "uniform", largest_condition=20.0),
    "quadratic-game": lambda: QuadraticGame(2, coupling=1.0),
    "seesaw": lambda: Seesaw(3),
    "gan-ring": lambda: GANRing(modes=3, spread=0.3, latent=1, width=2, batch_size=4),
    "lasso-spread": lambda: Lasso(n=2, labels="symmetric", spread=(0.1, 10.0), between=True),
    "rastrigin": lambda: Rastrigin(n=2, data="uniform"),
    "rastrigin-textbook": lambda: Rastrigin(n=2, data="textbook", box=3.0, alpha=(0.5, 2.0)),
    "rastrigin-shifted": lambda: Rastrigin(n=2, data="textbook", box=3.0, shift=2.0),
    "norm": lambda: Norm(n=2),
    "bowl": lambda: Bowl(),
    "formula": lambda: Formula(),
    "chain": lambda: Chain("outward-snake", n=3, rows=4),
    "matmul": lambda: Matmul(n=2, k=4),
    "two-classes": lambda: TwoClasses(features=2, rows=20, batch_size=4),
    "log": lambda: Log(Bowl()),
    "rescaled": lambda: Rescaled(Bowl()),
    "sum": lambda: Sum((Bowl(), Chain(n=2))),
    # Finite differences see the values, which have no noise: so it must be small here.
    "noisy": lambda: Noisy(Bowl(), deviation=1e-7),
    "classify-mlp": lambda: Classify(pictures(), MLP(hidden=(4,)), batch_size=8),
    "scaled": lambda: Scaled(Ellipse()),
    "shifted": lambda: Shifted(Ellipse(), 0.5, -0.25),
    "population": lambda: Population(Ellipse(), 3),
    "with-bowl": lambda: WithBowl(Ellipse(), 2),
    "one-instance": lambda: OneInstance(Bowl(), ()),
    "with-minimum": lambda: WithMinimum(SparseRecovery(rows=3, n=4, start="normal")),
    "flattened": lambda: Flattened(
        Classify(pictures(), MLP(hidden=(4,)), batch_size=8), HessianTrace(), 0.1
    ),
    "classify-conv": lambda: Classify(
        pictures(), ConvNet(channels=(2,), kernels=(3,), strides=(1,)), batch_size=8
    ),
    "prompt-tuning": lambda: PromptTuning(texts(), encoder(), rows=2, batch_size=3),
    "next-letter": lambda: next_letter(
        sizes=(2000, 4, 4), length=3, width=4, heads=2, blocks=1, batch_size=2
    ),
    "classify-nas": lambda: Classify(pictures(), NASCell(channels=1), batch_size=8),
}


def final_classes(base: type) -> set[type]:
    """All subclasses of `base` in the library that can be made."""
    for module in pkgutil.walk_packages(steppe.__path__, "steppe."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found, new = set(), [base]
    while new:
        new = [sub for cls in new for sub in cls.__subclasses__()]
        found.update(new)
    return {
        cls
        for cls in found
        if cls.__module__.startswith("steppe.")
        and not cls.__module__.startswith("steppe.studies.")  # a study's own, for its questions
        and not inspect.isabstract(cls)
        # equinox makes subclasses of its own
        and getattr(sys.modules[cls.__module__], cls.__name__, None) is cls
    }
