"""One meta-gradient by one device and by several."""

import jax
import numpy as np
import pytest

from steppe.train.mesh import episode_mesh
from tests.train import mesh_worker as worker


@pytest.fixture(scope="module")
def by_devices():
    """Meta-gradients in double and single precision, by one device and by four."""
    return worker.found(worker.spawn("devices", 1, 4))


@pytest.mark.parametrize("bits, rtol", [("64", 1e-12), ("32", 1e-6)])
def test_the_number_of_devices_changes_only_the_rounding(by_devices, bits, rtol):
    one, four = (np.array(by_devices[bits][count]) for count in ("1", "4"))
    assert np.all(one != 0)
    np.testing.assert_allclose(four, one, rtol=0, atol=rtol * np.linalg.norm(one))


def test_one_device_needs_no_mesh():
    assert episode_mesh(jax.local_devices()[:1]) is None
    assert episode_mesh().size == len(jax.devices())  # pyright: ignore
