"""The demo leaves a folder from which its report can be made again."""

import json

import pytest

from steppe.evaluation.compare import cases, unpaired
from steppe.evaluation.records import read_records
from steppe.report.page import report_from_folders
from steppe.runs.demo import NAME, RIVALS, Settings, config, demo
from steppe.train.sinks import read_rows
from steppe.zoo import manifest

TINY = Settings(meta_steps=20, episodes=2, horizon=40, seeds=4, tuning_seeds=2)


def test_config_says_how_to_do_it_again():
    found = config(Settings(), 3, "steppe demo --seed 3")
    assert found["command"] == "steppe demo --seed 3"
    assert config(Settings(), 3, "")["command"] == "steppe.runs.demo.demo(folder, seed=3)"
    assert json.loads(json.dumps(found))["settings"]["horizon"] == Settings().horizon
    # 100 meta-steps x 8 episodes x 20 steps
    assert found["meta-training cost"] == "100 meta-steps, 16,000 inner steps"


@pytest.mark.slow
def test_demo_leaves_everything_in_its_folder(tmp_path):
    said = []
    verdict = demo(tmp_path, seed=1, say=said.append, settings=TINY)
    records, environment = read_records(tmp_path / "records.jsonl")
    assert records == verdict.records
    assert environment["versions"]["steppe"]
    found = cases(records)
    assert [(c.task, c.horizon) for c in found] == [
        ("digits-mlp", TINY.horizon),
        ("digits-mlp", TINY.horizon * TINY.longer),
        ("digits-deeper, ReLU", TINY.horizon),
    ]
    for case in found:
        assert [r.optimizer for r in case.records] == [NAME, *RIVALS]
        assert unpaired(case) == []
        assert all(r.tuning["split"] == "valid" for r in case.records if not r.learned)
    assert len(read_rows(tmp_path / "metrics.jsonl")) > 0
    assert manifest(tmp_path / "rnnprop.safetensors")["kind"] == "RNNProp"
    again = report_from_folders([tmp_path], tmp_path / "again.html")
    assert again.read_text() == verdict.report.read_text()
    assert set(verdict.sentences) <= set(said)
