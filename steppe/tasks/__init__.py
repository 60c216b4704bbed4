"""Tasks: `build("digits-mlp")`, or `Classify(digits(), MLP(hidden=(20,)))`.

Names are looked up on first use, so that `steppe.tasks.names` is read without importing JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .names import NAMES

if TYPE_CHECKING:
    from .classify import Classify
    from .networks import MLP, ConvNet
    from .suite import build, options
    from .synthetic.quadratic import Quadratic
    from .synthetic.wells import Wells

FILES = {
    "Classify": "classify",
    "ConvNet": "networks",
    "MLP": "networks",
    "Quadratic": "synthetic.quadratic",
    "Wells": "synthetic.wells",
    "build": "suite",
    "options": "suite",
}

__all__ = ["MLP", "NAMES", "Classify", "ConvNet", "Quadratic", "Wells", "build", "options"]


def __getattr__(name: str):
    if name not in FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{FILES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
