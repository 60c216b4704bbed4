"""A stranger's file names a task of steppe's in a common size, or is refused in one sentence."""

import pytest

from steppe.optimizers.classic.from_optax import adam
from steppe.runs.folder import BadInput
from steppe.runs.subject import subject
from steppe.store.manifest import CheckpointError
from steppe.tasks.suite import build
from steppe.tasks.wrappers.population import Population
from steppe.zoo.io import read_card, save


def told(tmp_path, **recipe):
    save(tmp_path / "a.safetensors", adam(0.1), **recipe)
    return subject(str(tmp_path / "a.safetensors"), None)


def test_task_options_and_horizon_are_those_of_the_recipe(tmp_path):
    found = told(tmp_path, task="quadratic", task_options={"n": 4}, horizon=7)
    assert (found.task, found.task_options, found.horizon) == ("quadratic", {"n": 4}, 7)
    assert vars(found.build_task())["n"] == 4
    found = told(tmp_path, task={"name": "quadratic"}, estimator={"horizon": 9})
    assert (found.task, found.horizon) == ("quadratic", 9)


def test_a_swarm_stays_one_on_any_task(tmp_path):
    recipe = {"task": {"name": "quadratic", "particles": 3}}
    assert told(tmp_path, **recipe).task_name == "quadratic, particles 3"
    elsewhere = subject(str(tmp_path / "a.safetensors"), "bowl-1")
    assert elsewhere.build_task() == Population(build("bowl-1"), 3)
    assert subject("adam", "bowl-1", 5).build_task() == Population(build("bowl-1"), 5)
    assert subject(str(tmp_path / "a.safetensors"), None, 2).task_options == {"particles": 2}
    with pytest.raises(CheckpointError, match=r"recipe\.task\.particles: found 1000000"):
        told(tmp_path, task={"name": "quadratic", "particles": 10**6})
    with pytest.raises(CheckpointError, match="particles"):
        told(tmp_path, task={"name": "quadratic", "particles": 0}).build_task()


WORDS = {
    "a user's own words": {"task": "quadratic", "horizon": "long", "estimator": 3},
    "a mean name": {"task": {"name": "quadratic"}, "estimator": [1]},
}


@pytest.mark.parametrize("name", WORDS)
def test_other_words_are_no_horizon(name, tmp_path):
    assert told(tmp_path, **WORDS[name]).horizon is None


REFUSED = {
    "a horizon without end": ({"horizon": 10**9}, "recipe.horizon: found 1000000000"),
    "a size": ({"task_options": {"n": 10**6}}, "recipe.task_options.n: found 1000000"),
    "a size in a size": ({"task_options": {"hidden": [[9, 10**6]]}}, r"hidden\[0\]"),
    "many layers": ({"task_options": {"hidden": [2] * 99}}, "found a list of 99"),
    "a folder": ({"task_options": {"folder": "/etc"}}, "found a folder of data"),
    "another folder": ({"task_options": {"encoder_folder": "/etc"}}, "found a folder of data"),
    "NaN": ({"task_options": {"condition": float("nan")}}, "found nan"),
    "a table": ({"task_options": {"n": {"kind": "DM", "hyper": {}}}}, "found a table of 2"),
    "a list": ({"task_options": [1]}, "found a list of 1, expected a table"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_take_time_or_memory_is_refused(name, tmp_path):
    recipe, words = REFUSED[name]
    with pytest.raises(CheckpointError, match=words) as caught:
        told(tmp_path, task="quadratic", **recipe)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("options", [{"n": "ten"}, {"n": None}, {"n": -3}, {"nn": 3}], ids=str)
def test_an_option_that_the_task_does_not_take_is_refused_when_it_is_built(options, tmp_path):
    found = told(tmp_path, task="quadratic", task_options=options)
    with pytest.raises(CheckpointError, match=r"task options|no valid task"):
        found.build_task()


@pytest.mark.parametrize("task", ["os.system", "__class__", "a\nb"])
def test_a_task_that_there_is_not_is_refused(task, tmp_path):
    with pytest.raises(BadInput, match="There is no task"):
        told(tmp_path, task=task)


@pytest.mark.parametrize("card", [None, [], 3, "x", {}, {"table": 5}, {"name": 1}], ids=repr)
def test_what_is_no_card_is_none(card):
    assert read_card({"card": card}) is None
