"""Pretrained optimizers by name, wherever a checkpoint is taken."""

import json
import shutil

import jax.random as jr
import pytest

from steppe.cli import curvature
from steppe.optimizers.learned.dm import DM
from steppe.runs.comparison import decide
from steppe.runs.subject import subject
from steppe.zoo import card
from steppe.zoo import io as pretrained
from steppe.zoo.registry import PRETRAINED

NAME = "rnnprop-flat-v1"


def test_list_tells_them(steppe):
    lines = {name: entry.about for name, entry in PRETRAINED.items()}
    assert json.loads(steppe("list", "pretrained", "--json").out) == {"pretrained": lines}
    assert NAME in steppe("list", "pretrained").out


def test_info_shows_the_card(steppe):
    said, found = steppe("info", NAME).out, card(NAME)
    words = (found.summary, found.licence, found.commit, found.processor, *found.failures)
    for word in (
        *words,
        *found.tasks,
        "RNNProp",
        "intact",
        found.recipe["penalty"]["kind"],
        ".head.w",
    ):
        assert word in said, word
    line = found.table[1]
    [shown] = [x for x in said.splitlines() if x.split("  ")[2:4] == [line.task, line.metric]]
    assert shown.split()[-4:-1] == [f"{x:.3g}" for x in (line.ours, *line.rivals.values())]
    formula = found.formula
    assert f"as a formula, {formula.nodes} nodes" in said and formula.text in said
    for x in formula.likeness:
        assert f"after {x.steps:>5} steps   {x.mean:.2f} ({x.low:.2f} to {x.high:.2f})" in said
    document = json.loads(steppe("info", NAME, "--json").out)
    assert document["manifest"]["card"]["failures"] == list(found.failures)


def test_a_file_of_that_name_wins(steppe, tmp_path, finished):
    shutil.copy(finished / "model.safetensors", tmp_path / NAME)
    assert "DM" in steppe("info", NAME).out
    assert subject(NAME, None).name == "DM"


def test_a_card_of_another_version_is_shown_as_it_is(steppe, tmp_path):
    about = {"name": "dm-v9", "mood": "fine"}
    opt = DM(hidden=(2,), key=jr.key(0))
    pretrained.write(tmp_path / "a.safetensors", opt, recipe={}, card=about)
    said = steppe("info", "a.safetensors").out
    assert "mood" in said and "fine" in said


def test_eval_takes_task_and_horizon_from_the_card():
    plan = decide(subject(NAME, None), (), ())
    found = card(NAME)
    assert plan.about.optimizer == pretrained.path(NAME)
    assert plan.about.name == NAME
    assert plan.about.task_name == "digits-relu, start he"
    assert {"name": plan.about.task, **plan.about.task_options} == found.meta_task
    assert plan.horizons[0] == found.recipe["horizon"]
    other = decide(subject(NAME, "digits-mlp"), (), ())
    assert other.about.task_name == "digits-mlp"


def test_eval_judges_it(steppe):
    words = "--baselines none --horizons 2 --seeds 2 --json --cores 2 --task quadratic"
    answer = steppe("eval", NAME, *words.split())
    assert answer.code == 0, answer.err
    [row] = json.loads(answer.out)["rows"]
    assert (row["optimizer"], row["learned"], row["diverged"]) == (NAME, True, 0)


def test_curvature_takes_it(steppe, monkeypatch):
    asked = []

    def measure(options, about, say):
        asked.append(about)
        raise KeyboardInterrupt

    monkeypatch.setattr(curvature, "measure", measure)
    assert steppe("curvature", NAME).code == 130
    assert asked[0].optimizer == pretrained.path(NAME)
    assert "--lr is for hand-made" in steppe("curvature", NAME, "--lr", "1").sentence


@pytest.mark.parametrize("verb", ["info", "eval", "curvature"])
def test_a_wrong_name_is_one_sentence(steppe, verb):
    answer = steppe(verb, "rnnprop-v2")
    assert answer.code == 2
    assert "'rnnprop-v2'" in answer.sentence and "did you mean 'rnnprop-v1'?" in answer.sentence


def test_an_untrained_kind_points_to_the_trained_ones(steppe):
    assert "steppe list pretrained" in steppe("eval", "dm", "--task", "quadratic").sentence
