"""Tries at a recipe: what is told of them, and what they are judged by."""

import dataclasses
import math
from pathlib import Path

import pytest

from steppe.evaluation.engines import Row, cell_id
from steppe.studies.flatness import scales as first
from steppe.studies.flatness_2 import scales as second
from steppe.studies.shipped_weights import tries
from steppe.studies.shipped_weights.tries_design import SCALES, SETTINGS, SHORT, TASKS, TRIES, Tries
from steppe.studies.study import read

FOLDER = Path(tries.__file__).parent
SMALL = Tries(names=("plain", "size 0.1"))


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
    recipes = [(made.recipe(500), tuple(made.others)) for made in TRIES.values()]
    assert len(set(map(repr, recipes))) == len(TRIES)
    [cell] = [c for c in tries.cells(SCALES["tiny"]) if c["part"] == "try"]
    assert cell["recipe"]["steps"] == 20 and cell["horizon"] == 60


def test_readme_has_the_tables_of_the_record():
    rows = read(FOLDER / "tries.jsonl")
    wanted = {cell_id(cell) for cell in tries.cells(SCALES["small"])}
    assert {row.id for row in rows} == wanted and all(row.result is not None for row in rows)
    assert tries.conclude(SCALES["small"], rows).text in (FOLDER / "README.md").read_text()
    assert {label for row in rows for label in row.result["tasks"]} == {*TASKS, *SHORT}


@pytest.mark.slow
def test_a_rival_is_looked_at():
    [cell] = [c for c in tries.cells(SCALES["tiny"]) if c["name"] == "adam"]
    found = tries.run(cell | {"tasks": {"mixture": cell["tasks"]["mixture"]}, "runs": 1})
    (loss,) = found["tasks"]["mixture"]["at"]["end"]["test_loss"]
    assert 0.3 < loss < math.log(4) and found["meta"] == {}
    assert dataclasses.asdict(SCALES["tiny"])["steps"] == 20
