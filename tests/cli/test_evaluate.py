"""`steppe eval`: the numbers of `evaluate`, in a table and as JSON."""

import json
import shutil
from pathlib import Path

import jax
import pytest
from cli.runs import contents
from evaluation.problems import Bowl

from steppe.cli.evaluate import content, text
from steppe.evaluation.records import Record, read_records
from steppe.evaluation.tuning import GRID
from steppe.runs.comparison import RATES, compare, decide, usual
from steppe.runs.subject import subject
from steppe.runs.trials import FACTORS, tuned_equally
from steppe.zoo import save
from steppe.zoo.registry import build, tunable


@pytest.fixture(scope="module")
def records(finished, tmp_path_factory) -> tuple[list[Record], Path]:
    """The finished run against SGD, and the folder of the records."""
    out = tmp_path_factory.mktemp("eval")
    plan = decide(subject(str(finished), None), (4,), ("sgd",))
    quiet = lambda text: None
    found = compare(plan, seeds=3, seed=0, out=out / "records.jsonl", cores=2, say=quiet)
    return found, out


def test_the_numbers_are_those_of_evaluate(records):
    [ours, theirs], out = records
    assert (ours.optimizer, ours.learned, ours.tuning) == ("DM", True, {})
    assert (theirs.optimizer, theirs.learned) == ("sgd", False)
    assert theirs.tuning["best"] in GRID
    again, environment = read_records(out / "records.jsonl")
    assert again == [ours, theirs]
    assert "versions" in environment


def test_the_table_and_the_words(records):
    words_found = text(records[0])
    lr = records[0][1].tuning["best"]
    words = ("quadratic, 4 steps", f"sgd lr {lr:g}", "test loss", "ms/step", "state B/param")
    for word in (*words, "95 % interval over 3 seeds", "DM is"):
        assert word in words_found


def test_the_document(records):
    ours, theirs = content(records[0])["rows"]
    assert (ours["optimizer"], theirs["optimizer"]) == ("DM", "sgd")
    mean = sum(records[0][0].final("test_loss")) / 3
    found = ours["values"]["test_loss"]
    assert found["mean"] == pytest.approx(mean)
    assert found["low"] < mean < found["high"]
    assert theirs["verdicts"]["test_loss"] in ("better", "worse", "no difference seen")


def test_records_are_not_overwritten(records, finished, steppe, tmp_path):
    shutil.copy(records[1] / "records.jsonl", tmp_path)
    before = contents(tmp_path)
    answer = steppe("eval", finished, "--out", tmp_path)
    assert answer.code == 2
    assert "records.jsonl exists already" in answer.sentence
    assert contents(tmp_path) == before


def test_an_evaluation_of_a_run_is_kept_with_it_and_added_to(finished, steppe, tmp_path):
    """A later one of the same task and horizon counts; of others both stay. The page has both."""
    run = shutil.copytree(finished, tmp_path / "run")
    words = ("--baselines", "none", "--cores", "2", "--quiet")
    cases = lambda: [(r.horizon, len(r.seeds)) for r in read_records(run / "records.jsonl")[0]]
    assert steppe("eval", "run", "--horizons", "4", "--seeds", "2", *words).code == 0
    assert cases() == [(4, 2)]
    answer = steppe("eval", run / "model.safetensors", "--horizons", "5", "--seeds", "2", *words)
    assert answer.code == 0 and cases() == [(4, 2), (5, 2)]
    assert steppe("eval", "run", "--horizons", "4", "--seeds", "3", *words).code == 0
    assert cases() == [(5, 2), (4, 3)]
    assert steppe("report", "run", "-o", "page.html").code == 0
    assert "quadratic, 5 steps" in (tmp_path / "page.html").read_text()
    (run / "records.jsonl").write_text("{")
    answer = steppe("eval", "run", *words)  # refused before any work is done
    assert answer.code == 2 and "records.jsonl, line 1" in answer.sentence
    assert "compiling" not in answer.err


def test_a_hand_made_optimizer_can_be_evaluated_alone(steppe):
    words = "eval sgd --task quadratic --baselines none --no-tune --horizons 3 --seeds 2 --json"
    answer = steppe(*words.split(), "--cores", "2")
    assert answer.code == 0, answer.err
    [row] = json.loads(answer.out)["rows"]
    assert (row["optimizer"], row["horizon"]) == ("sgd", 3)


def test_optimizers_that_take_their_step_from_the_problem_need_no_rate(steppe):
    words = "eval fista --task lasso-sparse --baselines none --horizons 3 --seeds 1 --json"
    answer = steppe(*words.split(), "--cores", 2)
    assert answer.code == 0, answer.err
    assert [row["optimizer"] for row in json.loads(answer.out)["rows"]] == ["fista"]
    about = subject("fista", "lasso-sparse")
    assert decide(about, (), ("ista", "amp", "adam", "fista")).baselines == ("ista", "amp", "adam")
    answer = steppe("certify", "fista", "--task", "lasso-sparse", "--lr", 0.1)
    assert answer.code == 2 and "fista takes its step from the problem; leave" in answer.err
    answer = steppe("eval", "sam", "--task", "quadratic")
    assert answer.code == 2 and "sam has no learning rate to tune; use one of sgd" in answer.err


def test_a_game_is_compared_with_methods_for_games_by_its_merit(steppe):
    assert usual("seesaw") == ("gda", "optimistic-gda", "extragradient")
    assert usual("quadratic") == ("sgd", "momentum", "adam")
    words = "eval gda --task seesaw --baselines extragradient --no-tune --horizons 3 --seeds 2"
    answer = steppe(*words.split(), "--cores", 2)
    assert answer.code == 0, answer.err
    assert "the loss of a game is its merit" in answer.out and "test merit" not in answer.out
    answer = steppe("eval", "adam", "--task", "seesaw", "--no-tune", "--cores", 2)
    assert answer.code == 2 and "adam would descend for both players" in answer.err


def test_every_rate_that_may_be_tuned_has_a_customary_value():
    assert set(RATES) == set(tunable())


def test_a_report_of_a_run_and_its_evaluation(records, finished, steppe, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    before = contents(tmp_path / "run")
    answer = steppe("report", "run", records[1], "-o", "page.html", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out) == {"report": "page.html"}
    page = (tmp_path / "page.html").read_text()
    for word in ("Meta-training of dm on quadratic", "--hidden 2", "sgd", "<svg"):
        assert word in page
    assert contents(tmp_path / "run") == before


def test_what_is_not_said_follows_from_the_checkpoint(finished):
    rivals = ("sgd", "momentum", "adam")
    plan = decide(subject(str(finished), None), (), rivals)
    assert (plan.about.task, plan.horizons) == ("quadratic", (4, 20))  # trained with horizon 4
    assert plan.baselines == rivals
    plan = decide(subject("adam", "digits-mlp"), (), rivals)
    assert (plan.horizons, plan.baselines) == ((100, 500), ("sgd", "momentum"))


def test_both_sides_may_try_or_neither(finished, steppe, tmp_path):
    """DM against SGD: with no trials, with 63 of SGD alone, and with 20 of each."""
    run = shutil.copytree(finished, tmp_path / "run")
    words = ("--horizons", "4", "--cores", "2", "--baselines")
    answer = steppe("eval", run, *words, "sgd", "--seeds", "2", "--trials", "0-0,0-k,k-k")
    assert answer.code == 0, answer.err
    found = {(r.comparison, r.optimizer): r for r in read_records(run / "records.jsonl")[0]}
    trials = {place: record.trials for place, record in found.items()}
    assert trials == {
        ("0-0", "DM"): 0, ("0-0", "sgd"): 0,
        ("", "DM"): 0, ("", "sgd"): 63,
        ("k-k", "DM"): 20, ("k-k", "sgd"): 20,
    }  # fmt: skip
    assert found["0-0", "DM"].metrics == found["", "DM"].metrics
    assert found["0-0", "sgd"].tuning["task"] == "quadratic"
    assert found["k-k", "DM"].tuning["best"] in FACTORS
    assert found["k-k", "DM"].hyper["kind"] == "Scheduled"
    said = ("4 steps, 0 against 0 trials", "are the best on quadratic", "DM 20 and sgd 20")
    assert all(part in answer.out for part in said)
    again = steppe("eval", run, *words, "none", "--seeds", "3", "--trials", "0-0", "--json")
    assert [row["comparison"] for row in json.loads(again.out)["rows"]] == ["0-0"]
    kept = [(r.comparison, len(r.seeds)) for r in read_records(run / "records.jsonl")[0]]
    assert kept == [("", 2), ("", 2), ("k-k", 2), ("k-k", 2), ("0-0", 3)]
    assert steppe("report", run, "-o", "page.html").code == 0
    assert "4 steps, k against k trials" in (tmp_path / "page.html").read_text()


def test_trials_that_cannot_be_are_refused(finished, steppe):
    for words, sentence in (
        (("sgd", "--task", "quadratic", "--trials", "0-0"), "sgd was not meta-trained; add"),
        ((finished, "--trials", "k-k", "--no-tune"), "In k-k both sides are tuned; leave"),
        ((finished, "--trials", "1-1"), "trials"),
        ((finished, "--split", "1"), "quadratic has no data set to divide anew; leave"),
    ):
        answer = steppe("eval", *words)
        assert answer.code == 2 and sentence in answer.sentence


def test_equal_trials_find_the_factor_that_is_missing(tmp_path):
    """Gradient descent on ½ 4 x² with half of the rate that is exact: the factor is 2."""
    path = tmp_path / "half.safetensors"
    save(path, build("learned-rate", lr=0.125))
    how = {"horizon": 5, "key": jax.random.key(0), "say": lambda text: None}
    ours, theirs = (tuned_equally(x, Bowl(4.0), **how) for x in (path, "sgd"))
    assert (ours.lr, ours.tuning["setting"]) == (2.0, {"cosine": False})
    assert ours.tuning["of"] == "factor"
    assert ours.tuning["trials"] == theirs.tuning["trials"] == 20
    assert theirs.lr in (0.1, 0.316)  # the rates beside 1/4


def test_a_task_is_compared_on_another_division_of_its_data(steppe):
    words = "eval sgd --task digits-mlp --baselines none --no-tune --horizons 2 --seeds 1 --json"
    answers = [steppe(*words.split(), "--cores", 2, "--split", k) for k in (0, 3)]
    documents = [json.loads(answer.out) for answer in answers]
    assert [found["task"] for found in documents] == ["digits-mlp, split 0", "digits-mlp, split 3"]
    losses = [found["rows"][0]["values"]["test_loss"]["mean"] for found in documents]
    assert losses[0] != losses[1]
