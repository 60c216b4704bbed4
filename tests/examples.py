"""Small examples of every final class, for the contract suites in `contracts/`.

A new task enters with one line in `TASKS`: a name for test reports, and how to make it.
"""

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable

import numpy as np

import steppe
from steppe.core.task import AbstractTask
from steppe.data import Dataset, arrange
from steppe.flatness.hessian import HessianTrace
from steppe.tasks import MLP, Classify, ConvNet, Quadratic, Wells
from steppe.tasks.flattened import Flattened


def pictures(shape: tuple[int, ...] = (6, 6), *, classes: int = 3, seed: int = 0) -> Dataset:
    """Noise with labels: 1000 / 100 / 100 rows."""
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 256, (1200, *shape), dtype=np.uint8), rng.integers(0, classes, 1200)
    sizes = (1000, 100, 100)
    return arrange(x, y, sizes=sizes, name="pictures", classes=classes, scale=1 / 255)


TASKS: dict[str, Callable[[], AbstractTask]] = {
    "quadratic": lambda: Quadratic(n=3),
    "quadratic-joint": lambda: Quadratic(n=3, rows=4, instances=2, data="uniform"),
    "wells": lambda: Wells(n=3),
    "classify-mlp": lambda: Classify(pictures(), MLP(hidden=(4,)), batch_size=8),
    "flattened": lambda: Flattened(
        Classify(pictures(), MLP(hidden=(4,)), batch_size=8), HessianTrace(), 0.1
    ),
    "classify-conv": lambda: Classify(
        pictures(), ConvNet(channels=(2,), kernels=(3,), strides=(1,)), batch_size=8
    ),
}


def final_classes(base: type) -> set[type]:
    """All subclasses of `base` in the package that can be made."""
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
        and not inspect.isabstract(cls)
        # equinox makes subclasses of its own
        and getattr(sys.modules[cls.__module__], cls.__name__, None) is cls
    }
