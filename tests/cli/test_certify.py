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


def test_measures_where_runs_end(steppe, tmp_path):
    words = ("certify", "sgd", "--task", "softmax-10", "--lr", 0.3, "--n", 40, "--steps", 5)
    words = (*words, "--levels", 0.5, "--metric", "test-loss,gap,squared-norm")
    answer = steppe(*words, "--out", tmp_path / "ends")
    assert "50 % of future tasks end, after 5 iterations, with test loss ≤ " in answer.out
    assert "gap: the loss on the whole test split, less" in answer.out
    page = (tmp_path / "ends" / "certificate.html").read_text()
    assert "of 40 within all" in page and "joint order statistic" in page
    again = steppe("verify", tmp_path / "ends", "--again", "sgd")
    assert again.code == 0 and "came out again, all 1 claims" in again.out
    document = json.loads((tmp_path / "ends" / "certificate.json").read_text())
    assert [m["name"] for m in document["claims"][0]["measures"]] == [
        *("test loss", "gap", "squared norm")
    ]


def test_the_certificate_of_a_pretrained_optimizer_is_inside_its_file(steppe):
    answer = steppe("verify", "rnnprop-v1")
    assert answer.code == 0 and "bears out all 1 claims" in answer.out
    assert "of future tasks end, after 500 iterations, with test loss ≤ " in answer.out
    shown = steppe("info", "rnnprop-v1").out
    assert "certificate, which `steppe verify` checks" in shown
    assert answer.out.splitlines()[-1].strip() in shown and "evidence" not in shown


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
        ((*WAY, "--metric", "gap"), "is of test examples"),
        ((*WAY, "--metric", "gap,tracee"), "measured where runs end, and tracee after every"),
        ((*WAY, "--metric", "loss,residual"), "one in a certificate; measures where runs end may"),
        ((*WAY, "--metric", "trace", "--tolerances", 0.1), "leave --tolerances and --stay out"),
        ((*WAY, "--at-loss", 0.1), "--at-loss is of measures where runs end"),
    ],
)
def test_refused_in_a_sentence(steppe, words, sentence):
    answer = steppe(*words)
    assert answer.code == 2 and sentence in answer.err and answer.out == ""


def test_another_certificate_is_not_overwritten(steppe, folder):
    answer = steppe(*WAY, "--out", folder)
    assert answer.code == 2 and "exists already" in answer.err


def changed(folder, change):
    """The text of a certificate that was changed and signed again."""
    from steppe.certificates.certificate import sha256

    document = json.loads((folder / "certificate.json").read_text())
    del document["digest"]
    change(document)
    return json.dumps(document | {"digest": sha256(document)})


BAD = {
    "empty": lambda folder: "",
    "no JSON": lambda folder: '{"claims"',
    "NaN": lambda folder: '{"claims": [NaN]}',
    "deep": lambda folder: "[" * 100_000,
    "wide": lambda folder: "[" + "0," * 700_000 + "0]",
    "binary": lambda folder: "\x00\x01\ufffd",
    "another document": lambda folder: '{"claims": [], "digest": 3}',
    "too many runs": lambda folder: changed(folder, lambda d: d.update(n=3 * 10**9)),
    "no claims, and all is well": lambda folder: changed(
        folder, lambda d: d.update(claims=[], statement="With confidence 100 %: all is well.")
    ),
    "claims taken back": lambda folder: changed(folder, lambda d: d["claims"].pop()),
    "a statement of one's own": lambda folder: changed(
        folder, lambda d: d.update(statement="With confidence 99 %: all is well.")
    ),
    "a title that is no word": lambda folder: changed(
        folder, lambda d: d.update(n=61, tasks={"options": [1]}, optimizer={"name": [{}]})
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_certificate_is_one_sentence_and_no_page(steppe, folder, kind, tmp_path):
    (tmp_path / "certificate.json").write_text(BAD[kind](folder), encoding="utf-8")
    for words in (("verify", tmp_path), ("report", tmp_path)):
        answer = steppe(*words)
        assert answer.code in (1, 2) and answer.out == ""
        assert answer.err.startswith("steppe: ") and answer.err.count("\n") == 1
        assert "please report it" not in answer.err and "certificate.json" in answer.err
    assert not (tmp_path / "report.html").exists()


def test_names_of_odd_types_are_shown(steppe, folder, tmp_path):
    change = lambda d: d.update(tasks={"options": [1]}, optimizer={"name": [{}], "hyper": 3})
    (tmp_path / "certificate.json").write_text(changed(folder, change), encoding="utf-8")
    assert steppe("report", tmp_path).code == 0
    assert steppe("verify", tmp_path).code == 0
    answer = steppe("verify", tmp_path, "--again", "sgd")
    assert answer.code == 2 and "rechecked in Python" in answer.err


@pytest.mark.parametrize(
    "options", [[1], {"n": "many"}, {"n": None}, {"n": -3}, {"m": 3}, {"n": {}}, {"n": 2**40}]
)
def test_a_task_that_cannot_be_had_again_is_one_sentence(steppe, folder, tmp_path, options):
    change = lambda d: d.update(tasks={"name": "quadratic", "options": options})
    (tmp_path / "certificate.json").write_text(changed(folder, change), encoding="utf-8")
    answer = steppe("verify", tmp_path, "--again", "sgd")
    assert answer.code == 2 and answer.err.count("\n") == 1
    assert "please report it" not in answer.err
