"""`steppe train` from the first line to the saved model."""

import json
import shutil

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from cli.runs import TINY, contents

from steppe.cli.train import Train
from steppe.core.settings import settings_of
from steppe.flatness.names import MEASURES, build
from steppe.flatness.units import Adaptive
from steppe.objectives.regularized import FOREVER, Regularized
from steppe.objectives.trajectory import Trajectory
from steppe.optimizers.learned.dm import DM
from steppe.runs import folder as folders
from steppe.runs import session
from steppe.runs.folder import Failed
from steppe.store.manifest import read_manifest
from steppe.train.loop import MetaTrainingError
from steppe.zoo.io import load, manifest, save
from steppe.zoo.penalty import Penalty
from steppe.zoo.presets import recipe


@pytest.fixture
def no_training(monkeypatch):
    """Stand in for meta_train: the call that reaches it is remembered."""
    calls = []

    def meta_train(task, opt, **options):
        calls.append((task, opt, options))
        raise MetaTrainingError("At meta-step 10, 100% of the latest episodes were not finite.")

    monkeypatch.setattr(session, "meta_train", meta_train)
    return calls


def test_the_folder_of_a_run_holds_what_the_manual_says(finished):
    names = {path.name for path in finished.iterdir()}
    steps = {f"step-{step:08d}.safetensors" for step in (4, 8, 12)}
    assert names == {
        *steps,
        "config.json",
        "env.json",
        "findings.json",
        "metrics.jsonl",
        "model.safetensors",
    }
    config = json.loads((finished / "config.json").read_text())
    assert config["recipe"]["optimizer"]["hidden"] == [2]
    assert config["recipe"]["run"]["cores"] == 2
    env = json.loads((finished / "env.json").read_text())
    assert {"python", "versions", "device", "cores", "commit"} <= set(env)
    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "valid_loss" in row] == [4, 8, 12]


def test_the_model_is_the_best_one_and_says_how_it_was_made(finished):
    opt = load(finished / "model.safetensors")
    assert isinstance(opt, DM)
    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    best = min((row["valid_loss"], row["step"]) for row in rows if "valid_loss" in row)
    recipe = manifest(finished)["recipe"]
    assert (recipe["valid_loss"], recipe["best_step"]) == pytest.approx(best)
    assert (recipe["task"]["name"], recipe["optimizer"]["name"]) == ("quadratic", "dm")
    assert recipe["run"]["steps"] == 12


def test_resuming_mends_a_damaged_run_and_changes_no_bit(finished, steppe, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    model = (run / "model.safetensors").read_bytes()
    last = run / "step-00000012.safetensors"
    last.write_bytes(last.read_bytes()[:-1])
    (run / "model.safetensors").unlink()
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 13, "me')
    answer = steppe("train", "--resume", run, "--json")
    assert answer.code == 0, answer.err
    assert "Skipped a damaged checkpoint" in answer.err
    assert "Resumed from" in answer.err and "at meta-step 8" in answer.err
    assert (run / "model.safetensors").read_bytes() == model
    result = json.loads(answer.out)
    assert result["model"] == str(run / "model.safetensors")
    assert result["steps"] == 12
    env = json.loads((run / "env.json").read_text())
    assert len(env["resumed"]) == 1
    assert folders.done_steps(run) == 12


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train --resume RUN --unroll 3", "--unroll is 2 in"),
        ("train --resume RUN --objective.weights last", "--objective.weights is uniform in"),
        ("train --resume RUN --steps 4", "has 12 meta-steps already"),
        ("train --resume RUN --out other", "--out other was given"),
        ("train --resume RUN --task quadratc", "--task is quadratic in"),
        ("train --resume RUN/config.json", "is no run folder"),
        ("train TINY --out RUN --seed 1", "holds a run with other settings (--seed: 0 there, 1"),
        ("train TINY --out RUN --opt rnnprop", "--opt: dm there, rnnprop asked for"),
        ("train TINY --out RUN/config.json", "cannot be written (File exists)"),
        ("train TINY --out RUN/config.json/x", "cannot be written (Not a directory)"),
        ("train TINY --out RUN --config RUN/metrics.jsonl", "is not TOML"),
        ("convert RUN/config.json RUN/model.safetensors", "exists already"),
        ("eval RUN/step-00000012.safetensors", "checkpoint of meta-training, not of an optimizer"),
        ("eval RUN --task quadratc", "did you mean 'quadratic'?"),
        ("info RUN", "found a folder"),
        ("report RUN -o RUN", "is no place for a file"),
    ],
)
def test_bad_input_leaves_a_run_as_it_was(words, said, finished, steppe):
    before = contents(finished)
    line = words.replace("TINY", " ".join(TINY)).replace("RUN", str(finished)).split()
    answer = steppe(*line)
    assert answer.code == 2
    assert answer.out == ""
    assert said in answer.sentence
    assert contents(finished) == before


def test_a_folder_with_other_files_is_left_alone(steppe, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("buy milk")
    answer = steppe("train", *TINY, "--out", "notes")
    assert (answer.code, contents(tmp_path / "notes")) == (2, {"todo.txt": b"buy milk"})
    assert "holds files, but no run" in answer.sentence


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_a_folder_that_nothing_can_be_called_is_refused(name, steppe, tmp_path):
    answer = steppe("train", *TINY, "--out", name)
    assert answer.code == 2
    assert "--out must be a path" in answer.sentence
    assert contents(tmp_path) == {}
    with pytest.raises(ValueError, match="is no name that a file or folder can have"):
        session.train(recipe("dm", task="quadratic"), name)


def test_two_processes_do_not_share_a_folder(finished, steppe, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    with folders.held(run):
        answer = steppe("train", "--resume", run)
    assert answer.code == 2
    assert "is in use by another `steppe train`" in answer.sentence


@pytest.mark.parametrize(
    "damage",
    ["{", "[]", '{"options": 3}', '{"options": {"stps": 3}}', '{"recipe": {"run": 3}}', ""],
)
def test_a_broken_config_is_refused(damage, finished, steppe, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    (run / "config.json").write_text(damage)
    before = contents(run)
    for words in (["--resume", run], [*TINY, "--out", run]):
        answer = steppe("train", *words)
        assert answer.code == 2
        assert "config.json" in answer.sentence
    assert contents(run) == before


def test_bad_data_leave_nothing_behind(steppe, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.random((24, 28, 28), np.float32), np.arange(24) % 10
    x[3, 4, 5] = np.nan
    np.savez(tmp_path / "mnist.npz", x_train=x, y_train=y, x_test=x[:5], y_test=y[:5])
    monkeypatch.setenv("STEPPE_DATA", str(tmp_path))
    answer = steppe("train", *TINY, "--task", "mnist-mlp", "--out", "run", "--quiet")
    assert answer.code == 2
    assert "1 values that are NaN" in answer.sentence
    monkeypatch.setenv("STEPPE_DATA", str(tmp_path / "nowhere"))
    answer = steppe("train", *TINY, "--task", "mnist-mlp", "--out", "run", "--quiet")
    assert answer.code == 2
    assert "does not exist" in answer.sentence
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("opt", ["math-l2o", "go-math-l2o", "step-fista", "alista", "lista-tied"])
@pytest.mark.parametrize("task", ["quadratic", "digits-relu"])
def test_a_task_without_the_structure_leaves_nothing_behind(opt, task, steppe, tmp_path):
    answer = steppe("train", "--opt", opt, "--task", task, "--out", "runs/a/b", "--quiet")
    assert answer.code == 2 and "needs a loss of the form Composite(" in answer.sentence
    assert not list(tmp_path.iterdir())


def test_what_fails_before_the_first_step_leaves_nothing_behind(steppe, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise ValueError("This cannot be compiled; take another.")

    monkeypatch.setattr(session, "meta_train", broken)
    answer = steppe("train", *TINY, "--out", "runs/a", "--quiet")
    assert answer.code == 2 and not list(tmp_path.iterdir())
    (tmp_path / "runs").mkdir()
    assert steppe("train", *TINY, "--out", "runs/a", "--quiet").code == 2
    assert [path.name for path in tmp_path.rglob("*")] == ["runs"]


def test_a_run_that_diverges_fails_with_code_1(steppe, no_training):
    answer = steppe("train", *TINY, "--quiet")
    assert answer.code == 1
    assert "were not finite" in answer.sentence
    assert folders.begun(folders.Path("runs/quadratic-dm-0"))  # the default folder


def test_options_reach_the_library(steppe, no_training, tmp_path):
    (tmp_path / "run.toml").write_text('rows = 3\n[objective]\ntransform = "ratio"\n')
    words = (
        "--second-order --no-second-order --config run.toml --validate-every 0 --log tensorboard"
    )
    assert steppe("train", *TINY, *words.split(), "--out", "run").code == 1
    [(_, opt, options)] = no_training
    estimator, objective = options["estimator"], options["objective"]
    assert (estimator.rows, estimator.windows.length, int(estimator.horizon)) == (3, 2, 4)
    assert estimator.second_order is False
    assert (objective.transform, objective.weights) == ("ratio", "uniform")
    assert opt.hidden == (2,)
    assert options["validation"] is None
    assert (tmp_path / "run" / "tensorboard").is_dir()


FLAT = {
    "trace": "",
    "frobenius": "--flat.probes 3",
    "gauss-newton": "--task digits-mlp",
    "top-eigenvalue": "--flat.active last --flat.fraction 0.25",
    "log-det": "--flat.gamma 0.1 --flat.probes 2",
    "entropy": "--flat.temperature 0.5",
    "smoothed": "--flat.active first",
    "sharpness": "--flat.where steps --flat.every 2",
    "gradient-norm": "--flat.normalise log",
    "squared-norm": "--flat.units weights",
    "krylov": "",
}


@pytest.mark.parametrize("kind", FLAT)
def test_a_measure_enters_the_objective_as_asked(kind, steppe, no_training, tmp_path):
    words = f"--flat.kind {kind} --flat.weight 1e-3 {FLAT[kind]}".split()
    assert steppe("train", *TINY, *words, "--out", "run", "--quiet").code == 1
    [(_, _, options)] = no_training
    objective = options["objective"]
    assert isinstance(objective, Regularized) and isinstance(objective.base, Trajectory)
    measure, strength = objective.measure, float(objective.strength)
    if isinstance(measure, Adaptive):
        measure = measure.base
    assert type(measure) is type(build(kind, **dict.fromkeys(MEASURES[kind].tunable, 1)))
    assert strength == pytest.approx(1e-3)
    given = {words[i].removeprefix("--flat."): words[i + 1] for i in range(0, len(words), 2)}
    for option in MEASURES[kind].tunable:
        usual = getattr(Penalty(kind=kind, weight=1.0), option)
        assert getattr(measure, option) == float(given.get(option, usual))
    assert objective.where == given.get("where", "end")
    assert objective.every == int(given.get("every", 1))
    assert objective.normalise == given.get("normalise", "none")
    since, until = {  # of a horizon of 4
        "top-eigenvalue": (3, FOREVER),
        "smoothed": (0, 2),
    }.get(kind, (0, FOREVER))
    assert (int(objective.since), int(objective.until)) == (since, until)
    assert options["recipe"]["penalty"]["kind"] == kind
    line = json.loads((tmp_path / "run" / "config.json").read_text())["command"]
    assert f"--flat.kind {kind} --flat.weight 0.001" in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--flat.kind log-det --flat.gamma 0.5", "below −γ = -0.5: raise --flat.gamma."),
        ("--flat.kind trace --flat.normalise log", "--flat.normalise log, which has no value"),
        ("--flat.kind trace", "were not finite.\n"),
    ],
)
def test_a_measure_without_a_value_is_named_as_a_cause(words, said, steppe, no_training):
    answer = steppe("train", *TINY, *words.split(), "--flat.weight", 1, "--quiet")
    assert answer.code == 1
    assert answer.sentence.endswith(said) or said in answer.sentence


def test_every_named_measure_can_be_asked_for():
    assert set(FLAT) == set(MEASURES)
    assert settings_of(Train)["penalty.kind"].choices == ("none", *MEASURES)


def test_without_a_kind_the_objective_is_the_plain_one(steppe, no_training):
    assert steppe("train", *TINY, "--flat.kind", "none", "--quiet").code == 1
    [(_, _, options)] = no_training
    assert isinstance(options["objective"], Trajectory)


def test_the_temperature_is_one_over_the_examples_where_nothing_is_said(steppe, no_training):
    words = "--task digits-mlp --flat.kind entropy --flat.weight 1 --quiet"
    assert steppe("train", *TINY, *words.split()).code == 1
    [(task, _, options)] = no_training
    examples = len(task.full_batch((), split="train")[1])
    assert options["objective"].measure.temperature == pytest.approx(1 / examples)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--flat.kind trce", "--flat.kind cannot be 'trce'; did you mean 'trace'?"),
        ("--flat.kind trace", "--flat.kind trace needs --flat.weight X"),
        ("--flat.weight 1", "--flat.weight was given (1.0), but nothing is measured"),
        ("--flat.kind trace --flat.weight nan", "--flat.weight must be a finite number"),
        ("--flat.kind trace --flat.weight 1 --flat.probes 0", "--flat.probes must be at least 1"),
        ("--flat.kind log-det --flat.weight 1 --flat.gamma 0", "--flat.gamma must be a positive"),
        (
            "--flat.kind entropy --flat.weight 1 --flat.temperature -1",
            "--flat.temperature must be zero or a positive number, got -1",
        ),
        ("--flat.kind trace --flat.weight 1 --flat.gamma 2", "(2.0), but trace does not take it"),
        ("--flat.kind trace --flat.weight 1 --flat.every 2", "add --flat.where steps"),
        (
            "--flat.kind trace --flat.weight 1 --flat.where steps --flat.every 3",
            "--flat.every is 3, but an unroll has 2 steps",
        ),
        ("--flat.kind trace --flat.weight 1 --flat.fraction 0.2", "add --flat.active first or"),
        (
            "--flat.kind trace --flat.weight 1 --flat.active last --flat.fraction 0",
            "--flat.fraction must be above 0 and at most 1, got 0",
        ),
        ("--flat.kind gauss-newton --flat.weight 1", "which Quadratic has not; use trace"),
        ("--flat.knd trace", "did you mean '--flat.kind'?"),
    ],
)
def test_impossible_measures_are_refused_before_the_run_begins(words, said, steppe, tmp_path):
    answer = steppe("train", *TINY, *words.split(), "--out", "run", "--quiet")
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.sentence
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_with_a_measure_is_logged_and_resumed_bit_by_bit(steppe, tmp_path):
    words = ["--flat.kind", "top-eigenvalue", "--flat.weight", "1e-3", "--steps"]
    assert steppe("train", *TINY, *words, 8, "--out", "whole", "--quiet").code == 0
    answer = steppe("train", *TINY, *words, 4, "--out", "parts")
    assert answer.code == 0
    row = json.loads((tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()[-1])
    assert f"flatness {row['flatness']:.4g}" in answer.err
    assert row["meta_loss"] == pytest.approx(row["base"] + 1e-3 * row["flatness"])
    assert steppe("train", "--resume", "parts", "--steps", 8, "--quiet").code == 0
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert models[0] == models[1]
    answer = steppe("train", "--resume", "parts", "--flat.weight", "2e-3")
    assert "--flat.weight is 0.001 in parts, got 0.002" in answer.sentence


def test_ctrl_c_says_how_to_go_on(steppe, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "meta_train", interrupted)
    answer = steppe("train", *TINY, "--out", "run", "--quiet")
    assert answer.code == 130
    assert "go on with `steppe train --resume run`" in answer.err
    assert "Traceback" not in answer.err


def test_progress_goes_to_stderr_and_quiet_leaves_it_out(steppe, no_training):
    assert "steppe train · quadratic · dm · seed 0" in steppe("train", *TINY).err
    assert "2 × cpu · compiling…" in steppe("train", *TINY).err
    assert steppe("train", *TINY, "--quiet").err.count("\n") == 1  # the failure


def test_identity_check_notices_one_bit(tmp_path):
    opt = DM(hidden=(2,), key=jr.key(0))
    save(tmp_path / "a.safetensors", opt)
    session.check_identity(tmp_path / "a.safetensors", opt)
    b = np.asarray(opt.head.b).copy()
    b.view(np.uint8)[0] ^= 1
    other = session.eqx.tree_at(lambda o: o.head.b, opt, jnp.asarray(b))
    with pytest.raises(Failed, match="does not give back"):
        session.check_identity(tmp_path / "a.safetensors", other)


def test_checkpoints_carry_the_recipe(finished):
    recipe = read_manifest(finished / "step-00000012.safetensors")["recipe"]
    assert recipe["estimator"]["unroll"] == 2
    assert not {"steps", "checkpoint_every", "cores", "log"} & set(recipe["run"])


def test_a_decaying_rate_goes_by_steps_which_then_stay(steppe, tmp_path):
    words = ["train", *TINY, "--meta-decay", "cosine", "--validate-by", "objective", "--out", "run"]
    assert steppe(*words, "--quiet").code == 0
    kept = json.loads((tmp_path / "run" / "config.json").read_text())["recipe"]
    assert (kept["meta"]["decay"], kept["run"]["validate_by"]) == ("cosine", "objective")
    more = steppe("train", "--resume", "run", "--steps", 20)
    assert more.code == 2 and "the meta-learning rate goes by it, got 20" in more.sentence
