"""Data sets as arrays: `minibatch(mnist(), key, 128, "train")`."""

from ..core.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
