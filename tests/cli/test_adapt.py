"""`steppe adapt`: what it writes and prints, and what it refuses."""

import json

import numpy as np
import pytest

import steppe as library
from steppe.evaluation import adaptation
from steppe.optimizers.learned.learned_adam import LearnedAdam

TINY = (
    "--updates", 1, "--rates", "0.1", "--episodes", 1, "--horizon", 2, "--problems", 2, "--test", 2,
)  # fmt: skip


@pytest.fixture
def given(tmp_path):
    """A run folder as far as its optimizer goes."""
    (tmp_path / "run").mkdir()
    opt = LearnedAdam(0.01, 0.5, 0.5, 0.1)
    library.save(tmp_path / "run/model.safetensors", opt, task="quadratic", horizon=4)
    return opt


def test_file_record_and_page(steppe, given, tmp_path):
    before = (tmp_path / "run/model.safetensors").read_bytes()
    answer = steppe("adapt", "run", "--task", "booth", *TINY, "--out", "found")
    assert answer.code == 0 and "validation loss by number of updates" in answer.out
    assert "LearnedAdam to booth" in answer.err
    assert (tmp_path / "run/model.safetensors").read_bytes() == before
    record = json.loads((tmp_path / "found/adaptation.json").read_text())
    assert record["verdict"] in answer.out
    assert record["verdict"] in (tmp_path / "found/adaptation.html").read_text()
    about = library.manifest("found")
    assert about["recipe"] == {"task": "booth", "horizon": 2, "task_options": {}}
    assert about["adapted"]["from"]["recipe"]["task"] == "quadratic"
    assert about["adapted"]["to"] == "booth" and about["adapted"]["verdict"] == record["verdict"]
    adapted = library.load("found")
    assert type(adapted) is LearnedAdam and record["kept"] == 1
    told = steppe("info", "found/model.safetensors").out
    assert "adapted" in told and record["verdict"] in told
    again = steppe("adapt", "run", "--task", "booth", *TINY, "--out", "found")
    assert again.code == 2 and "exists already" in again.err
    # The same line gives the same bits.
    steppe("adapt", "run", "--task", "booth", *TINY, "--out", "other", "--json")
    for a, b in zip(*(vars(library.load(x)).values() for x in ("found", "other")), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.usefixtures("heard")
def test_ctrl_c_leaves_nothing(steppe, given, monkeypatch, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(adaptation, "adapt", interrupted)
    answer = steppe("adapt", "run", "--task", "booth", *TINY, "--out", "found")
    assert answer.code == 130 and answer.err.endswith("steppe: Stopped.\n")
    assert not (tmp_path / "found").exists()


REFUSED = {
    "no task": (("run", "--out", "a"), "--task NAME is missing"),
    "no out": (("run", "--task", "booth"), "--out PATH is missing"),
    "unknown task": (("run", "--task", "boot", "--out", "a"), "did you mean 'booth'"),
    "made by hand": (
        ("adam", "--task", "booth", "--out", "a"),
        "adam is made by hand and has no trained numbers to adapt",
    ),
    "untrained": (("rnnprop", "--task", "booth", "--out", "a"), "has to be trained before"),
    "no file": (("nowhere/a", "--task", "booth", "--out", "a"), "There is no file"),
    "no updates": (
        ("run", "--task", "booth", "--out", "a", "--updates", 0),
        "--updates must be at least 1, got 0",
    ),
    "NaN": (("run", "--task", "booth", "--out", "a", "--rates", "1e-3,nan"), "--rates must be"),
    "negative": (("run", "--task", "booth", "--out", "a", "--rates", "-1"), "--rates must be"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_in_one_sentence(steppe, given, name, tmp_path):
    words, said = REFUSED[name]
    answer = steppe("adapt", *words)
    assert answer.code == 2 and said in answer.err, answer.err
    assert not (tmp_path / "a").exists()
