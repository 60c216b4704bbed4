"""SIGKILL and SIGTERM to `steppe train`: the run that goes on ends with the same bits."""

import random
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from robustness.kills import checkpoints, differences

WORDS = shlex.split(
    "--task quadratic --opt learned-adam --unroll 2 --horizon 8 --episodes 2 --steps 200 "
    "--validate-every 25 --checkpoint-every 3 --cores 1 --no-probe"
)


def start(*words: object) -> subprocess.Popen:
    command = [sys.executable, "-m", "steppe", "train", *map(str, words), "--quiet"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for_progress(process: subprocess.Popen, folder: Path) -> None:
    """Until a checkpoint is there that was not before, or the end of the process."""
    before = checkpoints(folder)
    while process.poll() is None and not checkpoints(folder) - before:
        time.sleep(0.005)


def test_a_run_that_was_killed_and_stopped_ends_with_the_same_bits(tmp_path):
    whole, folder = tmp_path / "whole", tmp_path / "run"
    process = start(*WORDS, "--out", whole)
    _, err = process.communicate()
    assert process.returncode == 0, err.decode()

    process = start(*WORDS, "--out", folder)
    wait_for_progress(process, folder)
    time.sleep(random.Random(1).uniform(0, 0.1))
    process.kill()
    process.communicate()

    process = start(*WORDS, "--out", folder)
    wait_for_progress(process, folder)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate()
    if process.returncode != 0:  # it may have been done already
        assert (process.returncode, out) == (143, b"")
        assert f"go on with `steppe train --resume {folder}`" in err.decode()
        assert err.count(b"\n") == 1
    assert not list(folder.glob(".*"))

    process = start("--resume", folder)
    _, err = process.communicate()
    assert process.returncode == 0, err.decode()
    assert differences(folder, whole) == []
