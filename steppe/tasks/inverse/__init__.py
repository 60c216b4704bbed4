"""Inverse problems: few measurements of an unknown that is simple in some sense."""

from ...core.lazy import submodules

__getattr__ = submodules(__name__)
