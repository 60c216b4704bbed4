"""A run that is killed, or finds its folder as a crash left it, ends with the same bits."""

import random

import pytest
from robustness import images, kills
from robustness.crash import build, shared_programs, torn


@pytest.fixture(scope="module")
def programs():
    with pytest.MonkeyPatch.context() as patch:
        shared_programs(patch.setattr)
        yield


@pytest.fixture(scope="module")
def run(programs, tmp_path_factory):
    return images.Runs("plain", tmp_path_factory.mktemp("images"))


def test_a_recorded_run_shows_every_stage_of_its_files(run):
    seen = [set(image) for image in run.recorder.images]
    assert any(not names for names in seen)
    assert any("env.json" in names and "config.json" not in names for names in seen)
    assert any(any(name.endswith(".tmp") for name in names) for names in seen)
    assert any("step-00000003.safetensors" in n and len(n) == 4 for n in seen)
    assert any("model.safetensors" in n and "findings.json" not in n for n in seen)
    assert run.recorder.lost  # a row is written before it is synced


def test_a_dozen_crash_images_end_with_the_same_bits(run):
    rng = random.Random(0)
    every = [*run.recorder.images, *torn(run.recorder.images, rng), *run.recorder.lost]
    for image in rng.sample(every, 12):
        assert run.ends_well(image)[0] == [], sorted(image)


def test_what_differs_is_seen(run, tmp_path):
    """The comparison itself: a changed number, a missing row, a file too many."""
    image = run.recorder.images[-1]
    log = image["metrics.jsonl"]
    for change, said in (
        ({"metrics.jsonl": log.replace(b'"resets": ', b'"resets": 1')}, "metrics.jsonl"),
        ({"metrics.jsonl": log[: log[:-1].rindex(b"\n") + 1]}, "metrics.jsonl"),
        ({".0123456789abcdef.tmp": b""}, "files"),
        ({"model.safetensors": image["model.safetensors"][:-1]}, "model.safetensors"),
    ):
        build(image | change, tmp_path / "run")
        (found,) = kills.differences(tmp_path / "run", run.whole)
        assert found.startswith(said)


@pytest.mark.slow
def test_a_thousand_crash_images_end_with_the_same_bits(programs, tmp_path):
    record = images.campaign(1000, tmp_path / "record.json", tmp_path)
    assert (record.images, record.differences) == (1000, [])


@pytest.mark.slow
def test_runs_killed_two_hundred_times_end_with_the_same_bits(tmp_path):
    record = kills.campaign(200, tmp_path / "record.json", tmp_path)
    assert (record.kills, record.differences) == (200, [])
    assert record.in_training > 100
