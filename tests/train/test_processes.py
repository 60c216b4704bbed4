"""Several processes train one optimizer; what ends one ends all, and they go on later."""

import json
import signal
import time

import jax
import numpy as np
import pytest

from steppe.train import mesh as meshes
from tests.train import mesh_worker as worker
from tests.train.mesh_worker import found, pair


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("joined") / "run"


@pytest.fixture(scope="module")
def joined(folder):
    """What each of two processes found."""
    return [found(process) for process in pair("join", folder)]


def test_two_processes_give_the_meta_gradients_and_theta_of_one(joined, tmp_path):
    said = worker.Said()
    theta = worker.train(str(tmp_path), 3, sinks=[said])
    np.testing.assert_allclose(joined[0]["theta"]["3"], theta, rtol=1e-12)
    for step, norm in said.rows.items():
        assert joined[0]["rows"][str(step)] == pytest.approx(norm, rel=1e-10)


def test_both_processes_end_with_the_same_theta(joined):
    assert joined[0]["theta"] == joined[1]["theta"]


def test_process_0_alone_writes(joined, folder):
    assert [list(part["rows"]) for part in joined] == [["1", "2", "3"], []]
    rows = [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert len(list(folder.iterdir())) == 4  # and three checkpoints


def test_both_resume_from_the_newest_checkpoint(joined):
    [resumed] = [text for text in joined[0]["said"] if not text.startswith("memory: ")]
    assert "at meta-step 1" in resumed


def test_episodes_that_cannot_be_shared_are_refused(joined):
    for part in joined:
        assert "3 episodes cannot be shared equally by the 2 devices" in part["uneven"]


def test_processes_that_were_given_different_things_are_told_so(joined):
    for part in joined:
        assert part["equal"] == "fine"
        assert part["other"].startswith("DisagreementError: The number of process 1 differs")
        assert "Call it with the same arguments" in part["keys"]
        assert "newest checkpoint" in part["folders"] and "all processes share" in part["folders"]


def test_connecting_too_late_is_refused(joined):
    for part in joined:
        assert part["late"].startswith("RuntimeError: connect was called after JAX had started")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("10.0.0.1", 2, 0), "must be host:port, got '10.0.0.1'"),
        (("10.0.0.1:http", 2, 0), "must be host:port"),
        (("10.0.0.1:4000", 2, 2), "process must be from 0 to 1 for 2 processes, got 2"),
    ],
)
def test_bad_addresses_are_refused_with_a_sentence(arguments, message):
    with pytest.raises(ValueError, match=message):
        meshes.connect(*arguments)


def test_other_errors_of_the_runtime_pass_as_they_are():
    with pytest.raises(jax.errors.JaxRuntimeError, match="Gloo"), meshes.watched():
        raise jax.errors.JaxRuntimeError("Gloo: but there is one process")


STEPS = 400


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    runs = pair("train", tmp_path_factory.mktemp("uninterrupted"), STEPS)
    one, other = [found(run) for run in runs]
    assert one == other
    return one


@pytest.mark.slow
@pytest.mark.parametrize("victim", [1, 0])
def test_a_killed_process_ends_the_other_and_both_go_on_later(uninterrupted, tmp_path, victim):
    runs = pair("train", tmp_path, STEPS)
    until = time.monotonic() + worker.LIMIT
    while not list(tmp_path.glob("step-*0.safetensors")):
        assert time.monotonic() < until, "no checkpoint"
        assert all(run.poll() is None for run in runs)
        time.sleep(0.01)
    runs[victim].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    _, said = runs[1 - victim].communicate(timeout=worker.LIMIT)
    assert time.monotonic() - killed < 3 * worker.PATIENCE
    assert runs[1 - victim].returncode != 0
    # With process 0 the coordinator is gone: then JAX itself ends the process, and says why.
    ours = f"LostProcessError: Process {1 - victim} of 2 lost another process"
    assert ours in said or (victim == 0 and "another task died" in said)
    runs[victim].communicate()
    assert not (tmp_path / f"step-{STEPS:08d}.safetensors").exists()
    again = [found(run) for run in pair("train", tmp_path, STEPS)]
    assert again == [uninterrupted, uninterrupted]
