"""Texts: a frozen encoder, and what is put in front of its words; a transformer that is trained."""

from ...core.lazy import submodules

__getattr__ = submodules(__name__)
