"""`steppe curvature`: what it prints and writes, and what it refuses before anything is trained."""

import json
import shutil

import pytest
from cli.runs import contents

from steppe.cli import curvature
from steppe.cli.curvature import Curvature
from steppe.evaluation import curvature_record as point
from steppe.evaluation import tuning
from steppe.runs.subject import subject

SMALL = ["--steps", "3", "--k", "3", "--probes", "4", "--points", "3"]


@pytest.fixture(scope="module")
def of_run(finished) -> point.CurvatureRecord:
    """At the end of a training with the optimizer of the finished run."""
    options = Curvature(
        optimizer=str(finished), steps=3, k=3, probes=4, points=3, gamma=2.0, temperature=0.5
    )
    return curvature.measure(options, subject(str(finished), None), lambda text: None)


def test_a_checkpoint_is_measured_on_the_task_it_was_trained_on(of_run):
    assert (of_run.optimizer, of_run.task, of_run.steps) == ("DM", "quadratic", 3)
    assert (of_run.gamma, of_run.temperature, of_run.k, of_run.probes) == (2.0, 0.5, 3, 4)
    assert of_run.params == 20


@pytest.fixture
def remembered(monkeypatch, of_run):
    """Stand in for the measuring; what was asked for is remembered."""
    calls = []

    def measure(options, about, say):
        calls.append((options, about))
        say("measuring…")
        return of_run

    monkeypatch.setattr(curvature, "measure", measure)
    return calls


def test_the_table_goes_to_stdout_and_progress_to_stderr(steppe, remembered, finished, of_run):
    answer = steppe("curvature", finished)
    assert answer.code == 0
    [(_, about)] = remembered
    assert about[:3] == (finished / "model.safetensors", "DM", "quadratic")
    assert answer.out.startswith(point.text_table(of_run))
    assert all(sentence in answer.out for sentence in point.sentences(of_run))
    assert "measuring…" in answer.err and "measuring…" not in answer.out
    assert steppe("curvature", finished, "--quiet").err == ""


def test_the_document_is_the_whole_point(steppe, remembered, finished, of_run):
    answer = steppe("curvature", finished, "--json")
    assert point.from_plain(json.loads(answer.out)) == of_run


def test_the_page_says_how_to_get_it_again(steppe, remembered, finished, tmp_path):
    answer = steppe("curvature", finished, "--gamma", "2", *SMALL, "-o", "page.html")
    assert "report  page.html" in answer.out
    page = (tmp_path / "page.html").read_text()
    assert f"steppe curvature {finished} --steps 3 --k 3 --probes 4 --gamma 2.0" in page
    assert page.count("<svg role") == 3
    for words in ("Curvature of quadratic where DM ends", "½ ln det(I + H/γ)", "<dd>0.5</dd>"):
        assert words in page


def test_a_report_of_a_run_holds_its_curvature(steppe, remembered, finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    (run / "curvature.json").write_text(steppe("curvature", finished, "--json").out)
    assert steppe("report", run).code == 0
    page = (tmp_path / "report.html").read_text()
    assert "DM on quadratic, 3 steps" in page and 'id="meta-training"' in page
    (run / "curvature.json").write_text("{}")
    assert "curvature.json: found no entry 'task'" in steppe("report", run).sentence


def test_a_rate_is_tuned_where_none_is_given(steppe, monkeypatch):
    def tune(task, make, *, horizon, key):
        raise ValueError(f"asked for a horizon of {horizon}.")

    monkeypatch.setattr(tuning, "tune", tune)
    answer = steppe("curvature", "sgd", "--task", "quadratic", *SMALL, "--quiet")
    assert "asked for a horizon of 3" in answer.sentence


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--probes 0", "--probes must be at least 1, got 0"),
        ("--k 1", "--k must be at least 2, got 1"),
        ("--k 21 --lr 0.1", "k = 21 Lanczos steps were asked for, but 20 parameters"),
        ("--gamma 0", "--gamma must be a positive number, got 0"),
        ("--gamma -1", "--gamma must be a positive number, got -1"),
        ("--gamma nan", "--gamma must be a positive number, got nan"),
        ("--temperature -0.1", "--temperature must be zero or a positive number, got -0.1"),
        ("--rho 0", "--rho must be a positive number"),
        ("--lr -1", "--lr must be a positive number"),
        ("--steps 0", "--steps must be at least 1"),
        ("--batch 0", "--batch must be at least 1"),
        ("--points 1", "--points must be at least 2"),
        ("--seed -1", "--seed must be from 0"),
        ("--prbes 3", "did you mean '--probes'?"),
        ("--out .", ". is no place for a file"),
    ],
)
def test_bad_numbers_are_refused(words, said, steppe, tmp_path):
    answer = steppe("curvature", "sgd", "--task", "quadratic", *words.split())
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "OPTIMIZER is missing"),
        ("adm --task quadratic", "did you mean 'adam'?"),
        ("adam", "add --task NAME"),
        ("adam --task quadratc", "did you mean 'quadratic'?"),
        ("dm --task quadratic", "has to be trained before it can be judged"),
        ("RUN --lr 0.1", "--lr is for hand-made optimizers"),
        ("RUN/step-00000012.safetensors", "checkpoint of meta-training, not of an optimizer"),
    ],
)
def test_bad_names_are_refused(words, said, finished, steppe):
    answer = steppe("curvature", *words.replace("RUN", str(finished)).split())
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.sentence


def test_a_training_that_diverges_fails_with_code_1(steppe):
    words = "curvature sgd --task quadratic --lr 1e3 --steps 200 --quiet"
    answer = steppe(*words.split())
    assert answer.code == 1
    assert "sgd lr 1000 on quadratic diverged within 200 steps" in answer.sentence
