"""Tasks: `build("digits-mlp")`, or `Classify(digits(), MLP(hidden=(20,)))`.

Names are looked up on first use, so that `steppe.tasks.names` is read without importing JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .names import NAMES, SUITES

if TYPE_CHECKING:
    from .augment import scaled, with_bowl
    from .classify import Classify
    from .networks import MLP, VGG, ConvNet, LeNet, NASCell, ResNet
    from .suite import build, options
    from .synthetic.noisy import Noisy
    from .synthetic.quadratic import Quadratic
    from .synthetic.wells import Wells

FILES = {
    "Classify": "classify",
    "ConvNet": "networks",
    "LeNet": "networks",
    "MLP": "networks",
    "NASCell": "networks",
    "Noisy": "synthetic.noisy",
    "Quadratic": "synthetic.quadratic",
    "ResNet": "networks",
    "VGG": "networks",
    "Wells": "synthetic.wells",
    "build": "suite",
    "options": "suite",
    "scaled": "augment",
    "with_bowl": "augment",
}

__all__ = [
    "MLP",
    "NAMES",
    "SUITES",
    "VGG",
    "Classify",
    "ConvNet",
    "LeNet",
    "NASCell",
    "Noisy",
    "Quadratic",
    "ResNet",
    "Wells",
    "build",
    "options",
    "scaled",
    "with_bowl",
]


def __getattr__(name: str):
    if name not in FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{FILES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
