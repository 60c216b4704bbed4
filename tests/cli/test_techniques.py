"""Recipes, curriculum, imitation and estimators from the command line."""

import json
from pathlib import Path

import pytest
from cli.runs import TINY, contents

from steppe.cli.train import line_of, prepare
from steppe.estimators.bptt import BPTT
from steppe.estimators.es import ES, PES
from steppe.estimators.imitation import Imitation
from steppe.estimators.mix import Mix
from steppe.runs import session
from steppe.train.loop import MetaTrainingError
from steppe.zoo.presets import PRESETS, recipe


@pytest.fixture
def given(monkeypatch):
    """What reaches meta_train, which is not run."""
    found = {}

    def meta_train(task, opt, **options):
        found.update(options, task=task, opt=opt)
        raise MetaTrainingError("Not run.")

    monkeypatch.setattr(session, "meta_train", meta_train)
    return found


def test_a_preset_sets_the_options_and_what_is_given_besides_it_counts(steppe, given):
    words = "--task quadratic --hidden 2 --episodes 2 --curriculum.patience 7 --preset dm-cl-il"
    assert steppe("train", *words.split(), "--out", "run").code == 1
    mix, curriculum = given["estimator"], given["curriculum"]
    assert isinstance(mix, Mix) and mix.names == ("main", "adam")
    assert isinstance(mix.parts[0].estimator, BPTT) and mix.parts[0].estimator.windows.episodes == 2
    assert isinstance(mix.parts[1].estimator, Imitation)
    assert (curriculum.stages, curriculum.patience) == (8, 7)
    assert curriculum.staged(mix, 2).weights.tolist() == pytest.approx([0.7, 0.3])
    assert given["steps"] == 100_000
    command = json.loads(Path("run/config.json").read_text())["command"]
    assert command == f"steppe train {words}"


@pytest.mark.parametrize(("name", "kind"), [("es", ES), ("pes", PES)])
def test_evolution_strategies_are_asked_for_by_name(name, kind, steppe, given):
    words = ("--estimator", name, "--sigma", "0.05", "--out", "run")
    assert steppe("train", *TINY, *words).code == 1
    estimator = given["estimator"]
    assert isinstance(estimator, kind) and float(estimator.sigma) == pytest.approx(0.05)
    assert (estimator.windows.episodes, estimator.windows.length, int(estimator.horizon)) == (
        2,
        2,
        4,
    )


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_taken(name):
    options, _ = prepare({"task.name": "quadratic", "preset": name})
    assert line_of(options) == f"steppe train --task quadratic --preset {name}"


def test_unrolled_networks_bring_their_recipe():
    given = {"task.name": "sparse-recovery", "optimizer.name": "alista", "optimizer.layers": 3}
    options, folder = prepare(given | {"meta.lr": 0.1})
    assert folder == Path("runs/sparse-recovery-alista-0")
    assert options.recipe == recipe("alista", task="sparse-recovery", layers=3, meta_lr=0.1)
    said = "steppe train --task sparse-recovery --opt alista --layers 3 --meta-lr 0.1"
    assert line_of(options) == said


def test_the_line_of_a_preset_asks_for_the_same():
    options, _ = prepare({"task.name": "quadratic", "preset": "l2o-scale-cl", "meta.lr": 0.1})
    assert line_of(options) == "steppe train --task quadratic --meta-lr 0.1 --preset l2o-scale-cl"


@pytest.mark.usefixtures("compiled_once")
def test_a_run_with_everything_is_resumed_bit_by_bit(steppe, tmp_path):
    words = [
        *TINY,
        *["--estimator", "pes", "--curriculum.horizons", "4,8", "--curriculum.patience", "1"],
        *["--imitation.teachers", "adam", "--imitation.ratio", "0.5,0.2", "--scaling", "1"],
    ]
    whole = steppe("train", *words, "--out", "whole", "--json")
    assert whole.code == 0, whole.err
    rows = [json.loads(row) for row in (tmp_path / "whole/metrics.jsonl").read_text().splitlines()]
    assert {"stage"} <= set(rows[-1])
    half = [*words[: words.index("--steps")], "--steps", "8", *words[words.index("--steps") + 2 :]]
    assert steppe("train", *half, "--out", "halves", "--quiet").code == 0
    again = steppe("train", "--resume", "halves", "--steps", "12", "--quiet")
    assert again.code == 0, again.err
    files = [contents(tmp_path / name) for name in ("whole", "halves")]
    assert files[0]["step-00000012.safetensors"] == files[1]["step-00000012.safetensors"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--adapt-steps 3", "--adapt-steps was given (3), but nothing is adapted without a rate"),
        ("--adapt-rate 0.1 --estimator es", "needs --estimator bptt, got es"),
        ("--adapt-rate nan", "--adapt-rate must be zero or a positive number, got nan"),
        ("--preset dm-clil", "'dm-clil'; did you mean 'dm-cl"),
        ("--estimator pes --rows 3", "--estimator pes does without"),
        ("--curriculum.horizons 4,8 --validate-every 0", "goes by validation"),
        ("--curriculum.horizons 4,0", "must be steps of at least 1, got 4,0"),
        ("--curriculum.horizons 4 --curriculum.patience 0", "--curriculum.patience"),
        (
            "--curriculum.horizons 4 --flat.kind trace --flat.weight 1 --flat.active last",
            "a curriculum changes",
        ),
        ("--imitation.teachers adm", "--imitation.teachers cannot be 'adm'"),
        ("--imitation.lr 0.1", "there is no teacher; add --imitation.teachers adam"),
        ("--imitation.teachers adam --imitation.ratio 1.5", "numbers from 0 to 1, got 1.5"),
        ("--imitation.teachers adam --imitation.ratio 0.1,0.2", "one number a stage"),
        ("--imitation.teachers adam --imitation.every 2 --imitation.follow student", "leads"),
    ],
)
def test_what_cannot_be_is_refused_before_the_run_begins(words, said, steppe, tmp_path):
    answer = steppe("train", *TINY, *words.split(), "--out", "run")
    assert answer.code == 2 and said in answer.sentence
    assert not (tmp_path / "run").exists()


def test_options_of_an_optimizer_come_from_a_file(steppe, given, tmp_path):
    """There is no flag for each of them; the line names the file instead."""
    (tmp_path / "dm.toml").write_text("[optimizer.options]\nzero_head = true\n")
    assert steppe("train", *TINY, "--config", "dm.toml", "--out", "run").code == 1
    assert given["opt"].zero_head is True
    config = json.loads(Path("run/config.json").read_text())
    assert config["recipe"]["optimizer"]["options"] == {"zero_head": True}
    assert "--config dm.toml" in config["command"]
