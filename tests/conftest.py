"""What all tests share: float64, no silent broadcasting, fresh keys."""

import itertools
import zlib
from collections.abc import Callable

import jax
import jax.random as jr
import pytest

from steppe.core.types import Key

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def getkey(request: pytest.FixtureRequest) -> Callable[[], Key]:
    """A new key at every call; the same keys in every run of the test."""
    root = jr.key(zlib.crc32(request.node.nodeid.encode()))
    count = itertools.count()
    return lambda: jr.fold_in(root, next(count))
