"""Data sets as arrays: `minibatch(mnist(), key, 128, "train")`.

Names are looked up on first use, so that `steppe.data.names` is read without importing JAX.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from steppe.data.names import NAMES

if TYPE_CHECKING:
    from steppe.data.dataset import Dataset, arrange, minibatch, whole
    from steppe.data.images import cifar10, digits, load, mnist, mnist5k, raw_mnist5k

__all__ = [
    "NAMES",
    "Dataset",
    "arrange",
    "cifar10",
    "digits",
    "load",
    "minibatch",
    "mnist",
    "mnist5k",
    "raw_mnist5k",
    "whole",
]


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    file = "dataset" if name in ("Dataset", "arrange", "minibatch", "whole") else "images"
    return getattr(import_module(f"{__name__}.{file}"), name)


def __dir__() -> list[str]:
    return __all__
