"""Unrolled networks: layers that are the first steps of a solver, with trained numbers in them."""

from ...core.lazy import submodules

__getattr__ = submodules(__name__)
