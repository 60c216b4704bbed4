"""One meta-gradient by one device and by several."""

import jax
import numpy as np
import pytest

from steppe.train.mesh import episode_mesh
from tests.train import mesh_worker as worker


def check(by_devices: dict, several: str) -> None:
    """The number of devices changes only the rounding, in double and in single precision."""
    for bits, rtol in (("64", 1e-12), ("32", 1e-6)):
        one, more = (np.array(by_devices[bits][count]) for count in ("1", several))
        assert np.all(one != 0)
        np.testing.assert_allclose(more, one, rtol=0, atol=rtol * np.linalg.norm(one))


def test_two_devices_give_the_meta_gradient_of_one():
    check(worker.devices(1, 2), "2")


@pytest.mark.slow
def test_four_devices_give_the_meta_gradient_of_one():
    check(worker.found(worker.spawn("devices", 1, 4)), "4")


def test_one_device_needs_no_mesh():
    assert episode_mesh(jax.local_devices()[:1]) is None
    assert episode_mesh().size == len(jax.devices())  # pyright: ignore
