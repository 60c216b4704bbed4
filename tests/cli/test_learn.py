"""`steppe learn`: what it writes and prints, and what it refuses."""

import hashlib
import json

import pytest
from store.test_mutations import put_together, taken_apart

from steppe.certificates.audit import verify
from steppe.certificates.certificate import CertificateError
from steppe.solvers import learn
from steppe.solvers.candidates import CANDIDATES
from steppe.solvers.solver import load

TINY = ("--tries", 1, "--problems", 3, "--steps", 20, "--n", 130)


@pytest.fixture
def by_hand(monkeypatch):
    """Without solvers that take long to compile."""
    whole = learn.learn_solver
    monkeypatch.setattr(
        learn, "learn_solver", lambda *a, **how: whole(*a, candidates=CANDIDATES[:2], **how)
    )


def test_one_file_and_its_page(steppe, by_hand, tmp_path):
    answer = steppe("learn", "sparse-recovery", *TINY, "--out", "runs/solver")
    assert answer.code == 0 and "Take FISTA + restart: " in answer.out
    assert (
        "runs/solver/solver.safetensors" in answer.out and "3 problems to choose by" in answer.err
    )
    solver = load(tmp_path / "runs/solver/solver.safetensors")
    assert solver.verdict in answer.out and verify(solver.certificate) == []
    for place in ("runs/solver", "runs/solver/solver.safetensors"):
        verified = steppe("verify", place)
        assert verified.code == 0 and "the evidence bears out all 6 claims" in verified.out
    refuses_an_altered_one(steppe, tmp_path / "runs/solver/solver.safetensors")
    page = (tmp_path / "runs/solver/solver.html").read_text()
    assert solver.verdict in page and "steppe learn sparse-recovery" in page
    answer = steppe("learn", "sparse-recovery", *TINY, "--out", "runs/solver")
    assert answer.code == 2 and "exists already" in answer.err


def refuses_an_altered_one(steppe, source):
    """A certificate is no other optimizer's: not of other settings, not of other numbers."""
    index, entry, body = taken_apart(source)
    path, hyper = source.with_name("altered.safetensors"), entry["manifest"]["hyper"]
    other = hyper | {"restart": not hyper["restart"]}
    for settings, numbers in ((other, body), (hyper, bytes(len(body) - 1) + b"@")):
        altered = entry | {"manifest": entry["manifest"] | {"hyper": settings}}
        altered |= {"body_sha256": hashlib.sha256(numbers).hexdigest()}
        put_together(path, index, altered, numbers)
        answer = steppe("verify", path)
        assert answer.code == 1 and "is of another optimizer than the FISTA" in answer.sentence
        with pytest.raises(CertificateError, match="is of another optimizer"):
            load(path)


@pytest.mark.usefixtures("heard")
def test_ctrl_c_keeps_what_was_found(steppe, by_hand, monkeypatch, tmp_path):
    import signal

    from steppe.solvers import search

    def interrupted(self, *_):
        signal.raise_signal(signal.SIGINT)
        return []

    monkeypatch.setattr(search.Search, "train", interrupted)
    answer = steppe("learn", "sparse-recovery", *TINY, "--out", "found", "--json")
    assert answer.code == 130 and "Stopped; the best solver so far is in found" in answer.err
    solver, document = load(tmp_path / "found/solver.safetensors"), json.loads(answer.out)
    assert document["verdict"] == solver.verdict and document["certificate"] is None
    assert solver.certificate is None and "nothing is certified" in solver.record.notes[0]
    assert "nothing is certified" in (tmp_path / "found/solver.html").read_text()


REFUSED = {
    "no task": (("--out", "a"), "TASK is missing"),
    "unknown task": (("sparse-recover", "--out", "a"), "did you mean 'sparse-recovery'"),
    "no structure": (("quadratic", "--out", "a"), "needs a loss of the form Composite"),
    "a network": (("digits-mlp", "--out", "a"), "needs a loss of the form Composite"),
    "no out": (("sparse-recovery",), "--out PATH is missing"),
    "no time": (
        ("sparse-recovery", "--out", "a", "--budget", 0),
        "--budget must be a positive number, got 0",
    ),
    "no number": (("sparse-recovery", "--out", "a", "--budget", "nan"), "--budget"),
    "no tries": (("sparse-recovery", "--out", "a", "--tries", 0), "--tries must be at least 1"),
    "order": (
        ("sparse-recovery", "--out", "a", "--tolerances", "1e-6,1e-3"),
        "from easy to hard",
    ),
    "few": (("sparse-recovery", "--out", "a", "--n", 5), "take n of at least"),
    "goal": (("sparse-recovery", "--out", "a", "--goal", "speed"), "--goal"),
    "too many": (
        ("sparse-recovery", "--out", "a/b/c", "--problems", 2**31 - 1),
        "of memory, but",
    ),
    "no truth": (("logistic-l1", "--out", "a", "--goal", "recovery"), "do not tell the vector"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_in_one_sentence(steppe, name, tmp_path):
    words, said = REFUSED[name]
    answer = steppe("learn", *words, "--quiet")
    assert answer.code == 2 and said in answer.err and answer.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_all_solvers_within_the_budget(steppe, tmp_path):
    words = ("learn", "sparse-recovery", "--budget", 120, "--n", 200, "--out", "a", "--json")
    answer = steppe(*words)
    record = json.loads(answer.out)["record"]
    again = steppe("verify", "a", "--again", "a/solver.safetensors")
    assert again.code == 0 and "its runs came out again" in again.out
    assert record["seconds"] <= 1.2 * 120
    assert any(row["kind"] == "learned" and row["meta_steps"] > 1 for row in record["rows"])
