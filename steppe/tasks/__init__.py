"""Tasks: `build("digits-mlp")`, or `Classify(digits(), MLP(hidden=(20,)))`."""

from ..core.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
