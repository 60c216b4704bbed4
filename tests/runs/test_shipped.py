"""The quick demo tunes like `evaluation.tuning`, and leaves what the ordinary one leaves."""

import json

import jax.random as jr
import pytest

from steppe.evaluation.compare import cases, unpaired
from steppe.evaluation.records import read_records
from steppe.evaluation.run import seed_keys, trainer
from steppe.evaluation.tuning import tune
from steppe.optimizers.classic.from_optax import sgd
from steppe.report.page import report_from_folders
from steppe.runs import shipped
from steppe.runs.demo import RIVALS
from steppe.tasks.suite import build

TINY = shipped.Settings(horizon=10, points=2, seeds=3, grid=(0.01, 0.1), repeats=1)


def test_one_program_tunes_like_tune():
    task, key = build("quadratic"), jr.key(3)
    keys = seed_keys(key, range(TINY.seeds), "tune")
    program = trainer(task, sgd(1.0), horizon=TINY.horizon, points=TINY.points)
    found = shipped.tune(task, sgd, program, keys, TINY)
    other = tune(task, sgd, horizon=TINY.horizon, key=key, grid=TINY.grid, seeds=TINY.seeds)
    assert found.scores == pytest.approx(other.scores, rel=1e-4)
    assert (found.best, found.edge, found.trials) == (other.best, other.edge, other.trials)


@pytest.mark.slow
def test_demo_leaves_everything_in_its_folder(tmp_path):
    said = []
    verdict = shipped.demo(tmp_path, seed=1, say=said.append, settings=TINY)
    records, _ = read_records(tmp_path / "records.jsonl")
    assert records == verdict.records
    [case] = cases(records)
    assert [r.optimizer for r in case.records] == [*shipped.NAMES, *RIVALS]
    assert [r.learned for r in case.records] == [True, True, False, False, False]
    assert unpaired(case) == []
    assert all(r.tuning["best"] in TINY.grid for r in case.records if not r.learned)
    assert "shipped with steppe; nothing is meta-trained here" in "\n".join(said)
    assert set(verdict.sentences) <= set(said)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["command"] == "steppe demo --seed 1 --fast"
    again = report_from_folders([tmp_path], tmp_path / "again.html")
    assert again.read_text() == verdict.report.read_text()
