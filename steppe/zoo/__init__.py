"""Optimizers by name, and on disk: `build("adam", lr=1e-3)`, `load_optimizer(path)`.

Names are looked up on first use, so that `steppe.zoo.names` is read without importing JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .names import NAMES

if TYPE_CHECKING:
    from .kinds import BUILDERS, KINDS, build, load_optimizer, save_optimizer

__all__ = ["BUILDERS", "KINDS", "NAMES", "build", "load_optimizer", "save_optimizer"]


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.kinds"), name)


def __dir__() -> list[str]:
    return __all__
