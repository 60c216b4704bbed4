"""What `steppe demo` adds to `runs.demo`: the folder, the words, the exit code."""

import json
from pathlib import Path

import pytest
from cli.runs import contents

from steppe.runs import demo as demos
from steppe.runs import shipped
from steppe.train.loop import History, MetaTrainingError


@pytest.fixture
def played(monkeypatch) -> list[dict]:
    """Stand in for the demo itself; the arguments it was called with."""
    calls = []

    def play(folder, seed, command, say, fast, history):
        calls.append({"folder": folder, "seed": seed, "fast": fast})
        say("training…")
        assert command == f"steppe demo --seed {seed}" + (" --fast" if fast else "")
        (folder / "config.json").write_text(json.dumps({"command": command}))
        words, report = ["case 1: worse than Adam."], folder / "report.html"
        return demos.Verdict([], "the table", words, history, {"in all": 1.0}, folder, report)

    def demo(folder, *, seed, command, say, sinks):
        history = History(rows=[], best=None, best_step=1, seconds=1.0, compile_seconds=0.5)
        return play(folder, seed, command, say, False, history)

    def fast(folder, *, seed, command, say):
        return play(folder, seed, command, say, True, None)

    monkeypatch.setattr(demos, "demo", demo)
    monkeypatch.setattr(shipped, "demo", fast)
    return calls


def test_it_plays_in_a_folder_named_after_what_was_asked(steppe, played):
    assert steppe("demo", "--cores", "2").code == 0
    assert steppe("demo", "--cores", "2", "--fast", "--seed", "3").code == 0
    assert steppe("demo", "--cores", "2", "--out", "here").code == 0
    assert [call["folder"] for call in played] == [
        Path("runs/demo-0"),
        Path("runs/demo-fast-3"),
        Path("here"),
    ]
    assert [(call["seed"], call["fast"]) for call in played] == [(0, False), (3, True), (0, False)]


def test_json_is_one_document_and_progress_goes_to_stderr(steppe, played):
    answer = steppe("demo", "--cores", "2", "--json")
    document = json.loads(answer.out)
    assert document["sentences"] == ["case 1: worse than Adam."]
    assert document["report"] == "runs/demo-0/report.html"
    assert "training…" in answer.err


def test_quiet_shows_the_verdict_alone(steppe, played):
    answer = steppe("demo", "--cores", "2", "--quiet")
    assert answer.err == ""
    assert "training…" not in answer.out
    assert "the table" in answer.out and "worse than Adam" in answer.out


def test_a_folder_of_another_run_is_left_alone(steppe, played, tmp_path):
    assert steppe("demo", "--cores", "2", "--out", "here").code == 0
    before = contents(tmp_path / "here")
    assert steppe("demo", "--cores", "2", "--out", "here").code == 0  # the same goes on
    answer = steppe("demo", "--cores", "2", "--out", "here", "--seed", "1")
    assert answer.code == 2
    assert "holds another run (steppe demo --seed 0)" in answer.sentence
    assert contents(tmp_path / "here") == before
    answer = steppe("train", "--resume", "here")
    assert "no options of `steppe train`" in answer.sentence


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "`steppe demo --seed 0` goes on from there"),
        (MetaTrainingError("100% of the latest episodes were not finite."), 1, "not finite"),
    ],
)
def test_what_stops_it_is_one_sentence(error, code, said, steppe, monkeypatch):
    def demo(*_, **__):
        raise error

    monkeypatch.setattr(demos, "demo", demo)
    answer = steppe("demo", "--cores", "2", "--quiet")
    assert answer.code == code
    assert said in answer.sentence
