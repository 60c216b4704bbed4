"""Damaged and hostile files through every reader of the library, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .watch import OUTCOMES

TESTS = Path(__file__).parents[1]
FAULTS = OUTCOMES[2:]


def fuzzed(out: Path, tries: int, *more: str) -> dict:
    """The record of so many tries; what an earlier run left at `out` is gone on with."""
    places = [str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")]
    command = [sys.executable, "-m", "robustness.fuzz", "--tries", str(tries), "--out", str(out)]
    done = subprocess.run(
        [*command, *more],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(places), "JAX_PLATFORMS": "cpu"},
        cwd=out.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    return json.loads(out.read_text())


def faults(record: dict) -> list:
    return [[name, *find] for name, kept in record["readers"].items() for find in kept["finds"]]


def test_no_reader_is_brought_down_by_a_damaged_file_or_a_bomb(tmp_path):
    record = fuzzed(tmp_path / "record.json", 1200, "--bombs")
    assert not faults(record)
    assert sum(kept["files"] for kept in record["readers"].values()) > 1140
    assert all(kept["refused"] or name == "cache" or "doctor" in name  # the damage is felt
               for name, kept in record["readers"].items() if kept["files"] > 20)  # fmt: skip
    assert len(record["bombs"]) > 80
    assert not {name: x for name, x in record["bombs"].items() if x[0] in FAULTS}


@pytest.mark.slow
def test_a_hundred_thousand_damaged_files(tmp_path):
    """The record is kept where STEPPE_FUZZ says, and gone on with."""
    out = Path(os.environ.get("STEPPE_FUZZ", tmp_path / "record.json"))
    record = fuzzed(out, 100_400, "--bombs")
    assert not faults(record)
    assert sum(kept["files"] for kept in record["readers"].values()) >= 100_000
    assert all(kept.get(name, 0) == 0 for kept in record["readers"].values() for name in FAULTS)
