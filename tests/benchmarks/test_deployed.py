"""The straightforward forms that the deployed step is timed against take the same steps."""

import importlib.util
import sys
from pathlib import Path

import jax
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def deployed():
    sys.path.insert(0, str(FOLDER))
    try:
        spec = importlib.util.spec_from_file_location("deployed", FOLDER / "deployed.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(FOLDER))


@pytest.mark.parametrize("framework", ["jax", "torch"])
def test_the_straightforward_form_takes_the_same_steps(deployed, framework):
    pytest.importorskip(framework, reason=f"{framework} is not installed")
    with jax.numpy_rank_promotion("allow"):  # as a user writes it
        found = deployed.agree(framework, 1000)
    assert set(found) == {"dm-v1", "rnnprop-v1"} and max(found.values()) < 1e-3
