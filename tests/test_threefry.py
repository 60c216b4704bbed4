"""The random bits that tests draw are those of JAX."""

import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry_2x32

# Salmon, Moraes, Dror & Shaw, Random123, kat_vectors: threefry2x32, 20 rounds.
PUBLISHED = [
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]


def test_the_bits_are_the_published_ones():
    for key, counter, expected in PUBLISHED:
        key, counter = (np.array(words, np.uint32) for words in (key, counter))
        np.testing.assert_array_equal(
            threefry_2x32(jnp.asarray(key), jnp.asarray(counter)), expected
        )
