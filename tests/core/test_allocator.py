"""Freed blocks are kept: counted by the page faults of a process that needs them again."""

import subprocess
import sys

import pytest

COUNT = """
import resource, sys
from steppe.core.allocator import keep_freed
kept = keep_freed() if sys.argv[1] == "keep" else True
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
block = lambda: bytearray(20 * 2**20)  # cleared, so that every page is touched
block(), block()
began = faults()
for _ in range(20):
    block()
print(faults() - began if kept else "no")
"""


def counted(how: str) -> str:
    command = [sys.executable, "-c", COUNT, how]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_block_that_is_needed_again_costs_no_new_pages():
    kept = counted("keep")
    if kept == "no":
        pytest.skip("this libc has no mallopt")
    assert int(kept) < 1000  # of 20 blocks of 5120 pages
