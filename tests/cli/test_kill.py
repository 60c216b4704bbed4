"""SIGKILL at random moments, then resume: the model is the same to the last bit."""

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

WORDS = shlex.split(
    "--task quadratic --opt dm --hidden 2 --unroll 2 --horizon 8 --episodes 2 "
    "--validate-every 20 --checkpoint-every 2 --cores 2"
)


def start(cache: Path, *words: object) -> subprocess.Popen:
    env = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command = [sys.executable, "-m", "steppe", "train", *map(str, words), "--quiet"]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def checkpoints(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("step-*.safetensors")}


def wait_for_progress(process: subprocess.Popen, folder: Path) -> None:
    """Until a checkpoint is there that was not before, or the end of the process."""
    before = checkpoints(folder)
    while process.poll() is None and not checkpoints(folder) - before:
        time.sleep(0.005)


def steps_and_scores(folder: Path) -> list[tuple[int, float | None]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row.get("valid_loss")) for row in rows]


@pytest.fixture(scope="module")
def uninterrupted(request, tmp_path_factory) -> tuple[list[str], Path, Path]:
    """The options and the folder of a run that nothing disturbed, and a compilation cache."""
    home = tmp_path_factory.mktemp("kill")
    words = [*WORDS, "--steps", str(request.param)]
    process = start(home / "cache", *words, "--out", home / "run")
    _, err = process.communicate()
    assert process.returncode == 0, err.decode()
    return words, home / "run", home / "cache"


@pytest.mark.parametrize(
    ("uninterrupted", "rounds", "blind"),
    [(120, 1, 0.0), pytest.param(3000, 20, 0.5, marks=pytest.mark.slow)],
    indirect=["uninterrupted"],
    ids=["1 round", "20 rounds"],
)
def test_a_killed_run_ends_with_the_same_bits(uninterrupted, rounds, blind, tmp_path):
    """`blind`: the share of kills at any moment, start-up included; the others while it trains."""
    words, whole, cache = uninterrupted
    folder, rng = tmp_path / "run", random.Random(rounds)
    killed = 0
    for _ in range(rounds):
        process = start(cache, *words, "--out", folder)
        if rng.random() < blind:
            time.sleep(rng.uniform(0, 10))
        else:
            wait_for_progress(process, folder)
            time.sleep(rng.uniform(0, 0.2))
        killed += process.poll() is None
        process.kill()
        process.communicate()
    assert killed > rounds // 2  # else the runs were too short to be killed

    process = start(cache, *words, "--out", folder)
    wait_for_progress(process, folder)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    if process.returncode != 0:  # it may have been done already
        assert (process.returncode, out) == (130, b"")
        assert f"go on with `steppe train --resume {folder}`" in err.decode()
        assert err.count(b"\n") == 1

    process = start(cache, "--resume", folder)
    _, err = process.communicate()
    assert process.returncode == 0, err.decode()
    assert (folder / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert steps_and_scores(folder) == steps_and_scores(whole)
    assert {path.name for path in folder.iterdir()} == {path.name for path in whole.iterdir()}
