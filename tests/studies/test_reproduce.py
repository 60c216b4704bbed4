"""The study from end to end on made-up cells; a real one, tiny, is slow."""

import dataclasses
import json
import re

import pytest

from steppe.cli.main import main
from steppe.studies.flatness import design, reproduce, scales
from tests.studies.made import SCALE

FEW = design.change(SCALE, name="tiny", meta_seeds=(0, 1, 2), ablation_seeds=(), promised="seconds")


def working(monkeypatch, work: str) -> None:
    """Let the cells of the study be done by another function."""
    monkeypatch.setattr(reproduce, "STUDY", dataclasses.replace(reproduce.STUDY, work=work))


@pytest.fixture
def steppe(monkeypatch, tmp_path, capsys):
    """`steppe reproduce flatness` on made-up numbers, in an empty folder."""
    working(monkeypatch, "tests.studies.made:run_cell")
    monkeypatch.setitem(scales.SCALES, "tiny", FEW)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "compiled"))

    def call(*words: str) -> tuple[int, str, str]:
        code = main(["reproduce", *words])
        return code, *capsys.readouterr()

    return call


def undrawn(monkeypatch) -> None:
    """Leave the report away, which takes seconds."""
    monkeypatch.setattr(reproduce, "write_report", lambda *_: None)


def test_a_study_is_done_told_and_found_done_again(steppe, monkeypatch, tmp_path):
    code, out, err = steppe("flatness", "--engine", "serial")
    planned = list(design.cells(FEW))
    assert code == 0
    assert f"steppe reproduce flatness · tiny: {len(planned)} cells, seconds" in err
    assert out.startswith("Does flatness-aware meta-training make the trained models generalise?")
    folder = tmp_path / "runs" / "flatness-tiny"
    assert (folder / "table.txt").read_text() in out
    found = json.loads((folder / "findings.json").read_text())
    assert found["cells"] == len(planned) + 1  # Adam on MNIST at the rate of the first task
    page = (folder / "report.html").read_text()
    assert found["verdicts"][0]["because"][1:20] in page and "<svg" in page
    assert not re.search(r'(src|href)="https?:', page)

    undrawn(monkeypatch)
    before = (folder / "rows.jsonl").read_bytes()
    again, same, err = steppe("flatness", "--engine", "serial")
    assert (again, same) == (0, out) and f"{len(planned)} of them done before" in err
    assert (folder / "rows.jsonl").read_bytes() == before


def test_json_is_one_document(steppe, monkeypatch):
    undrawn(monkeypatch)
    code, out, _ = steppe("flatness", "--engine", "serial", "--json", "--quiet", "--out", "here")
    document = json.loads(out)
    assert code == 0 and document["failed"] == [] and document["folder"] == "here"
    assert {v["claim"] for v in document["verdicts"]} and document["flatness"]


def test_a_failed_cell_is_told_and_is_the_exit_code(steppe, monkeypatch):
    working(monkeypatch, "tests.studies.made:breaks")
    undrawn(monkeypatch)
    code, out, _ = steppe("flatness", "--engine", "serial", "--quiet")
    assert code == 1 and "failed   " in out and "no such luck" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["flatnes"], "no study 'flatnes'; did you mean 'flatness'"),
        (["flatness", "--scale", "paper"], "add --yes to run it"),
        (["flatness", "--workers", "0"], "--workers must be at least 1"),
        (["flatness", "--scale", "smal"], "did you mean 'small'"),
    ],
)
def test_mistakes_are_sentences_and_nothing_is_run(words, said, steppe, tmp_path):
    code, out, err = steppe(*words)
    assert (code, out) == (2, "") and said in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_the_tiny_study_is_real(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "flatness", "--scale", "tiny", "--workers", "2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    more = document["cells"] - len(list(design.cells(scales.TINY)))
    assert more in (0, 1)  # Adam on the sigmoid network, if tuning came to another rate there
    assert all(line["found"]["difference"]["n"] == 3 for line in document["flatness"])
