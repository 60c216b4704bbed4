"""Where the published weights and the numbers obtained with them are."""

import json
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
FOLDER = TESTS.parents[1] / "shared" / "reference" / "open-l2o"
GOLDEN = json.loads((TESTS / "golden" / "open_l2o.json").read_text())


def weights(name: str) -> Path:
    """The npz file of published weights, or a skipped test."""
    path = FOLDER / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"needs the published weights, {path} is missing")
    return path
