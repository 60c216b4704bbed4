"""Optimizers by name, and on disk: `build("adam", lr=1e-3)`, `load("rnnprop-v1")`.

Names are looked up on first use, so that `steppe.zoo.names` is read without importing JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .names import NAMES, PRETRAINED

if TYPE_CHECKING:
    from .io import BUILDERS, KINDS, build, load_optimizer, save_optimizer
    from .shipped import Card, card, load

__all__ = [
    "BUILDERS",
    "KINDS",
    "NAMES",
    "PRETRAINED",
    "Card",
    "build",
    "card",
    "load",
    "load_optimizer",
    "save_optimizer",
]


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    file = "shipped" if name in ("Card", "card", "load") else "io"
    return getattr(import_module(f"{__name__}.{file}"), name)


def __dir__() -> list[str]:
    return __all__
