"""Numbers: optimizers run on tasks, tuned, compared, and kept as records."""

from ..core.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
