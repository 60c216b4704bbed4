"""Optimizers by name, and on disk: `build("adam", lr=1e-3)`, `load("rnnprop-v1")`."""

from ..core.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
