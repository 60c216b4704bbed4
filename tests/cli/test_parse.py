"""The command line and TOML files against what the dataclasses say."""

import dataclasses
import inspect
import shlex
from pathlib import Path

import pytest

from steppe.cli import main
from steppe.cli.evaluate import Eval
from steppe.cli.parse import flag, help_text, make, metavar, parse_argv, reword
from steppe.cli.report import Report
from steppe.cli.train import Train, line_of, prepare
from steppe.core.settings import from_table, settings_of
from steppe.runs.config import read_file
from steppe.runs.folder import BadInput
from steppe.zoo.recipe import Meta, Objective, Optimizer, Recipe
from steppe.zoo.recipe_json import to_json

NEEDED = {"task.name": "quadratic", "optimizer.name": "dm"}
BAD = (BadInput, ValueError)


def said_of(cls: type, caught: pytest.ExceptionInfo) -> str:
    """The sentence as the command line prints it."""
    return reword(str(caught.value), cls)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", {}),
        ("--steps 5", {"run.steps": 5}),
        ("--steps=5", {"run.steps": 5}),
        ("--meta_lr 1e-2", {"meta.lr": 0.01}),
        ("--meta-lr 1", {"meta.lr": 1.0}),
        ("--hidden 20,10", {"optimizer.hidden": (20, 10)}),
        ("--hidden 20 10 --steps 5", {"optimizer.hidden": (20, 10), "run.steps": 5}),
        ("--rows all", {"estimator.rows": None}),
        ("--rows 7", {"estimator.rows": 7}),
        ("--clip none", {"meta.clip": None}),
        ("--second-order", {"estimator.second_order": True}),
        ("--second-order --no-second-order", {"estimator.second_order": False}),
        ("--objective.weights last", {"objective.weights": "last"}),
        ("--log tensorboard", {"run.log": "tensorboard"}),
        ("--out a/b", {"out": Path("a/b")}),
        ("--seed -1", {"run.seed": -1}),  # refused later, by the class
    ],
)
def test_the_line_is_read_by_paths(words, expected):
    assert parse_argv(Train, words.split()) == expected


def test_places_and_flags_mix():
    assert parse_argv(Eval, ["--horizons", "10", "20", "--seeds", "3", "x.safetensors"]) == {
        "optimizer": "x.safetensors",
        "horizons": (10, 20),
        "seeds": 3,
    }
    assert parse_argv(Eval, ["x", "--baselines", "sgd,adam"])["baselines"] == ("sgd", "adam")
    assert parse_argv(Eval, ["x", "--baselines", "none"])["baselines"] is None
    assert parse_argv(Report, ["a", "b", "-o", "c.html"]) == {
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
    with pytest.raises(BAD) as caught:
        parse_argv(Train, words.split())
    assert said in said_of(Train, caught)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"run.steps": 0}, "--steps must be at least 1, got 0"),
        ({"run.steps": -3}, "--steps must be at least 1, got -3"),
        ({"estimator.unroll": -1}, "--unroll"),
        ({"estimator.horizon": -1}, "--horizon"),
        ({"estimator.episodes": 0}, "--episodes"),
        ({"estimator.rows": 0}, "--rows"),
        ({"run.cores": 0}, "--cores"),
        ({"run.checkpoint_every": 0}, "--checkpoint-every"),
        ({"run.validate_every": -1}, "--validate-every must be at least 0"),
        ({"meta.lr": -1e-3}, "--meta-lr must be a positive number, got -0.001"),
        ({"meta.lr": float("nan")}, "--meta-lr must be a positive number, got nan"),
        ({"meta.lr": float("inf")}, "--meta-lr must be a positive number, got inf"),
        ({"meta.clip": 0.0}, "--clip"),
        ({"optimizer.hidden": (20, -1)}, "--hidden must be widths of at least 1, got 20,-1"),
        ({"run.seed": -1}, "--seed must be from 0"),
        ({"run.seed": 2**32}, "--seed must be from 0"),
        ({"estimator.rows": 3, "estimator.second_order": True}, "--rows samples coordinates"),
    ],
)
def test_impossible_values_are_refused(values, said):
    with pytest.raises(BAD) as caught:
        make(Train, NEEDED | values)
    assert said in said_of(Train, caught)


def test_what_is_missing_is_named():
    with pytest.raises(BadInput, match=r"--task NAME is missing"):
        make(Train, {})
    with pytest.raises(BadInput, match=r"OPTIMIZER is missing"):
        make(Eval, {})


def test_the_line_wins_over_the_file_and_the_file_over_the_defaults(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('steps = 7\nmeta-lr = 1\nhidden = [3]\nrows = "all"\nobjective.batch = "valid"')
    said = read_file(Train, path) | parse_argv(Train, ["--steps", "9"])
    made = make(Train, NEEDED | said).recipe
    assert (made.run.steps, made.meta.lr) == (9, 1.0)
    assert (made.optimizer.hidden, made.estimator.rows) == ((3,), None)
    assert made.objective == Objective(batch="valid")
    assert made.estimator == Recipe(optimizer=Optimizer(name="dm")).estimator


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stpes = 5", "did you mean 'steps'?"),
        ('[objective]\nweigths = "last"', "did you mean 'objective.weights'?"),
        ('steps = "many"', "--steps must be a whole number, got 'many'"),
        ("steps = 1.5", "--steps must be a whole number, got 1.5"),
        ("steps = true", "--steps must be a whole number, got True"),
        ("steps = [1]", "--steps must be a single value"),
        ("hidden = 3", "--hidden must be a list, got 3"),
        ("second_order = 1", "--second-order must be true or false, got 1"),
        ("task = 3", "--task must be text, got 3"),
        ('config = "other.toml"', "there is no option 'config'"),
        ("steps 5", "is not TOML"),
    ],
)
def test_a_bad_file_is_one_sentence_that_names_it(text, said, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(BAD) as caught:
        read_file(Train, path, ("config", "resume"))
    assert said in said_of(Train, caught)
    assert "run.toml" in str(caught.value)


def test_yaml_is_read_where_pyyaml_is(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("meta-lr: 1e-2\nhidden: [3]\nobjective: {batch: valid}\n")
    try:
        import yaml  # noqa: F401
    except ImportError:
        with pytest.raises(BadInput, match="needs PyYAML"):
            read_file(Train, path)
        return
    expected = {"meta.lr": 0.01, "optimizer.hidden": (3,), "objective.batch": "valid"}
    assert read_file(Train, path) == expected
    path.write_text("meta-lr: [")
    with pytest.raises(BadInput, match="is not YAML"):
        read_file(Train, path)


def test_a_file_may_have_paths_or_the_names_of_the_line(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(
        'task = "quadratic"\n[optimizer]\nname = "dm"\noptions = {p = 5.0}\n[meta]\nlr = 1'
    )
    expected = NEEDED | {"optimizer.options": {"p": 5.0}, "meta.lr": 1.0}
    assert read_file(Train, path) == expected
    path.write_text('task = "quadratic"\nopt = "dm"\nmeta-lr = 1\n[opt-options]\np = 5.0')
    assert read_file(Train, path) == expected


def test_a_table_made_from_options_gives_the_options_back():
    given = {"optimizer.hidden": (4, 5), "estimator.rows": 9, "objective.weights": "sum"}
    made = make(Train, NEEDED | given)
    assert make(Train, from_table(Train, to_json(made.recipe), "here")) == made
    line = "steppe train --task quadratic --opt dm --hidden 4,5 --rows 9 --objective.weights sum"
    assert line_of(made) == line
    assert make(Train, parse_argv(Train, line.split()[2:])) == made


def test_the_lines_of_the_readme_are_taken():
    text = (Path(__file__).parents[2] / "README.md").read_text().replace("\\\n", " ")
    lines = [
        shlex.split(x, comments=True) for x in text.splitlines() if x.startswith("steppe train")
    ]
    assert len(lines) >= 3
    for _, _, *words in lines:
        options, folder = prepare(parse_argv(Train, words))
        assert folder == options.out and options.recipe.task.name == "digits-mlp"


def test_settings_are_worded_as_options():
    assert reword("finish it: `resume runs/a`", Eval) == "finish it: `steppe train --resume runs/a`"
    text = "lower `meta.lr`, or `estimator.kind pes`; see `steppe list`, `nothing.known`."
    said = "lower --meta-lr, or --estimator pes; see `steppe list`, `nothing.known`."
    assert reword(text, Train) == said


def test_other_verbs_have_the_defaults_of_the_library():
    from steppe.certificates.certify import certify
    from steppe.cli.certify import Certify
    from steppe.cli.curvature import Curvature
    from steppe.evaluation.curvature import Settings

    options = settings_of(Curvature)
    for field in dataclasses.fields(Settings):
        assert options[field.name].default == field.default, field.name
    arguments = inspect.signature(certify).parameters
    for name in ("tolerances", "delta", "n", "seed"):
        assert settings_of(Certify)[name].default == arguments[name].default, name


def test_defaults_of_the_line_are_those_of_python():
    assert make(Train, NEEDED).recipe == Recipe(
        task=make(Train, NEEDED).recipe.task, optimizer=Optimizer(name="dm")
    )
    assert make(Train, NEEDED).recipe.meta.clip == Meta().clip == 1.0


@pytest.mark.parametrize("name", main.VERBS)
def test_every_option_is_explained(name):
    cls = main.options_of(name)
    text = help_text(name, cls)
    for option in settings_of(cls).values():
        assert option.text, f"{option.path} of {name} has no words"
        if option.kind is not dict:
            assert (metavar(option) if option.positional else flag(option)) in text
    assert max(map(len, text.splitlines())) <= 96


@pytest.mark.parametrize("columns", [40, 57, 80])
def test_help_and_lists_wrap_to_the_terminal(columns, monkeypatch, capsys):
    words = {}
    for width in (columns, 96):
        monkeypatch.setenv("COLUMNS", str(width))
        texts = [main.overview()]
        texts += [help_text(verb, main.options_of(verb)) for verb in main.VERBS]
        main.main(["list"])
        text = "\n".join([*texts, capsys.readouterr().out])
        long = [line for line in text.splitlines() if len(line) > width]
        assert not long
        words[width] = "".join(text.split())
    assert words[columns] == words[96]  # nothing is lost


@pytest.mark.parametrize("name", main.VERBS)
def test_a_line_of_help_stands_alone(name):
    leaning = ("what ", "whether ", "of ", "where ", "from ", "its ", "their ", "who")
    for option in settings_of(main.options_of(name)).values():
        assert not option.text.lower().startswith(leaning), option.path
