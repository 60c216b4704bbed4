"""The command line and TOML files against what the dataclasses say."""

from pathlib import Path

import pytest

from steppe.cli import main, options
from steppe.cli.options import Eval, Train
from steppe.cli.options_files import Report
from steppe.cli.parse import build, from_table, help_text, options_of, overlay, scan
from steppe.cli.train import config_of
from steppe.runs.errors import BadInput

NEEDED = {"task": "quadratic", "opt": "dm"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", {}),
        ("--steps 5", {"steps": 5}),
        ("--steps=5", {"steps": 5}),
        ("--meta_lr 1e-2", {"meta_lr": 0.01}),
        ("--meta-lr 1", {"meta_lr": 1.0}),
        ("--hidden 20,10", {"hidden": (20, 10)}),
        ("--hidden 20 10 --steps 5", {"hidden": (20, 10), "steps": 5}),
        ("--rows all", {"rows": None}),
        ("--rows 7", {"rows": 7}),
        ("--clip none", {"clip": None}),
        ("--second-order", {"second_order": True}),
        ("--second-order --no-second-order", {"second_order": False}),
        ("--objective.weights last", {"objective.weights": "last"}),
        ("--log tensorboard", {"log": "tensorboard"}),
        ("--out a/b", {"out": Path("a/b")}),
        ("--seed -1", {"seed": -1}),  # refused later, by the class
    ],
)
def test_scan_says_what_the_line_says(words, expected):
    assert scan(Train, words.split()) == expected


def test_places_and_flags_mix():
    assert scan(Eval, ["--horizons", "10", "20", "--seeds", "3", "x.safetensors"]) == {
        "optimizer": "x.safetensors",
        "horizons": (10, 20),
        "seeds": 3,
    }
    assert scan(Eval, ["x", "--baselines", "sgd,adam"])["baselines"] == ("sgd", "adam")
    assert scan(Eval, ["x", "--baselines", "none"])["baselines"] is None
    assert scan(Report, ["a", "b", "-o", "c.html"]) == {
        "runs": (Path("a"), Path("b")),
        "out": Path("c.html"),
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--stpes 5", "did you mean '--steps'?"),
        ("--steps", "--steps needs a value; write --steps N."),
        ("--steps --seed 3", "--steps needs a value"),
        ("--steps 1.5", "--steps must be a whole number, got '1.5'"),
        ("--meta-lr fast", "--meta-lr must be a number, got 'fast'"),
        ("--rows some", "--rows must be a whole number or 'all', got 'some'"),
        ("--hidden 20,x", "--hidden must be a whole number, got 'x'"),
        ("--objective.weights unifrm", "did you mean 'uniform'?"),
        ("--second-order=yes", "--second-order takes no value"),
        ("--no-steps", "There is no option --no-steps"),
        ("quadratic", "Did not expect 'quadratic' here"),
    ],
)
def test_a_line_that_cannot_be_read_is_one_sentence(words, said):
    with pytest.raises(BadInput) as caught:
        scan(Train, words.split())
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"steps": 0}, "--steps must be at least 1, got 0"),
        ({"steps": -3}, "--steps must be at least 1, got -3"),
        ({"unroll": -1}, "--unroll"),
        ({"horizon": -1}, "--horizon"),
        ({"episodes": 0}, "--episodes"),
        ({"rows": 0}, "--rows"),
        ({"cores": 0}, "--cores"),
        ({"checkpoint_every": 0}, "--checkpoint-every"),
        ({"validate_every": -1}, "--validate-every must be at least 0"),
        ({"meta_lr": -1e-3}, "--meta-lr must be a positive number, got -0.001"),
        ({"meta_lr": float("nan")}, "--meta-lr must be a positive number, got nan"),
        ({"meta_lr": float("inf")}, "--meta-lr must be a positive number, got inf"),
        ({"clip": 0.0}, "--clip"),
        ({"hidden": (20, -1)}, "--hidden must be widths of at least 1, got 20,-1"),
        ({"seed": -1}, "--seed must be from 0"),
        ({"seed": 2**32}, "--seed must be from 0"),
        ({"rows": 3, "second_order": True}, "--rows samples coordinates"),
    ],
)
def test_impossible_values_are_refused(values, said):
    with pytest.raises(BadInput) as caught:
        build(Train, NEEDED | values)
    assert said in str(caught.value)


def test_what_is_missing_is_named():
    with pytest.raises(BadInput, match=r"--task NAME is missing"):
        build(Train, {})
    with pytest.raises(BadInput, match=r"OPTIMIZER is missing"):
        build(Eval, {})


def test_the_line_wins_over_the_file_and_the_file_over_the_defaults(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('steps = 7\nmeta-lr = 1\nhidden = [3]\nrows = "all"\nobjective.batch = "valid"')
    said = overlay(Train, path) | scan(Train, ["--steps", "9"])
    made = build(Train, NEEDED | said)
    assert (made.steps, made.meta_lr, made.hidden, made.rows) == (9, 1.0, (3,), None)
    assert made.objective == options.Objective(batch="valid")
    assert made.unroll == Train(task="", opt="").unroll


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stpes = 5", "did you mean 'steps'?"),
        ('[objective]\nweigths = "last"', "did you mean 'objective.weights'?"),
        ('steps = "many"', "--steps must be a whole number, got 'many'"),
        ("steps = 1.5", "--steps must be a whole number, got 1.5"),
        ("steps = true", "--steps must be a whole number, got True"),
        ("steps = [1]", "steps must be a single value"),
        ("hidden = 3", "hidden must be a list, got 3"),
        ("second_order = 1", "--second-order must be true or false, got 1"),
        ("task = 3", "--task must be text, got 3"),
        ('config = "other.toml"', "there is no option 'config'"),
        ("steps 5", "is not TOML"),
    ],
)
def test_a_bad_file_is_one_sentence_that_names_it(text, said, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        overlay(Train, path)
    assert said in str(caught.value)
    assert "run.toml" in str(caught.value)


def test_yaml_is_read_where_pyyaml_is(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("meta-lr: 1e-2\nhidden: [3]\nobjective: {batch: valid}\n")
    try:
        import yaml  # noqa: F401
    except ImportError:
        with pytest.raises(BadInput, match="needs PyYAML"):
            overlay(Train, path)
        return
    expected = {"meta_lr": 0.01, "hidden": (3,), "objective.batch": "valid"}
    assert overlay(Train, path) == expected
    path.write_text("meta-lr: [")
    with pytest.raises(BadInput, match="is not YAML"):
        overlay(Train, path)


def test_a_table_made_from_options_gives_the_options_back():
    made = build(Train, NEEDED | {"hidden": (4, 5), "rows": 9, "objective.weights": "sum"})
    config = config_of(made, "0.0")
    assert build(Train, from_table(Train, config["options"], "here")) == made
    line = "steppe train --task quadratic --opt dm --hidden 4,5 --rows 9 --objective.weights sum"
    assert config["command"] == line
    assert build(Train, scan(Train, config["command"].split()[2:])) == made


@pytest.mark.parametrize("name", main.VERBS)
def test_every_option_is_explained(name):
    cls = main.VERBS[name].options
    text = help_text(name, cls)
    for option in options_of(cls).values():
        assert option.text, f"{option.name} of {name} has no line in the docstring"
        assert (option.sort if option.place else option.flag) in text
    assert max(map(len, text.splitlines())) <= 96
