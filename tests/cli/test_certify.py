"""`steppe certify` and `steppe verify`: what they print and write, and what they refuse."""

import json
import re

import pytest

WAY = ("certify", "sgd", "--task", "quadratic", "--lr", 0.01, "--n", 60, "--steps", 20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from steppe.cli.main import main

    folder = tmp_path_factory.mktemp("certificates") / "one"
    words = [*WAY, "--metric", "relative_gap", "--tolerances", "0.9,0.5", "--levels", 0.5]
    assert main([*map(str, words), "--out", str(folder), "--quiet"]) == 0
    return folder


def test_certificate_and_page(folder):
    document = json.loads((folder / "certificate.json").read_text())
    assert [claim["type"] for claim in document["claims"]] == [
        *["success"] * 2,
        *["iterations"] * 2,
    ]
    assert document["optimizer"]["name"] == "sgd, learning rate 0.01"
    assert document["tasks"]["name"] == "quadratic" and document["n"] == 60
    page = (folder / "certificate.html").read_text()
    assert "A guarantee for sgd, learning rate 0.01" in page
    assert "What is guaranteed" in page and "<svg" in page
    for claim in document["claims"]:
        assert claim["statement"] in page
    assert not re.search(r"(src|href)=[\"']http", page)


def test_verify_says_that_it_holds(steppe, folder):
    for word in (folder, folder / "certificate.json"):
        answer = steppe("verify", word)
        assert answer.code == 0 and "bears out all 4 claims" in answer.out
        assert "With confidence 99 %" in answer.out
    answer = steppe("verify", folder, "--json")
    assert json.loads(answer.out)["wrong"] == []


def test_verify_again_runs_it(steppe, folder):
    assert "came out again" in steppe("verify", folder, "--again", "sgd").out
    answer = steppe("verify", folder, "--again", "adam")
    assert answer.code == 1 and "is not that of the certificate" in answer.err


def test_a_tampered_certificate_fails(steppe, folder, tmp_path):
    document = json.loads((folder / "certificate.json").read_text())
    document["claims"][0]["bound"] /= 2
    (tmp_path / "c.json").write_text(json.dumps(document))
    answer = steppe("verify", tmp_path / "c.json")
    assert answer.code == 2 and "was changed after it was written" in answer.err


def test_a_forged_digest_does_not_help(steppe, folder, tmp_path):
    from steppe.certificates.certificate import sha256

    document = json.loads((folder / "certificate.json").read_text())
    document["claims"][0]["bound"] = 1e-6
    del document["digest"]
    document["digest"] = sha256(document)
    (tmp_path / "c.json").write_text(json.dumps(document))
    answer = steppe("verify", tmp_path / "c.json")
    assert answer.code == 1 and "do not bear out the bound" in answer.err


def test_printed_in_words_or_json(steppe):
    answer = steppe(*WAY, "--metric", "relative_gap", "--tolerances", 0.9, "--levels", 0.5)
    assert answer.code == 0 and "all of it together" in answer.out and "· at least" in answer.out
    assert "60 problems × 20 steps" in answer.err
    answer = steppe(*WAY, "--metric", "relative_gap", "--levels", 0.5, "--json", "--quiet")
    document = json.loads(answer.out)
    assert [claim["type"] for claim in document["claims"]] == ["quantile"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("certify", "sgdd", "--task", "quadratic"), "did you mean 'sgd'"),
        (("certify", "sgd"), "add --task"),
        (("certify", "rnnprop-v1", "--lr", 0.1), "no learning rate"),
        ((*WAY, "--delta", 2), "delta"),
        ((*WAY, "--n", 5), "take n of at least"),
        ((*WAY, "--metric", "los"), "did you mean 'loss'"),
        (("verify", "nowhere.json"), "found no file"),
    ],
)
def test_refused_in_a_sentence(steppe, words, sentence):
    answer = steppe(*words)
    assert answer.code == 2 and sentence in answer.err and answer.out == ""


def test_another_certificate_is_not_overwritten(steppe, folder):
    answer = steppe(*WAY, "--out", folder)
    assert answer.code == 2 and "exists already" in answer.err
