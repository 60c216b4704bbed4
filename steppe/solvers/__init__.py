"""The best solver for a family of problems: trained, compared, guarded, certified, in one file."""

from ..core.lazy import submodules

__getattr__ = submodules(__name__)
