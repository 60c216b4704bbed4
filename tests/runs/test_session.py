"""A recipe trained into a folder from Python, and the runs of 0.1."""

import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import pytest

from steppe.runs import config, session
from steppe.runs import folder as folders
from steppe.runs.folder import BadInput
from steppe.store.checkpoint import read_manifest
from steppe.zoo import load, manifest
from steppe.zoo.presets import recipe

OLD = Path(__file__).parents[1] / "golden" / "from_0_1" / "run"
SMALL = {
    "task": "quadratic", "hidden": (2,), "steps": 2, "unroll": 2, "horizon": 4, "episodes": 2,
    "validate_every": 2, "checkpoint_every": 2, "cores": 2,
}  # fmt: skip


def test_a_recipe_is_trained_into_a_folder_and_goes_on(tmp_path):
    said = []
    how = recipe("dm", **SMALL)
    result = session.train(how, tmp_path / "run", probe=False, say=said.append)
    assert any("compiling" in line for line in said)
    assert config.read(tmp_path / "run") == how
    assert eqx.tree_equal(load(result.model), result.opt)
    assert manifest(result.model)["recipe"]["task"]["name"] == "quadratic"
    longer = session.resume(tmp_path / "run", steps=4)
    assert longer.history.rows[-1]["step"] == 4
    assert {finding.what for finding in longer.findings} >= {"meta-gradient", "probe: loss"}
    with pytest.raises(BadInput, match=r"`meta.lr`: 0.001 there, 0.1 asked for"):
        session.train(recipe("dm", **SMALL, meta_lr=0.1), tmp_path / "run")


def test_a_recipe_without_a_task_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`task.name` is missing"):
        session.train(recipe("dm"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_config_and_checkpoints_of_0_1_are_read():
    found = config.read(OLD)
    assert (found.task.name, found.optimizer.name) == ("quadratic", "dm")
    assert (found.optimizer.hidden, found.meta.clip) == ((3,), None)
    assert (found.penalty.kind, found.penalty.weight) == ("trace", 1e-3)
    assert (found.curriculum.horizons, found.run.seed, found.run.steps) == ((6, 9), 3, 4)
    kept = read_manifest(OLD / "step-00000002.safetensors")["recipe"]
    assert not config.differences(session.from_json(kept), found)


def test_a_run_of_0_1_goes_on_where_it_was(tmp_path):
    """In single precision, which it was begun in; the checkpoint that 0.1 made is made again."""
    run = shutil.copytree(OLD, tmp_path / "run")
    for name in ("step-00000004", "model"):
        (run / f"{name}.safetensors").unlink()
    env = os.environ | {"JAX_ENABLE_X64": "0"}
    command = [sys.executable, "-m", "steppe", "train", "--resume", "run", "--no-probe"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert "at meta-step 2" in done.stderr and folders.done_steps(run) == 4
    mine, theirs = (path / "step-00000004.safetensors" for path in (run, OLD))
    assert read_manifest(mine) == read_manifest(theirs)  # the recipe word for word
    new, old = (load(path) for path in (run, OLD))
    for a, b in zip(*map(jax.tree.leaves, (new, old)), strict=True):
        assert abs(a - b).max() <= 1e-5 * abs(b).max()  # compiled otherwise
    assert json.loads((run / "config.json").read_text())["recipe"]["meta"]["clip"] is None


def test_defaults_of_the_recipe_are_those_of_the_objects():
    """Field of the recipe → argument of the object that is made of it."""
    from steppe.estimators.bptt import BPTT
    from steppe.estimators.es import ES
    from steppe.estimators.imitation import Imitation
    from steppe.objectives.regularized import Regularized
    from steppe.objectives.trajectory import Trajectory
    from steppe.train.curriculum import Curriculum
    from steppe.train.loop import meta_train
    from steppe.zoo.recipe import Optimizer, Recipe

    how = Recipe(optimizer=Optimizer(name="dm"))
    sizes = {"episodes": "episodes", "unroll": "length", "horizon": "horizon"}
    same = lambda *names: {name: name for name in names}
    for group, make, names in (
        (how.estimator, BPTT, sizes | same("second_order", "rows")),
        (how.estimator, ES, sizes | same("sigma")),
        (how.objective, Trajectory, same("weights", "transform", "batch")),
        (how.penalty, Regularized, same("where", "every", "normalise", "reference")),
        (how.imitation, Imitation, same("follow", "every", "weights")),
        (how.curriculum, Curriculum, same("patience")),
        (how.run, meta_train, same("checkpoint_every")),
    ):
        arguments = inspect.signature(make).parameters
        for field, argument in names.items():
            assert getattr(group, field) == arguments[argument].default, (make, field)
