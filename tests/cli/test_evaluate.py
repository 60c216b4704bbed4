"""`steppe eval`: the numbers of `bench`, in a table and as JSON."""

import json
import shutil

import pytest
from conftest import contents

from steppe.bench.records import read_records
from steppe.bench.tune import GRID
from steppe.cli import evaluation
from steppe.cli.evaluate import decide
from steppe.cli.options import Eval


@pytest.fixture(scope="module")
def result(finished, tmp_path_factory) -> dict:
    """The finished run against SGD, with a folder of records."""
    out = tmp_path_factory.mktemp("eval") / "out"
    options = Eval(
        optimizer=str(finished), horizons=(4,), seeds=3, baselines=("sgd",), out=out, cores=2
    )
    out.mkdir()
    return evaluation.compare(options, decide(options), lambda text: None)


def test_the_result_has_every_column(result):
    ours, theirs = result["rows"]
    assert (ours["optimizer"], theirs["optimizer"]) == ("DM", "sgd")
    assert (ours["lr"], ours["ours_is"]) == (None, None)
    assert theirs["lr"] in GRID
    assert theirs["ours_is"] in ("better", "worse", "no difference seen")
    for row in result["rows"]:
        for name in ("train_loss", "test_loss"):
            assert row[name]["low"] < row[name]["mean"] < row[name]["high"]
            assert row[name]["n"] == 3
        assert row["ms_per_step"] > 0
    assert ours["state_bytes_per_param"] > theirs["state_bytes_per_param"] == 0


def test_the_records_say_the_same(result):
    records, environment = read_records(result["records"])
    assert [r.optimizer for r in records] == ["DM", "sgd"]
    assert records[1].tuning["best"] == result["rows"][1]["lr"]
    mean = sum(records[0].final("test_loss")) / 3
    assert result["rows"][0]["test_loss"]["mean"] == pytest.approx(mean)
    assert "versions" in environment


def test_the_table_shows_them(result, capsys):
    evaluation.show(result)
    text = capsys.readouterr().out
    lr = result["rows"][1]["lr"]
    for word in ("DM", f"sgd, lr {lr:g}", "test loss", "ms/step", "state B/param", "DM is"):
        assert word in text
    assert f"{result['rows'][0]['test_loss']['mean']:.4g} ± " in text


def test_records_are_not_overwritten(result, finished, steppe, tmp_path):
    shutil.copy(result["records"], tmp_path / "records.jsonl")
    before = contents(tmp_path)
    answer = steppe("eval", finished, "--out", tmp_path)
    assert answer.code == 2
    assert "records.jsonl exists already" in answer.sentence
    assert contents(tmp_path) == before


def test_a_hand_made_optimizer_can_be_evaluated_alone(steppe):
    words = "eval sgd --task quadratic --baselines none --no-tune --horizons 3 --seeds 2 --json"
    answer = steppe(*words.split(), "--cores", "2")
    assert answer.code == 0, answer.err
    [row] = json.loads(answer.out)["rows"]
    assert (row["optimizer"], row["horizon"]) == ("sgd", 3)


def test_what_is_not_said_follows_from_the_checkpoint(finished):
    plan = decide(Eval(optimizer=str(finished)))
    assert (plan.task, plan.horizons) == ("quadratic", (4, 20))  # trained with horizon 4
    assert plan.baselines == ("sgd", "momentum", "adam")
    plan = decide(Eval(optimizer="adam", task="digits-mlp"))
    assert (plan.horizons, plan.baselines) == ((100, 500), ("sgd", "momentum"))
