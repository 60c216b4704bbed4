"""Every symptom is found where it is, and only there."""

import ast
import dataclasses
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from cli.runs import TINY

from steppe.cli.main import VERBS
from steppe.cli.parse import parse_argv, reword
from steppe.cli.train import Train
from steppe.core.settings import settings_of
from steppe.evaluation.records import FORMAT
from steppe.runs import diagnostics, findings, probe, session
from steppe.runs.diagnostics import of_folder
from steppe.runs.findings import Finding, Probe
from steppe.runs.folder import RECORDS
from steppe.train import preflight

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)
SOUND = Probe(
    horizon=100, first=2.0, losses=(1.0, 0.9), lost=None, gap=-0.4, rms=1e-2, rms_adam=1e-3,
    at_bound=0.1, cells=(2.0, 2.0), seconds=1.0,
)  # fmt: skip
CHANGES = (
    {"losses": (2.0, 2.0), "rms": 5e-6}, {"losses": (2.0, 2.0)}, {"losses": (3.0, 3.0)},
    {"rms": 10.0}, {"rms": 1e-9}, {"at_bound": 0.9}, {"cells": (2.0, 90.0)}, {"gap": 1.0},
    {"lost": 9}, {"lost": 300},
)  # fmt: skip


def failed(findings: list[Finding]) -> set[str]:
    assert all(finding.fix for finding in findings if not finding.ok)
    return {finding.what for finding in findings if not finding.ok}


SOURCES = (findings, diagnostics, probe, session, preflight)


def sentences(module) -> list[str]:
    """Every text of a module that names something in backticks; numbers filled in as 1."""
    found = []
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    docs = {ast.get_docstring(n, clean=False) for n in ast.walk(tree) if isinstance(n, DOCUMENTED)}
    parts = {id(part) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for part in n.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            found.append(
                "".join(
                    getattr(part, "value", "1") if isinstance(part, ast.Constant) else "1"
                    for part in node.values
                )
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += [node.value] if node.value not in docs and id(node) not in parts else []
    return [text for text in found if "`" in text or "--" in text]


@pytest.mark.parametrize("module", SOURCES, ids=lambda module: module.__name__)
def test_whatever_a_finding_tells_to_change_is_an_option(module):
    """Settings that are named are options of `steppe train`, commands that are named are verbs."""
    for text in sentences(module):
        for inside in text.split("`")[1::2]:
            name, _, rest = inside.partition(" ")
            if name == "steppe":
                assert rest.split()[0] in VERBS, text
            else:
                assert name == "resume" or name in settings_of(Train), text
        assert not re.search(r"--[a-z]|\b[A-Z]\w+\(\w+=", text), text  # worded by `reword` alone


def test_every_option_that_a_fix_names_can_be_typed():
    """The fixes of all symptoms, as printed, with their values, given to `steppe train`."""
    broken = {"meta_loss": 1.0, "grad_norm": 0.0, "nonfinite": 9, "episodes": 10, "valid_loss": 9.0}
    rows = [
        broken | {"step": i, "valid_loss": 9.0 + i, "grad_norm": 1e6 * (i == 5) + (i > 5)}
        for i in range(30)
    ]
    bad = [*findings.of_rows(rows)]
    for scale in (0.01, None):
        for change in CHANGES:
            bad += findings.of_probe(dataclasses.replace(SOUND, scale=scale, **change))
    fixes = {reword(f.fix, Train) for f in bad if not f.ok}
    assert len(fixes) >= 12
    named = set()
    for fix in fixes:
        assert "`" not in fix
        for option, value in re.findall(r"(--[\w.-]+)(?: ([\w.,]*\d[\w.,]*|pes)\b)?", fix):
            words = parse_argv(Train, [option, value or "1"])
            named |= set(words)
    assert {"optimizer.scale", "meta.lr", "curriculum.horizons", "estimator.kind"} <= named


def test_a_finished_run_is_healthy(finished, steppe):
    answer = steppe("doctor", finished, "--json")
    document = json.loads(answer.out)
    assert {f["what"] for f in document["findings"] if not f["ok"]} <= {"meta-loss"}
    assert answer.code == (not document["ok"])


def test_damage_to_the_folder_is_found(finished, steppe, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 13, "me')
    path = run / "step-00000008.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert {"metrics file", "checkpoints"} <= failed(of_folder(run))
    answer = steppe("doctor", run)
    assert answer.code == 1
    assert answer.err == ""
    assert (
        "FAIL  checkpoints: damaged: step-00000008.safetensors\n        → `steppe train --resume"
        in answer.out
    )
    assert "all intact" not in steppe("doctor", run, "--quiet").out


def test_an_unfinished_run_is_told_how_to_go_on(finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    (run / "model.safetensors").unlink()
    [finding] = [f for f in of_folder(run) if f.what == "finished"]
    assert finding.ok and finding.fix == f"go on with it by `resume {run}`"


def test_a_broken_line_in_the_middle_is_bad_input(finished, steppe, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    text = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text("garbage\n" + text)
    answer = steppe("doctor", run)
    assert answer.code == 2
    assert "metrics.jsonl, line 1" in answer.sentence


def test_what_a_run_found_is_shown_again(steppe, tmp_path):
    """Of an optimizer without a meta-step, which goes nowhere in 4 steps."""
    words = [*TINY[: TINY.index("--no-probe")], "--steps", 2, "--meta-lr", "1e-9", "--out", "run"]
    answer = steppe("train", *words)
    assert answer.code == 0
    assert "memory: about " in answer.err and " available for a meta-step\n" in answer.err
    assert "doctor: trying the optimizer for 20 steps…" in answer.err
    kept = json.loads((tmp_path / "run" / "findings.json").read_text())["findings"]
    assert sum(f["what"].startswith("probe") for f in kept) == 4
    bad = [f for f in kept if not f["ok"]]
    [loss] = [f for f in bad if f["what"] == "probe: loss"]
    assert f"doctor    {len(bad)} finding" in answer.out
    fix = reword(loss["fix"], Train)
    assert "--" in fix and "`" not in fix
    assert f"FAIL  probe: loss: {loss['evidence']}\n        → {fix}" in answer.out
    again = steppe("doctor", "run", "--json")
    assert again.code == 1
    assert loss in json.loads(again.out)["findings"]
    (tmp_path / "run" / "findings.json").write_text('{"findings": [3]}')
    assert "probe" not in steppe("doctor", "run").out


def test_the_document_of_a_run_has_its_findings(steppe):
    document = json.loads(steppe("train", *TINY, "--out", "run", "--json", "--quiet").out)
    assert {f["what"] for f in document["findings"]} >= {"meta-gradient", "gradient norm"}
    assert not any(f["what"].startswith("probe") for f in document["findings"])
    assert document["memory_bytes"] > 1000


def test_a_run_too_large_for_the_machine_is_refused_and_leaves_nothing(
    steppe, monkeypatch, tmp_path
):
    monkeypatch.setattr(preflight, "available", lambda: 1000)
    answer = steppe("train", *TINY, "--out", "run", "--quiet")
    assert answer.code == 2
    assert " kB of memory, " in answer.sentence
    assert not (tmp_path / "run").exists()


def test_untuned_baselines_are_found(steppe, tmp_path):
    folder = tmp_path / "compared"
    folder.mkdir()
    mine, sgd, adam = (record(name) for name in ("mine", "SGD", "Adam"))
    mine = mine | {"learned": True}
    tuned = {"best": 0.1, "edge": "", "trials": 1}

    def found(*records) -> dict:
        header = {"steppe": "records", "format": FORMAT, "environment": {}}
        lines = [json.dumps(line) + "\n" for line in (header, *records)]
        (folder / RECORDS).write_text("".join(lines))
        [finding] = json.loads(steppe("doctor", folder, "--json").out)["findings"]
        return finding

    assert found(mine, sgd | {"tuning": tuned}, adam)["evidence"] == "not tuned: Adam"
    assert not found(mine, sgd, adam)["ok"]
    assert found(mine, sgd | {"tuning": tuned}, adam | {"tuning": tuned})["ok"]
    assert found(mine, sgd | {"tuning": tuned}, record("fista"))["ok"]  # has no rate to tune
    edge = found(mine, sgd | {"tuning": tuned | {"edge": "largest"}})
    assert edge["ok"] and "SGD (largest)" in edge["evidence"]


def record(name: str) -> dict:
    """A record of one seed and one step."""
    steps = {"seeds": [0], "points": [0, 1], "curve_steps": [0], "curve": [[1.0]], "diverged": []}
    whole = {"horizon": 1, "params": 1, "gradients_per_step": 1}
    sizes = {"ms_per_step": 1.0, "state_bytes_per_param": 1.0}
    tables = {"hyper": {}, "metrics": {"train_loss": [[1.0, 0.5]]}, "tuning": {}}
    return {"task": "hill", "optimizer": name, "learned": False} | steps | whole | sizes | tables


def test_this_installation_is_sound(steppe, monkeypatch):
    monkeypatch.delenv("STEPPE_DATA", raising=False)
    answer = steppe("doctor")
    assert answer.code == 0, answer.out
    for check in ("python", "jax computes", "equinox", "STEPPE_DATA", "cache", "output"):
        assert check in answer.out


def test_a_missing_package_an_old_one_and_a_missing_folder_are_failures(monkeypatch, tmp_path):
    versions = {"jax": "0.8.3", "equinox": None}
    monkeypatch.setattr(diagnostics, "installed", lambda name: versions.get(name, "99.0"))
    assert failed(diagnostics.packages()) == {"jax", "equinox"}
    for place in (str(tmp_path / "nowhere"), "~nobody-of-that-name", os.devnull, "x" * 9999):
        monkeypatch.setenv("STEPPE_DATA", place)
        assert not diagnostics.local_data().ok
    (tmp_path / "file").touch()
    assert not diagnostics.writable("output", tmp_path / "file" / "x", "fix").ok
    assert diagnostics.writable("output", tmp_path / "not" / "yet", "fix").ok
    assert not (tmp_path / "not").exists()
