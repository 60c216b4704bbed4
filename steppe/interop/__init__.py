from ..core.lazy import submodules

__getattr__ = submodules(__name__)
