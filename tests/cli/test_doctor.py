"""Every symptom is found where it is, and only there."""

import json
import shutil

import pytest

from steppe.cli import doctor
from steppe.cli.diagnose import FEW, Finding, diagnose, trends

HEALTHY = [
    {
        "step": 10 * i,
        "time": 0.1 * i,
        "meta_loss": -0.1 * i + 0.02 * (-1) ** i,
        "grad_norm": 1.0 + 0.1 * (i % 3),
        "nonfinite": 0,
        "episodes": 80,
        "resets": 2,
        "inner_steps_per_s": 1e4,
        "valid_loss": 100.0 - i,
    }
    for i in range(1, 31)
]


def changed(name: str, value) -> list[dict]:
    return [row | {name: value(i, row[name])} for i, row in enumerate(HEALTHY)]


def failed(findings: list[Finding]) -> set[str]:
    assert all(finding.fix for finding in findings if not finding.ok)
    return {finding.check for finding in findings if not finding.ok}


@pytest.mark.parametrize(
    ("rows", "symptoms"),
    [
        (HEALTHY, set()),
        (HEALTHY[: FEW - 1], set()),
        (changed("grad_norm", lambda i, x: 0.0), {"meta-gradient"}),
        (changed("grad_norm", lambda i, x: 0.0 if i == 4 else x), {"meta-gradient"}),
        (changed("grad_norm", lambda i, x: 2e3 * x if i == 4 else x), {"gradient norm"}),
        (changed("grad_norm", lambda i, x: 9e2 * x if i == 4 else x), set()),
        (changed("nonfinite", lambda i, x: 2), {"divergence"}),  # 2.5 %
        (changed("nonfinite", lambda i, x: i % 2), set()),  # 0.6 %
        (changed("meta_loss", lambda i, x: 0.1 * (-1) ** i), {"meta-loss"}),
        (changed("meta_loss", lambda i, x: -x), {"meta-loss"}),
        (changed("meta_loss", lambda i, x: 0.0), {"meta-loss"}),
        (changed("meta_loss", lambda i, x: float("nan")), set()),  # seen as divergence
        (changed("valid_loss", lambda i, x: 100.0 + i), {"best checkpoint"}),
        (changed("valid_loss", lambda i, x: abs(i - 10)), set()),
    ],
)
def test_trends(rows, symptoms):
    assert failed(trends(rows)) == symptoms


def test_a_finished_run_is_healthy(finished, steppe):
    answer = steppe("doctor", finished, "--json")
    document = json.loads(answer.out)
    assert {f["check"] for f in document["findings"] if not f["ok"]} <= {"meta-loss"}
    assert answer.code == (not document["ok"])


def test_damage_to_the_folder_is_found(finished, steppe, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 13, "me')
    path = run / "step-00000008.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert {"metrics file", "checkpoints"} <= failed(diagnose(run))
    answer = steppe("doctor", run)
    assert answer.code == 1
    assert answer.err == ""
    assert "FAIL  checkpoints: damaged: step-00000008.safetensors\n        → resume" in answer.out
    assert "all intact" not in steppe("doctor", run, "--quiet").out


def test_an_unfinished_run_is_told_how_to_go_on(finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    (run / "model.safetensors").unlink()
    [finding] = [f for f in diagnose(run) if f.check == "finished"]
    assert finding.ok and finding.fix == f"steppe train --resume {run}"


def test_a_broken_line_in_the_middle_is_bad_input(finished, steppe, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    text = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text("garbage\n" + text)
    answer = steppe("doctor", run)
    assert answer.code == 2
    assert "metrics.jsonl, line 1" in answer.sentence


def test_this_installation_is_sound(steppe, monkeypatch):
    monkeypatch.delenv("STEPPE_DATA", raising=False)
    answer = steppe("doctor")
    assert answer.code == 0, answer.out
    for check in ("python", "jax computes", "equinox", "STEPPE_DATA", "cache", "output"):
        assert check in answer.out


def test_a_missing_package_an_old_one_and_a_missing_folder_are_failures(monkeypatch, tmp_path):
    versions = {"jax": "0.8.3", "equinox": None}
    monkeypatch.setattr(doctor, "installed", lambda name: versions.get(name, "99.0"))
    assert failed(doctor.packages()) == {"jax", "equinox"}
    monkeypatch.setenv("STEPPE_DATA", str(tmp_path / "nowhere"))
    assert not doctor.local_data().ok
    (tmp_path / "file").touch()
    assert not doctor.writable("output", tmp_path / "file" / "x", "fix").ok
    assert doctor.writable("output", tmp_path / "not" / "yet", "fix").ok
    assert not (tmp_path / "not").exists()
