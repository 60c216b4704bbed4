"""The synthetic tasks by name: class and arguments. What they are in words: `tasks/names.py`.

Sizes, condition numbers and noise are those of the training problems of Wichrowska et al.,
"Learned optimizers that scale and generalize", ICML 2017, `-dm` those of the Open-L2O code for
Andrychowicz et al., NeurIPS 2016.
"""

import math

from ...core.task import AbstractTask
from ..networks import MLP
from . import lasso, quadratic, rastrigin
from .bowl import Bowl
from .chains import Chain
from .forms import Log, Rescaled, Sum
from .functions import FUNCTIONS, Formula
from .lasso import Lasso
from .matmul import Matmul
from .noisy import Noisy
from .norm import Norm
from .quadratic import Quadratic
from .rastrigin import Rastrigin
from .two_classes import TwoClasses
from .wells import Wells


def clouds(features: int, separation: float, batch_size: int) -> tuple[type[AbstractTask], dict]:
    sizes = {"features": features, "separation": separation, "batch_size": batch_size}
    return TwoClasses, {"network": MLP((), start="unit"), "data": "clouds", **sizes}


def teacher(features: int, hidden: tuple[int, ...], batch: int) -> tuple[type[AbstractTask], dict]:
    sizes = {"features": features, "batch_size": batch}
    return TwoClasses, {"network": MLP(hidden, start="unit"), "data": "teacher", **sizes}


SYNTHETIC: dict[str, tuple[type[AbstractTask], dict]] = {  # name: class, arguments
    "quadratic": (Quadratic, quadratic.SCALE),
    "quadratic-dm": (Quadratic, quadratic.DM),
    "wells": (Wells, {}),
    **{
        f"quadratic-{n}": (Quadratic, quadratic.SCALE | {"n": n})
        for n in (25, 50, 100, 784, 1024, 2048)
    },
    "quadratic-noisy": (Noisy, {"task": Quadratic(20), "deviation": 0.5}),
    "quadratic-50-noisy": (Noisy, {"task": Quadratic(50), "deviation": 1.0}),
    "quadratic-100-noisy": (Noisy, {"task": Quadratic(100), "deviation": 2.0}),
    "lasso": (Lasso, lasso.SCALE),
    "lasso-dm": (Lasso, lasso.DM),
    "lasso-dm-fixed": (Lasso, lasso.DM | {"seed": 0}),
    "rastrigin": (Rastrigin, rastrigin.SCALE),
    "rastrigin-dm": (Rastrigin, rastrigin.DM),
    "square-cos-dm": (Rastrigin, rastrigin.SQUARE_COS),
    "bowl-0.1": (Bowl, {"condition": 0.1}),
    "bowl-1": (Bowl, {"condition": 1.0}),
    "bowl-5": (Bowl, {"condition": 5.0}),
    "bowl-5-rotated": (Bowl, {"condition": 5.0, "angle": math.pi / 4}),
    **{name: (Formula, {"function": name}) for name in FUNCTIONS},
    "softmax-10": clouds(10, 2.0, 100),
    "softmax-100": clouds(100, 1.0, 50),
    "softmax-200": clouds(200, 1.5, 20),
    "softmax-256": clouds(256, 1.5, 100),
    "random-mlp-8": teacher(9, (8,), 128),
    "random-mlp-8-5": teacher(8, (8, 5), 10),
    "random-mlp-8-5-3": teacher(12, (8, 5, 3), 200),
    "random-mlp-4-5-6": teacher(11, (4, 5, 6), 64),
    "random-mlp-4-4-4-4": teacher(5, (4, 4, 4, 4), 100),
    "random-mlp-32-64": teacher(8, (32, 64), 10),
    "norm-1": (Norm, {"n": 27, "power": 1.0}),
    "norm-2": (Norm, {"n": 25, "power": 2.0}),
    "norm-3": (Norm, {"n": 22, "power": 3.0}),
    "matmul": (Matmul, {"n": 2, "k": 7}),
    "matmul-3": (Matmul, {"n": 3, "k": 23}),
    "min-max-well": (Chain, {"form": "min-max-well", "n": 20}),
    "dependency-chain": (Chain, {"form": "dependency-chain", "n": 21}),
    "outward-snake": (Chain, {"form": "outward-snake", "n": 20}),
    "projection-quadratic": (Chain, {"form": "projection-quadratic", "n": 20}),
    "log-quadratic": (Log, {"task": Quadratic(20)}),
    "log-bowl": (Log, {"task": Bowl(5.0)}),
    "rescaled-quadratic": (Rescaled, {"task": Quadratic(25), "scale": 10.0}),
    "rescaled-norm": (Rescaled, {"task": Norm(18, 1.5), "scale": 8.0}),
    "sparse-quadratic": (Noisy, {"task": Quadratic(20), "zero": 0.99}),
    "sparse-bowl": (Noisy, {"task": Bowl(5.0), "zero": 0.99}),
    "sum-quadratics": (Sum, {"tasks": tuple(Quadratic(n) for n in (11, 3, 9, 7, 5, 13, 12))}),
    "sum-functions": (Sum, {"tasks": tuple(Formula(name) for name in FUNCTIONS)}),
}
