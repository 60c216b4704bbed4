"""A language model as the second optimizer: clients, codecs, proposals, and the catalyst."""

from ..core.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
