"""The examples run, learn, and are short."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("convnet*.py")), ids=lambda path: path.stem)
def test_an_example_trains_a_network_on_real_digits(path):
    for package in ("sklearn", "torch") if "torch" in path.stem else ("sklearn",):
        pytest.importorskip(package, reason=f"{package} is not installed")
    assert len(path.read_text().splitlines()) < 60
    words = [sys.executable, str(path), "--steps", "60"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert len(said) == 2 and float(said[-1].split()[-1]) > 0.85, said  # 0.1 is chance


def test_both_frameworks_have_one():
    assert {path.stem for path in FOLDER.glob("convnet*.py")} == {"convnet_jax", "convnet_torch"}


def test_a_solver_of_ones_own_is_certified_in_ten_lines():
    path = FOLDER / "certify_solver.py"
    body = path.read_text().split("def solve")[1].splitlines()
    assert len([line for line in body if line.strip() and '"""' not in line]) <= 10
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("With confidence 99 %: at least ")
    assert "worked out again" in done.stdout
