"""From an optimizer to a formula: recorded runs, forms fitted to them, the choice among these."""

from ..core.lazy import submodules

__getattr__ = submodules(__name__)
