"""Games of two players: one descends f, the other climbs it."""

from ...core.lazy import submodules

__getattr__ = submodules(__name__)
