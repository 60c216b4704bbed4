"""The straightforward forms that the deployed step is timed against take the same steps."""

import jax
import pytest

from steppe.studies.speed import deployed


@pytest.mark.parametrize("framework", ["jax", "torch"])
def test_the_straightforward_form_takes_the_same_steps(framework):
    pytest.importorskip(framework, reason=f"{framework} is not installed")
    with jax.numpy_rank_promotion("allow"):  # as a user writes it
        found = deployed.agree(framework, 1000)
    assert set(found) == {"dm-v1", "rnnprop-v1"} and max(found.values()) < 1e-3
