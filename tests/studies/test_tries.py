"""Tries at a recipe: what is told of them, and what they are judged by."""

import dataclasses
import math
from pathlib import Path

import pytest

from steppe.evaluation.engines import Row, cell_id
from steppe.studies.flatness import scales as first
from steppe.studies.flatness_2 import scales as second
from steppe.studies.shipped_weights import tries
from steppe.studies.shipped_weights.tries_design import (
    META_SEED,
    SCALES,
    SETTINGS,
    SHORT,
    TASKS,
    TRIES,
    Tries,
)
from steppe.studies.small_rule.design import CANDIDATES
from steppe.studies.study import read
from steppe.zoo.presets import recipe
from steppe.zoo.recipe_json import from_json

FOLDER = Path(tries.__file__).parent
ALL = Tries(names=tuple(TRIES))
SMALL = Tries(names=("plain", "size 0.1"), shipped=())


def planted(loss, accuracy=0.9):
    """Rows of known losses: by name, for every task."""
    rows = []
    for cell in tries.cells(SMALL):
        value = loss[cell["name"]]
        look = {name: [value] * 2 for name in ("train_loss", "test_loss")}
        at = {"stop": look | {"test_accuracy": [accuracy] * 2}, "end": look}
        result = {
            "meta": {"tail_sd": 0.05},
            "tasks": {label: {"at": at} for label in cell["tasks"]},
        }
        rows.append(Row(cell_id(cell), cell, result, None, 1.0, 1, {}))
    return rows


def test_ratios_are_those_that_were_planted():
    loss = dict.fromkeys(SETTINGS, 0.5) | {"plain": 0.25, "size 0.1": 1.0}
    told = tries.conclude(SMALL, planted(loss))
    assert told.content["ratios"]["plain"] == pytest.approx(dict.fromkeys(SETTINGS, 0.5))
    assert told.content["ratios"]["size 0.1"] == pytest.approx(dict.fromkeys(SETTINGS, 2.0))
    assert "| plain | 0.50, +0.00 |" in told.text and "| 5.0% |" in told.text


def test_a_training_that_diverged_is_told_and_is_no_number():
    rows = planted(dict.fromkeys(SETTINGS, 0.5) | {"plain": 0.25, "size 0.1": None})
    told = tries.conclude(SMALL, rows)
    assert set(told.content["ratios"]["size 0.1"].values()) == {math.inf}
    assert told.content["ratios"]["plain"]["adam"] == pytest.approx(0.5)


def test_nothing_that_a_study_judges_by_is_judged_by_here():
    bare = lambda how: {x: y for x, y in how.items() if x not in ("runs", "every", "curved")}
    own = [bare(how) for how in TASKS.values()]
    for tasks in (first.SMALL.tasks, second.SMALL.unseen):
        assert not [how for how in map(bare, tasks.values()) if how in own]


def test_every_try_is_a_recipe_of_its_own():
    own = lambda made: (made.recipe(500), tuple(made.others), made.meta_seed, made.start)
    recipes = [own(made) for made in TRIES.values()]
    assert len(set(map(repr, recipes))) == len(TRIES)
    [cell] = [c for c in tries.cells(SCALES["tiny"]) if c["part"] == "try"]
    assert cell["recipe"]["steps"] == 20 and cell["horizon"] == 60


def test_readme_has_the_tables_of_the_record():
    rows = read(FOLDER / "tries.jsonl")
    wanted = {cell_id(cell) for cell in tries.cells(ALL)}
    assert {row.id for row in rows} == wanted and all(row.result is not None for row in rows)
    assert tries.conclude(ALL, rows).text in (FOLDER / "README.md").read_text()
    assert {label for row in rows for label in row.result["tasks"]} == {*TASKS, *SHORT}


def test_what_readme_says_of_them_is_so():
    rows = {row.cell["name"]: row for row in read(FOLDER / "tries.jsonl")}
    told = " ".join((FOLDER / "README.md").read_text().split())
    beside = lambda name: tries.ratio(rows[name], rows["adam"])
    best, again = "trace 0.3 + windows of 100", "trace 0.3 + windows of 100 + another meta-seed"
    at = [f"{beside(name):.2f}" for name in (best, again, "rnnprop-v1", "rnnprop-flat-v1")]
    assert "was {} of Adam; with another meta-seed it is {}".format(*at[:2]) in told
    assert "are at {} and {}".format(*at[2:]) in told
    first = [*TRIES][:25]
    assert min(first, key=beside) == best

    small = {name: made for name, made in TRIES.items() if "small MLP" in name}
    of = lambda name: tries.ratio(rows[name], rows["adamw-cosine"], "mixture")
    mixture = "small MLP + trace 0.3 + windows of 100"
    [bold] = [name for name in TRIES if name.startswith("small MLP + windows of 100 + ten times")]
    others = [of(name) for name in rows if rows[name].cell["part"] != "rival" and "MLP" not in name]
    ends = f"{min(others):.2f} to {max(others):.2f}"
    assert f"{of(mixture):.2f} of AdamW with a cosine where RNNProp has {ends}" in told
    assert f"momentum with a cosine has {of('momentum-cosine'):.2f}" in told
    assert of(mixture) < of("momentum-cosine") < min(others)
    assert f"more than any other try, {beside(bold):.2f} of Adam" in told
    assert max(TRIES, key=beside) == bold
    assert all((made.start is None) is ("vanishing" in n) for n, made in small.items())

    less = lambda name, rival: tries.told(rows[name], rows[rival]).split(", ")
    said = lambda words, name: words.format(*less(name, "adam")) in told
    late = "small MLP + held-out + late trace 1.0 + wrong labels"
    assert sorted(TRIES, key=beside)[:2] == sorted(
        [late, f"{late} + another meta-seed"], key=beside
    )
    assert said("{} of Adam and {} points", late)
    assert "of AdamW with a cosine {} and {}".format(*less(late, "adamw-cosine")) in told
    assert "of momentum with one {} and {}".format(*less(late, "momentum-cosine")) in told
    assert said("another meta-seed it is {} of Adam and {}", f"{late} + another meta-seed")
    half = "small MLP + held-out + trace 1.0 in the second half + wrong labels"
    assert said("second half alone it is {} and {}", half)
    assert said("Without the penalty it is {} and {}", "small MLP + held-out + wrong labels")
    now = "small MLP + vanishing + held-out + late trace 1.0 + wrong labels"
    assert said("the late penalty makes {} of Adam and {} on these", now)
    assert "{} and {} of AdamW with a cosine, and".format(*less(now, "adamw-cosine")) in told
    assert said("without a penalty it is {} and {}", now.replace(" + late trace 1.0", ""))
    always = "small MLP + held-out + trace 0.3 + wrong labels"
    assert said("from the first step on {} and {}", always)
    assert said("with another meta-seed {} and {}", f"{always} + another meta-seed")
    for task in (*TASKS, *SHORT):
        at = {name: tries.ratio(rows[name], rows["adam"], task) for name in TRIES}
        for late in ("late trace 1.0", "last trace 1.0"):
            assert at[late] == sorted((at["plain"], at[late], at["trace 1.0"]))[1]


def test_the_presets_are_the_recipes_of_what_is_judged():
    for name, label in CANDIDATES.items():
        assert from_json(tries.trained(TRIES[label], 500)["recipe"]) == recipe(name)


def test_looks_are_the_same_whatever_the_meta_seed(monkeypatch):
    seen = []

    def look(cell, how, opt, steps):
        seen.append(cell["meta_seed"])
        return {"at": {at: {name: [0.0] for name in tries.SHOWN} for at in ("stop", "end")}}

    monkeypatch.setattr(tries.work, "look", look)
    monkeypatch.setattr(tries.work, "train", lambda cell: (cell["meta_seed"], {}))
    name = "trace 0.3 + windows of 100 + another meta-seed"
    (cell,) = (c for c in tries.cells(Tries(names=(name,), shipped=())) if c["part"] == "try")
    tries.run(cell)
    assert cell["meta_seed"] == META_SEED + 1 and set(seen) == {META_SEED}


@pytest.mark.slow
def test_a_rival_is_looked_at():
    [cell] = [c for c in tries.cells(SCALES["tiny"]) if c["name"] == "adam"]
    found = tries.run(cell | {"tasks": {"mixture": cell["tasks"]["mixture"]}, "runs": 1})
    (loss,) = found["tasks"]["mixture"]["at"]["end"]["test_loss"]
    assert 0.3 < loss < math.log(4) and found["meta"] == {}
    assert dataclasses.asdict(SCALES["tiny"])["steps"] == 20
