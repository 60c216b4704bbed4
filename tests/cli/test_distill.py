"""`steppe distill`: what it writes and prints, and what it refuses."""

import dataclasses
import json

import pytest

import steppe as library
from steppe.distillation import distill as module
from steppe.distillation import forms, result
from steppe.store.untrusted import FileError

TINY = (
    "--runs", 4, "--steps", 30, "--rounds", 1, "--problems", 2, "--test", 2, "--horizons", "4,8",
)  # fmt: skip
FILES = (
    "optimizer.safetensors", "distillation.json", "formula.html", "formula_torch.py",
    "formula_optax.py",
)  # fmt: skip


@pytest.fixture(autouse=True)
def few_forms(monkeypatch):
    monkeypatch.setattr(forms, "POOL", ("g", "m9"))
    monkeypatch.setattr(forms.short, "__defaults__", (("c0 * x0", "c0 * x0 + c1 * x1"),))
    monkeypatch.setattr(module, "wide", lambda split, *fitted: [])


def test_momentum_is_found_and_all_is_written(steppe, tmp_path):
    line = ("distill", "sgd", "--task", "booth", "--lr", 0.01, *TINY)
    answer = steppe(*line, "--out", "found")
    assert answer.code == 0, answer.err
    assert "Δ = -0.01 * g" in answer.out and "sgd on booth" in answer.err
    assert "can stand in for sgd" in answer.out
    assert sorted(path.name for path in (tmp_path / "found").iterdir()) == sorted(FILES)
    found = result.read(tmp_path / "found/distillation.json")
    assert found.text == "-0.01 * g" and found.nodes == 3 and found.stands and found.short
    assert found.held.pooled == pytest.approx(1, abs=1e-9)
    assert (
        all(r.mean == pytest.approx(1, rel=1e-3) for r in found.ratios) and len(found.ratios) == 4
    )
    assert [row.kept for row in found.front].count(True) == 1
    opt = library.load("found/optimizer.safetensors")
    assert opt.formula == "c0 * g" and found.rule.formula == opt.formula
    assert library.manifest("found/optimizer.safetensors")["distilled"]["from"] == "sgd"
    page = (tmp_path / "found/formula.html").read_text()
    assert found.verdict in page and "−0.01 · <i>g</i>" in page and "http" not in page
    again = steppe(*line, "--out", "found")
    assert again.code == 2 and "exists already" in again.err
    # The same line gives the same bits; without a folder nothing is written.
    other = json.loads(steppe(*line, "--json").out)
    same = dataclasses.asdict(found)
    for name in ("formula", "coefficients", "ratios", "held"):
        assert json.loads(json.dumps(same[name])) == other[name]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["found"]


@pytest.mark.usefixtures("heard")
def test_ctrl_c_leaves_nothing(steppe, monkeypatch, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "distill", interrupted)
    answer = steppe("distill", "sgd", "--task", "booth", "--lr", 0.1, "--out", "found")
    assert answer.code == 130 and answer.err.endswith("steppe: Stopped.\n")
    assert not (tmp_path / "found").exists()


REFUSED = {
    "no task": (("sgd", "--lr", 0.1), "names no task it was trained on"),
    "unknown task": (("sgd", "--task", "boot"), "did you mean 'booth'"),
    "unknown further task": (("sgd", "--task", "booth", "--also", "beal"), "did you mean 'beale'"),
    "no optimizer": (("nowhere/a", "--task", "booth"), "There is no file"),
    "few rows": (
        ("sgd", "--task", "booth", "--lr", 0.01, "--runs", 3, "--steps", 5),
        "have 30 rows, but a fit needs 50",
    ),
    "not finite": (
        ("sgd", "--task", "booth", "--lr", 1e30, "--runs", 3, "--steps", 90),
        "in all 3 runs a gradient or an update was not finite",
    ),
    "horizons": (("sgd", "--task", "booth", "--lr", 0.1, "--horizons", "8,4"), "must ascend"),
    "two runs": (("sgd", "--task", "booth", "--runs", 2), "--runs must be at least 3, got 2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_one_sentence(steppe, case, tmp_path):
    words, said = REFUSED[case]
    answer = steppe("distill", *words, "--out", "a", "--quiet")
    assert answer.code == 2 and said in answer.err and answer.out == ""
    assert answer.err.count("\n") == 1 and not (tmp_path / "a").exists()


def test_a_record_is_read_through_the_gate(tmp_path):
    path = tmp_path / "distillation.json"
    path.write_text('{"optimizer": "a"}')
    with pytest.raises(FileError, match="give a file that `steppe distill` wrote"):
        result.read(path)
    path.write_text("[1]")
    with pytest.raises(FileError):
        result.read(path)
